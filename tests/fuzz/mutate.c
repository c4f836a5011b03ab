/* SPDX-License-Identifier: MIT
 * mutate.c -- libFuzzer's side of fuzz_store and fuzz_dump: where it mutates, and a corpus to begin with
 *
 * The first folder given is the corpus. Its file "seed" is a real, unclean store (made when it is missing); what has a
 * checksum in it is known from then on (fix.h). A mutation changes a few bytes inside one of these things, or anywhere,
 * and then, mostly, all checksums are made right. With TWZ_FUZZ_LOG set it changes records of logs only, with
 * TWZ_FUZZ_DUMP half of the time bytes that have no checksum, as those of nodes. TWZ_FUZZ_SEED: which store it is (seed.h).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fix.h"
#include "fuzz.h"
#include "seed.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static struct fix_item *items;
static size_t item_cnt;
static unsigned int wanted = ~0u;
static unsigned int anywhere = 8; /* one in so many mutations is not in something with a checksum */

static void learn(const char *path)
{
	uint8_t *image;
	size_t len, kept = 0;

	if (seed_read(path, &image, &len)) {
		perror(path);
		exit(2);
	}
	item_cnt = fix_learn(image, len, &items);
	free(image);
	for (size_t i = 0; i < item_cnt; i++)
		kept += (items[i].kind & wanted) != 0;
	fprintf(stderr, "%s: %zu bytes, %zu things with checksums, %zu of them to be mutated\n",
		path, len, item_cnt, kept);
	if (!kept)
		exit(2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *seed = getenv("TWZ_FUZZ_SEED");
	char path[300];

	if (getenv("TWZ_FUZZ_LOG"))
		wanted = FIX_LOGHEAD | FIX_LOGREC;
	if (getenv("TWZ_FUZZ_DUMP")) /* nodes have none */
		anywhere = 2;
	for (int i = 1; i < *argc; i++) {
		struct stat st;

		if ((*argv)[i][0] == '-' || stat((*argv)[i], &st) || !S_ISDIR(st.st_mode))
			continue;
		snprintf(path, sizeof(path), "%s/seed", (*argv)[i]);
		if (access(path, F_OK) && seed_make(path, seed ? seed : "store")) {
			fprintf(stderr, "cannot make %s\n", path);
			exit(2);
		}
		learn(path);
		break;
	}
	return 0;
}

/* A place to change: OFF and length of a window. */
static size_t window(size_t size, unsigned int r, size_t *off)
{
	size_t len = size;

	*off = 0;
	if (item_cnt && (wanted != ~0u || r % anywhere)) {
		const struct fix_item *it = &items[(r >> 3) % item_cnt];

		while (!(it->kind & wanted))
			it = it + 1 < items + item_cnt ? it + 1 : items;
		if (it->off + it->len <= size) {
			*off = it->off;
			len = it->len;
		}
	}
	if (len > 64) {
		*off += (r >> 5) % (len - 64);
		len = 64;
	}
	return len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	unsigned int r = seed * 2654435761u;
	uint8_t buf[64];

	(void)max_size;
	if (size < 4096)
		return LLVMFuzzerMutate(data, size, max_size);
	for (unsigned int n = 1 + seed % 3; n; n--, r = r * 1664525u + 1013904223u) {
		size_t off, len = window(size, r ^ r >> 15, &off);

		memcpy(buf, data + off, len);
		LLVMFuzzerMutate(buf, len, len);
		memcpy(data + off, buf, len);
	}
	if (seed % 16)
		fix_image(data, size, items, item_cnt);
	return size;
}
