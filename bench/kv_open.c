/* SPDX-License-Identifier: MIT
 * kv_open.c -- opening a store whose writer was killed, the first transaction included
 *
 * The writer is this program, started anew ("twzbench kv-writer"): no state of the measuring
 * process, and none of its threads, is in it. It says in a shared page how many of its updates
 * were acknowledged; each of them must be found afterwards.
 */
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct acked {
	_Atomic uint32_t version, id;
	_Atomic uint32_t ready;
};

static struct acked *acked_map(const char *dir, int flags)
{
	char path[512];
	struct acked *a;
	int fd;

	snprintf(path, sizeof(path), "%s.acked", dir);
	fd = open(path, O_RDWR | flags, 0600);
	if (fd < 0 || ftruncate(fd, 4096)) {
		drv_fail("%s: cannot be made", path);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return a == MAP_FAILED ? NULL : a;
}

/* --- the writer that gets killed --- */

int bench_kv_writer(int argc, char **argv)
{
	const struct drv *d = argc == 5 ? drv_find(argv[2]) : NULL;
	struct drv_opt opt = {.dir = argc == 5 ? argv[3] : "", .value_len = FIELD_LEN};
	uint32_t records = argc == 5 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0, version;
	struct rng r = {(uint64_t)getpid()};
	struct acked *a;
	struct field f;
	void *store, *th;

	if (!d || !records)
		return 2;
	opt.records = records;
	a = acked_map(opt.dir, 0);
	if (!a || d->open(&opt, &store) || d->attach(store, &th))
		return 1;
	bench_filler(&f);
	for (version = atomic_load(&a->version) + 1;; version++) {
		struct kv_op op;
		struct drv_kv kv = {op.key, (const char *)&f, KEY_LEN, FIELD_LEN};

		kv_op_make(&op, (uint32_t)rng_below(&r, records), version);
		bench_field(&f, bench_key_word(op.key, KEY_LEN), 0, version, op.id);
		if (d->put(th, DRV_UPDATE, &kv))
			return 1;
		/* Read in the opposite order, and only after this process is dead. */
		atomic_store(&a->id, op.id);
		atomic_store(&a->version, version);
		atomic_store(&a->ready, 1);
	}
}

/* --- the one who opens --- */

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static pid_t start_writer(const struct kv *k, const struct kv_peer *p)
{
	char cnt[16];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(cnt, sizeof(cnt), "%u", k->records);
	execl("/proc/self/exe", "twzbench", "kv-writer", p->drv->name, p->opt.dir, cnt,
	      (char *)NULL);
	_exit(127);
}

/* Lets a writer work for a while after its first acknowledged update, then kills it. */
static int kill_writer(const struct kv *k, const struct kv_peer *p, struct acked *a)
{
	uint64_t give_up = wall_ns() + 60u * 1000000000ull;
	int status;
	pid_t pid;

	atomic_store(&a->ready, 0);
	pid = start_writer(k, p);
	if (pid < 0)
		return drv_fail("fork: %s", strerror(errno));
	while (!atomic_load(&a->ready) && wall_ns() < give_up && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	usleep(k->opt->quick ? 50000 : 300000);
	if (kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return drv_fail("%s: the writer ended by itself", p->drv->name);
	return 0;
}

/* The killed writer may have stored one more update than it told about. */
static int check_acked(struct kv_peer *p, const struct acked *a)
{
	uint32_t version = atomic_load(&a->version);
	struct kv_op op;
	char buf[VALUE_MAX];
	const struct field *f = (const struct field *)buf;
	int len;

	kv_op_make(&op, atomic_load(&a->id), version);
	len = p->drv->get(p->th, op.key, KEY_LEN, buf, sizeof(buf));
	if (len != FIELD_LEN || !bench_value_ok(buf, FIELD_LEN, bench_key_word(op.key, KEY_LEN)) ||
	    f->version < version)
		return drv_fail("%s: an acknowledged update is gone after SIGKILL", p->drv->name);
	return 0;
}

static double slice_open(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	struct acked *a = acked_map(p->opt.dir, O_CREAT);
	struct kv_op op;
	struct field f;
	struct drv_kv kv = {op.key, (const char *)&f, KEY_LEN, FIELD_LEN};
	uint64_t start, ns;
	int err;

	(void)row;
	if (!a || kill_writer(k, p, a))
		return SLICE_FAIL;
	kv_op_make(&op, 1, 0);
	bench_filler(&f);
	start = wall_ns();
	err = kv_peer_open(k, p, "");
	bench_field(&f, bench_key_word(op.key, KEY_LEN), 0, atomic_load(&a->version) + 1, op.id);
	if (!err)
		err = p->drv->put(p->th, DRV_UPDATE, &kv);
	ns = wall_ns() - start;
	if (!err)
		err = check_acked(p, a);
	kv_peer_close(p, false);
	munmap(a, 4096);
	return err ? SLICE_FAIL : (double)ns / 1e6;
}

static double slice_open_if(struct kv *k, struct kv_peer *p, const struct kv_row *row)
{
	return p->drv == &drv_twzdb_tree ? NO_FIGURE : slice_open(k, p, row);
}

int kv_section_open(struct kv *k)
{
	static struct kv_row row = {"open", "open and first update", "ms", slice_open_if};
	double rate;
	int err = 0;

	report_section("Open after SIGKILL of a writer, the first durable update included");
	for (int i = 0; i < k->peer_cnt && !err; i++) {
		struct kv_peer *p = &k->peers[i];

		if (p->drv == &drv_twzdb_tree)
			continue;
		err = kv_peer_open(k, p, "");
		if (!err)
			err = kv_load(k, p, false, &rate);
		kv_peer_close(p, err != 0);
	}
	if (!err)
		err = kv_rows(k, &row, 1);
	if (!err)
		kv_bar(k, &row, "twzdb", 50, false, "open after SIGKILL, ms");
	return err;
}
