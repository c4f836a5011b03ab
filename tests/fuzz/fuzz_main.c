/* SPDX-License-Identifier: MIT
 * fuzz_main.c -- drives fuzz_store without libFuzzer: real stores, mutated, for a bounded time
 *
 * usage: fuzz_store [SECONDS] [FILE...]   With FILEs, runs just those (to reproduce a finding).
 *
 * Each input runs in a child with a time limit, so a crash or a hang is a failure with the input
 * kept beside its SEED. Mutations: bytes and words set, runs zeroed or copied, the end cut off.
 * Half of them hit the first 256 KiB, where the metadata are.
 */
#include "fuzz.h"
#include "image.h"
#include "seed.h"
#include "t.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "twz/twz.h"
#include "twzdb.h"

#define HANG_SECONDS 60 /* on a machine that does other things, too */
#define SEEDS_MAX    64
#define PACKED_MAX   ((size_t)4 << 20)

struct seed {
	uint8_t *image;
	size_t len;
};

static size_t mutate(uint8_t *buf, size_t len)
{
	int n = 1 + (int)t_rand_below(6);

	while (n--) {
		size_t limit = t_rand_below(2) && len > 262144 ? 262144 : len;
		size_t at = t_rand_below(limit), run = 1 + t_rand_below(64);

		if (run > len - at)
			run = len - at;
		switch (t_rand_below(7)) {
		case 0:
			buf[at] ^= (uint8_t)(1u << t_rand_below(8));
			break;
		case 1:
			buf[at] = (uint8_t)t_rand();
			break;
		case 2:
			memset(buf + at, t_rand_below(2) ? 0xff : 0, run);
			break;
		case 3:
			memmove(buf + at, buf + t_rand_below(len - run), run);
			break;
		case 4:
			at &= ~(size_t)7;
			memcpy(buf + at, &(uint64_t){t_rand() >> t_rand_below(64)}, 8);
			break;
		case 5:
			at &= ~(size_t)4095;
			memset(buf + at, 0, len - at < 4096 ? len - at : 4096);
			break;
		default:
			if (t_rand_below(8) == 0)
				return 1 + t_rand_below(len);
		}
	}
	return len;
}

static int run_one(const uint8_t *data, size_t len)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(HANG_SECONDS);
		LLVMFuzzerTestOneInput(data, len);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (status) {
		char name[80];

		snprintf(name, sizeof(name), "/dev/shm/twz-fuzz-%d.twz", (int)pid);
		unlink(name);
		snprintf(name, sizeof(name), "/dev/shm/twz-fuzz-%d.twz-lock", (int)pid);
		unlink(name);
	}
	return status;
}

static int run_files(int argc, char **argv)
{
	int bad = 0;

	for (int i = 0; i < argc; i++) {
		uint8_t *data;
		size_t len;

		if (seed_read(argv[i], &data, &len)) {
			perror(argv[i]);
			return 2;
		}
		LLVMFuzzerTestOneInput(data, len);
		free(data);
		printf("%s: survived\n", argv[i]);
	}
	return bad;
}

static void keep(const uint8_t *data, size_t len, int status, long n)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/tmp/fuzz_store-%" PRIu64 "-%ld", t_seed(), n);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd >= 0 && write(fd, data, len) == (ssize_t)len)
		fprintf(stderr, "input kept: fuzz_store 0 %s\n", name);
	if (fd >= 0)
		close(fd);
	fprintf(stderr, "FAILED: input %ld of SEED=%" PRIu64 " ended with %s %d\n", n, t_seed(),
		WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* A store of each kind on each medium. */
static struct seed *make_seeds(size_t *cnt, size_t *most)
{
	struct seed *seed = calloc(SEEDS_MAX, sizeof(*seed));

	*cnt = 0;
	for (const struct seed_kind *k = seed_kinds; k->name; k++)
		for (int line = 0; line < 2; line++) {
			const char *path = t_path(t_shm_dir(), k->name);
			struct seed *s = &seed[*cnt];

			if (*cnt == SEEDS_MAX || seed_make(path, k->name, line) ||
			    seed_read(path, &s->image, &s->len) || s->len > IMAGE_MAX) {
				fprintf(stderr, "cannot make the seed store '%s'\n", k->name);
				return NULL;
			}
			unlink(path);
			*most = s->len > *most ? s->len : *most;
			++*cnt;
		}
	return seed;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 20);
	uint8_t *buf, *packed;
	size_t most = 0, cnt;
	struct seed *seed;
	long n = 0, bad = 0;

	if (argc > 2)
		return run_files(argc - 2, argv + 2);
	printf("fuzz_store SEED=%" PRIu64 "\n", t_seed());
	seed = make_seeds(&cnt, &most);
	if (!seed)
		return 1;
	buf = malloc(most);
	packed = malloc(PACKED_MAX);
	while ((time(NULL) < end || n < 2 * (long)cnt) && bad < 5) {
		const struct seed *s = &seed[n % (long)cnt];
		size_t len;
		int status;

		memcpy(buf, s->image, s->len);
		len = image_pack(buf, n >= (long)cnt ? mutate(buf, s->len) : s->len, packed,
				 PACKED_MAX);
		status = len ? run_one(packed, len) : -1;
		if (status) {
			keep(packed, len, status, n);
			bad++;
		}
		n++;
	}
	free(buf);
	free(packed);
	for (size_t i = 0; i < cnt; i++)
		free(seed[i].image);
	free(seed);
	printf("%ld inputs of %zu stores of up to %zu bytes, %ld crashed or hung\n", n, cnt, most,
	       bad);
	return bad != 0;
}
