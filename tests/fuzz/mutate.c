/* SPDX-License-Identifier: MIT
 * mutate.c -- libFuzzer's side of fuzz_store and fuzz_dump: where it mutates, and stores to begin with
 *
 * The folder whose name ends in ".seeds" gets real, unclean stores of all kinds, on both media (made when they are missing); what has a
 * checksum in them is known from then on (fix.h). An input is of the store whose UUID it has. A mutation changes a few bytes inside
 * one of the things with a checksum, or anywhere, and then, mostly, all checksums are made right. With TWZ_FUZZ_LOG set it changes records
 * of logs only, with TWZ_FUZZ_DUMP half of the time bytes that have no checksum, as those of nodes. TWZ_FUZZ_SEED: only that kind of store.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fix.h"
#include "fuzz.h"
#include "image.h"
#include "seed.h"

#include "format.h"

#define SEEDS_MAX 64

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

struct seed {
	uint8_t uuid[16];
	struct fix_item *items;
	size_t item_cnt;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_cnt;
static uint8_t image[IMAGE_MAX];
static unsigned int wanted = ~0u;
static unsigned int anywhere = 8; /* one in so many mutations is not in something with a checksum */

static const uint8_t *uuid_of(const uint8_t *super)
{
	return super + offsetof(struct twz_super_pm, uuid);
}

/* False: nothing of what is to be mutated is in it. */
static bool learn(const char *path)
{
	struct seed *s = &seeds[seed_cnt];
	size_t len, kept = 0;
	uint8_t *data;

	if (seed_cnt == SEEDS_MAX || seed_read(path, &data, &len)) {
		fprintf(stderr, "cannot learn %s\n", path);
		exit(2);
	}
	len = image_unpack(data, len, image);
	free(data);
	memcpy(s->uuid, uuid_of(image), sizeof(s->uuid));
	s->item_cnt = fix_learn(image, len, &s->items);
	for (size_t i = 0; i < s->item_cnt; i++)
		kept += (s->items[i].kind & wanted) != 0;
	fprintf(stderr, "%s: %zu bytes, %zu things with checksums, %zu of them to be mutated\n",
		path, len, s->item_cnt, kept);
	if (!kept)
		return false;
	seed_cnt++;
	return true;
}

/* Made elsewhere, so that nothing that is not whole is ever found here. */
static void make(const char *path, const char *kind, bool line)
{
	static uint8_t packed[(size_t)4 << 20];
	char store[64];
	size_t len = 0;
	uint8_t *data;
	int fd;

	snprintf(store, sizeof(store), "/dev/shm/twz-fuzz-seed-%d.twz", (int)getpid());
	if (!seed_make(store, kind, line) && !seed_read(store, &data, &len)) {
		len = len <= IMAGE_MAX ? image_pack(data, len, packed, sizeof(packed)) : 0;
		free(data);
	}
	unlink(store);
	fd = len ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (fd < 0 || write(fd, packed, len) != (ssize_t)len) {
		fprintf(stderr, "cannot make %s\n", path);
		exit(2);
	}
	close(fd);
}

static void learn_all(const char *dir)
{
	const char *only = getenv("TWZ_FUZZ_SEED");
	char path[400];

	for (const struct seed_kind *k = seed_kinds; k->name; k++)
		for (int line = 0; line < 2 && seed_is_for(k->name, only); line++) {
			snprintf(path, sizeof(path), "%s/%s-%s", dir, k->name,
				 line ? "line" : "page");
			if (access(path, F_OK))
				make(path, k->name, line);
			if (!learn(path))
				unlink(path);
		}
	if (!seed_cnt)
		exit(2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (getenv("TWZ_FUZZ_LOG"))
		wanted = FIX_LOGHEAD | FIX_LOGREC;
	if (getenv("TWZ_FUZZ_DUMP")) /* nodes have none */
		anywhere = 2;
	for (int i = 1; i < *argc; i++) {
		size_t n = strlen((*argv)[i]);

		if (n > 6 && (*argv)[i][0] != '-' && !strcmp((*argv)[i] + n - 6, ".seeds"))
			learn_all((*argv)[i]);
	}
	return 0;
}

/* By either superblock: one may have been hit. NULL: of none that is known. */
static const struct seed *seed_of(size_t size)
{
	for (size_t i = 0; i < seed_cnt; i++)
		if (!memcmp(seeds[i].uuid, uuid_of(image), 16) ||
		    (size >= 8192 && !memcmp(seeds[i].uuid, uuid_of(image + 4096), 16)))
			return &seeds[i];
	return NULL;
}

/* A place to change: OFF and length of a window. */
static size_t window(const struct seed *s, size_t size, unsigned int r, size_t *off)
{
	size_t len = size;

	*off = 0;
	if (s && (wanted != ~0u || r % anywhere)) {
		const struct fix_item *it = &s->items[(r >> 3) % s->item_cnt];

		while (!(it->kind & wanted))
			it = it + 1 < s->items + s->item_cnt ? it + 1 : s->items;
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

static void mutate(const struct seed *s, size_t size, unsigned int seed)
{
	unsigned int r = seed * 2654435761u;
	uint8_t buf[64];

	for (unsigned int n = 1 + seed % 3; n; n--, r = r * 1664525u + 1013904223u) {
		size_t off, len = window(s, size, r ^ r >> 15, &off);

		memcpy(buf, image + off, len);
		LLVMFuzzerMutate(buf, len, len);
		memcpy(image + off, buf, len);
	}
	if (s && seed % 16)
		fix_image(image, size, s->items, s->item_cnt);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t len = image_unpack(data, size, image);

	if (len < 4096)
		return LLVMFuzzerMutate(data, size, max_size);
	mutate(seed_of(len), len, seed);
	len = image_pack(image, len, data, max_size);
	return len ? len : size;
}
