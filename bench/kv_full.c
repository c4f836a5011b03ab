/* SPDX-License-Identifier: MIT
 * kv_full.c -- opening a store on a disk whose log is full, nothing of which is in memory: as after a power loss
 *
 * A process of its own ("twzbench kv-filler") makes the store, and updates rows, without the helper that does checkpoints early,
 * until a checkpoint is due: more than that no log ever holds. Then it kills itself. What the kernel has of the file is written
 * and dropped before the store is opened.
 */
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "twzdb.h"

#define RECORDS	   100000u
#define FULL_SHARE 0.48 /* of the ring: at a half a committer does a checkpoint */
#define BAR_MS	   1000

static int update(const struct drv *d, void *th, struct rng *r, uint32_t version)
{
	struct kv_op op;
	struct field f;
	struct drv_kv kv = {op.key, (const char *)&f, KEY_LEN, FIELD_LEN};

	bench_filler(&f);
	kv_op_make(&op, (uint32_t)rng_below(r, RECORDS), version);
	bench_field(&f, bench_key_word(op.key, KEY_LEN), 0, version, op.id);
	return version % 256 ? d->put_lazy(th, &kv) : d->put(th, DRV_UPDATE, &kv);
}

static int load(const struct drv *d, void *th)
{
	static struct drv_kv kv[BATCH_CNT];
	static struct kv_op op[BATCH_CNT];
	static struct field f[BATCH_CNT];
	int err = 0;

	for (uint32_t from = 0; from < RECORDS && !err; from += BATCH_CNT) {
		for (uint32_t i = 0; i < BATCH_CNT; i++) {
			kv_op_make(&op[i], from + i, 1);
			bench_filler(&f[i]);
			bench_field(&f[i], bench_key_word(op[i].key, KEY_LEN), 0, 1, op[i].id);
			kv[i] = (struct drv_kv){op[i].key, (const char *)&f[i], KEY_LEN, FIELD_LEN};
		}
		err = d->batch(th, kv, BATCH_CNT, false);
	}
	return err;
}

int bench_kv_filler(int argc, char **argv)
{
	const struct drv *d = &drv_twzdb;
	struct drv_opt opt = {.value_len = FIELD_LEN, .records = RECORDS, .page = true};
	struct twzdb_stats st = {.size = sizeof(st)};
	struct rng r = {42};
	void *store, *th;

	if (argc != 3)
		return 2;
	opt.dir = argv[2];
	if (d->open(&opt, &store) || d->attach(store, &th) || load(d, th))
		return 1;
	if (twzdb_checkpoint(store))
		return 1;
	for (uint32_t version = 2;; version++) {
		if (update(d, th, &r, version))
			return 1;
		if (version % 256)
			continue;
		if (twzdb_stats(store, &st))
			return 1;
		if ((double)st.log_used >= FULL_SHARE * (double)st.log_len) {
			printf("%llu\n", (unsigned long long)st.log_used);
			fflush(stdout);
			kill(getpid(), SIGKILL);
		}
	}
}

/* Bytes of the log in use when it died; 0: it ended otherwise. */
static uint64_t fill(const char *dir)
{
	unsigned long long used = 0;
	int status, out[2];
	FILE *f;
	pid_t pid;

	if (pipe(out))
		return 0;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(out[1], 1);
		setenv("TWZDB_HELPER", "0", 1);
		execl("/proc/self/exe", "twzbench", "kv-filler", dir, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || fscanf(f, "%llu", &used) != 1)
		used = 0;
	if (f)
		fclose(f);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return 0;
	return used;
}

static void forget(const char *dir)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/kv.twz", dir);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return;
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static double open_ms(const struct drv_opt *opt)
{
	struct timespec a, b;
	struct rng r = {7};
	void *store, *th;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &a);
	if (drv_twzdb.open(opt, &store))
		return -1;
	err = drv_twzdb.attach(store, &th);
	if (!err)
		err = update(&drv_twzdb, th, &r, 256); /* a durable one */
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (!err)
		drv_twzdb.detach(th);
	drv_twzdb.close(store);
	return err ? -1
		   : (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
}

int kv_open_full(struct kv *k, const char *dir)
{
	struct drv_opt opt = {.dir = dir, .records = RECORDS, .value_len = FIELD_LEN, .page = true};
	double v[ROUNDS_MAX];
	uint64_t used = 0;

	for (int r = 0; r < k->rounds; r++) {
		if (dir_make(dir))
			return DRV_FAIL;
		used = fill(dir);
		if (!used)
			return drv_fail("%s: the writer ended by itself", dir);
		forget(dir);
		v[r] = open_ms(&opt);
		dir_remove(dir);
		if (v[r] < 0)
			return drv_fail("%s: opening failed", dir);
	}
	printf("  log in use at the kill: %.1f MiB\n", (double)used / (1 << 20));
	report_bar("page.full", "open with a full log, nothing in memory", "ms", v, k->rounds,
		   BAR_MS, false);
	return 0;
}
