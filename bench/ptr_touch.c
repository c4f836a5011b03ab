/* SPDX-License-Identifier: MIT
 * ptr_touch.c -- what happens once: the first use of a FOT entry in a process, the first touch of
 * an unmapped object
 */
#include "ptr_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "twz/twz.h"

/* --- first use of a FOT entry: its target is mapped, its translation is not there --- */

#define USE_CNT 64 /* targets, each behind a FOT entry of its own */

static struct twz_store *store;
static twz_oid sources[2];
static struct twz_obj *targets[USE_CNT];

static int create(uint64_t len, twz_oid *id, struct twz_obj **o)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = len};

	return twz_obj_create(store, &opt, id, o);
}

static int make_sources(void)
{
	int err = 0;

	for (int i = 0; i < USE_CNT && !err; i++)
		err = create(TWZ_PAGE_SIZE, NULL, &targets[i]);
	for (int s = 0; s < 2 && !err; s++) {
		struct twz_obj *o;

		err = create(TWZ_PAGE_SIZE, &sources[s], &o);
		for (int i = 0; i < USE_CNT && !err; i++)
			err = twz_fot_set(o, (uint64_t)i + 1, twz_obj_id(targets[i]),
					  TWZ_READ | TWZ_WRITE);
		twz_obj_close(o);
	}
	return err;
}

/* The node of target I; every target uses another line of its page. */
static struct node *target_node(int i)
{
	return (struct node *)((char *)twz_obj_data(targets[i]) + i * TWZ_LINE_SIZE);
}

/* Cell k of SRC points to a random target, whose node names cell k + 1. */
static void link_uses(struct twz_obj *src)
{
	struct node *cells = twz_obj_data(src);
	int order[USE_CNT];

	for (int i = 0; i < USE_CNT; i++)
		order[i] = i;
	for (int i = USE_CNT - 1; i > 0; i--) {
		int j = (int)(bench_rand() % (unsigned)(i + 1)), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < USE_CNT; i++) {
		struct node *to = target_node(order[i]);

		cells[i].raw = to;
		cells[i].pptr =
			twz_pptr_make((uint64_t)order[i] + 1, (uintptr_t)to & TWZ_SLOT_MASK).v;
		to->raw = &cells[(i + 1) % USE_CNT];
	}
}

static __attribute__((noinline)) uint64_t use_raw(const struct node *p)
{
	const struct node *first = p;
	uint64_t t = bench_ticks();

	for (int i = 0; i < USE_CNT; i++) {
		p = p->raw;
		p = p->raw;
		KEEP(p);
	}
	t = bench_ticks() - t;
	chain_closed(p == first);
	return t;
}

static __attribute__((noinline)) uint64_t use_lea(const struct node *p)
{
	const struct node *first = p;
	uint64_t t = bench_ticks();

	for (int i = 0; i < USE_CNT; i++) {
		p = (struct node *)twz_lea(p, (twz_pptr){p->pptr});
		p = p->raw;
		KEEP(p);
	}
	t = bench_ticks() - t;
	chain_closed(p == first);
	return t;
}

static void flush_lines(const void *addr, size_t len)
{
	for (size_t i = 0; i < len; i += TWZ_LINE_SIZE)
		__asm__ volatile("clflush %0" : : "m"(((const char *)addr)[i]));
	__asm__ volatile("mfence" ::: "memory");
}

/*
 * Everything the first use reads leaves the first- and second-level cache; FOT, cells and nodes
 * leave the third, too.
 */
static void make_cold(struct twz_obj *src)
{
	static char thrash[8 << 20];

	flush_lines(twz_obj_data(src), USE_CNT * sizeof(struct node));
	flush_lines((char *)twz_obj_base(src) + TWZ_META_OFF, TWZ_PAGE_SIZE);
	for (int i = 0; i < USE_CNT; i++)
		flush_lines(target_node(i), sizeof(struct node));
	for (size_t i = 0; i < sizeof(thrash); i += TWZ_LINE_SIZE)
		((volatile char *)thrash)[i]++;
}

static int warm_fot(struct twz_obj *src)
{
	struct twz_fot_info info;
	int err = 0;

	for (uint64_t i = 1; i <= USE_CNT && !err; i++)
		err = twz_fot_get(src, i, &info);
	return err;
}

/*
 * One round: a second source with the same targets is used first, so that code, predictors and the
 * lines of the targets are warm; then the raw walk, then the first uses.
 */
static int use_round(bool cold, double *ns)
{
	struct twz_obj *o[2] = {NULL, NULL};
	uint64_t raw, lea;
	int err = 0;

	for (int s = 0; s < 2 && !err; s++)
		err = twz_obj_open(store, sources[s], TWZ_READ | TWZ_WRITE, &o[s]);
	if (!err)
		err = warm_fot(o[0]);
	if (!err)
		err = warm_fot(o[1]);
	if (!err) {
		link_uses(o[1]);
		use_lea(twz_obj_data(o[1]));
		link_uses(o[0]);
		if (cold)
			make_cold(o[0]);
		raw = use_raw(twz_obj_data(o[0]));
		if (cold)
			make_cold(o[0]);
		lea = use_lea(twz_obj_data(o[0]));
		*ns = ((double)lea - (double)raw) * bench_ns_per_tick() / USE_CNT;
	}
	twz_obj_close(o[0]);
	twz_obj_close(o[1]);
	return err;
}

static int use_rounds(bool cold, int rounds, double *median)
{
	double *ns = calloc((size_t)rounds, sizeof(*ns));
	int err = ns ? 0 : -ENOMEM;

	for (int r = 0; r < rounds && !err; r++)
		err = use_round(cold, &ns[r]);
	if (!err)
		*median = bench_median(ns, (size_t)rounds);
	free(ns);
	return err;
}

int bench_first_use(struct twz_store *s, int rounds)
{
	double warm, cold;
	int err;

	store = s;
	err = make_sources();
	if (!err)
		err = use_rounds(false, rounds, &warm);
	if (!err)
		err = use_rounds(true, rounds / 20 + 1, &cold);
	for (int i = 0; i < USE_CNT; i++)
		twz_obj_close(targets[i]);
	if (err)
		return bench_failed("first use");
	report_section(
		"First use of a FOT entry in a process: target mapped, translation not there "
		"(%d entries, %d targets)",
		USE_CNT, USE_CNT);
	report_row("use.warm", "twz_lea, lines warm", warm, "ns added", 27.9);
	report_row("use.cold", "twz_lea, lines cold", cold, "ns added", 0);
	return 0;
}

/* --- first touch of an unmapped object --- */

static uint64_t mmap_calls;

/* Seen by libtwz instead of libc's: counts. */
__attribute__((visibility("default"))) void *mmap(void *addr, size_t len, int prot, int flags,
						  int fd, off_t off)
{
	mmap_calls++;
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

__attribute__((visibility("default"))) void *mmap64(void *addr, size_t len, int prot, int flags,
						    int fd, off_t off)
{
	mmap_calls++;
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

struct cost {
	double mmaps, faults, us;
};

struct meter {
	uint64_t mmaps, ticks;
	long faults;
};

static long faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_minflt + ru.ru_majflt;
}

static struct meter meter_start(void)
{
	struct meter m = {mmap_calls, 0, faults()};

	m.ticks = bench_ticks();
	return m;
}

static struct cost meter_stop(const struct meter *m)
{
	struct cost c = {.us = (double)(bench_ticks() - m->ticks) * bench_ns_per_tick() / 1000};

	c.faults = (double)(faults() - m->faults);
	c.mmaps = (double)(mmap_calls - m->mmaps);
	return c;
}

static void touch(const char *data, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += TWZ_PAGE_SIZE)
		(void)*(const volatile char *)(data + i);
}

#define RANGES_MAX 64
struct range {
	uint64_t slot_off, len, file_off;
};

/* What of the slot of ADDR is mapped from the store's file: the object's extents. */
static int mapped_ranges(const void *addr, struct range *r)
{
	uintptr_t base = (uintptr_t)addr & ~(uintptr_t)TWZ_SLOT_MASK;
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long long a, e, off, ino;
	char line[512];
	int cnt = 0;

	while (f && fgets(line, sizeof(line), f) && cnt < RANGES_MAX) {
		if (sscanf(line, "%llx-%llx %*4s %llx %*x:%*x %llu", &a, &e, &off, &ino) != 4 ||
		    !ino)
			continue;
		if (a >= base && a < base + TWZ_SLOT_SIZE)
			r[cnt++] = (struct range){a - base, e - a, off};
	}
	if (f)
		fclose(f);
	return cnt;
}

/* An object of LEN bytes that nobody has open, and what points to it. */
struct unmapped {
	const char *path;
	twz_oid src;
	uint64_t len;
	struct range range[RANGES_MAX];
	int range_cnt;
};

/*
 * The hand-written program: maps the same ranges of the file at the same distances and touches the
 * same pages.
 */
static int by_hand(const struct unmapped *u, struct cost *c)
{
	int fd = open(u->path, O_RDWR | O_CLOEXEC);
	char *room = mmap(NULL, TWZ_SLOT_SIZE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct meter m = meter_start();

	if (fd < 0 || room == MAP_FAILED)
		return TWZ_E_IO;
	for (int i = 0; i < u->range_cnt; i++)
		if (mmap(room + u->range[i].slot_off, u->range[i].len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, (off_t)u->range[i].file_off) == MAP_FAILED)
			return TWZ_E_MAPS;
	touch(room + TWZ_DATA_OFF, u->len);
	*c = meter_stop(&m);
	munmap(room, TWZ_SLOT_SIZE);
	close(fd);
	return 0;
}

/* Follow the pointer and touch; SEEN (or NULL) takes what is mapped then. */
static int by_pointer(const struct unmapped *u, struct cost *c, struct unmapped *seen)
{
	struct twz_fot_info info;
	struct twz_obj *o;
	struct meter m;
	twz_pptr *cell;
	char *data;
	int err = twz_obj_open(store, u->src, TWZ_READ | TWZ_WRITE, &o);

	if (err)
		return err;
	cell = twz_obj_data(o);
	err = twz_pptr_is_null(*cell) ? TWZ_E_STATE : twz_fot_get(o, 1, &info);
	if (!err) {
		m = meter_start();
		data = twz_lea(cell, *cell);
		if (data)
			touch(data, u->len);
		*c = meter_stop(&m);
		err = data ? 0 : TWZ_E_NOENT;
		if (data && seen)
			seen->range_cnt = mapped_ranges(data, seen->range);
	}
	twz_obj_close(o);
	return err;
}

static int make_pair(uint64_t len, twz_oid *src)
{
	struct twz_obj *o = NULL, *t = NULL;
	int err = create(len, NULL, &t);

	if (!err)
		err = create(TWZ_PAGE_SIZE, src, &o);
	if (!err) {
		memset(twz_obj_data(t), 1, len);
		err = twz_ptr_store(twz_obj_data(o), twz_obj_data(t), TWZ_READ | TWZ_WRITE);
	}
	twz_obj_close(t);
	twz_obj_close(o);
	return err;
}

#define TOUCH_ROUNDS 101
enum { OURS, HAND };

/* The two take turns in going first. */
static int touch_round(const struct unmapped *u, bool hand_first, struct cost c[2])
{
	int err = hand_first ? by_hand(u, &c[HAND]) : 0;

	if (!err)
		err = by_pointer(u, &c[OURS], NULL);
	return err || hand_first ? err : by_hand(u, &c[HAND]);
}

struct figures {
	double v[2][3][TOUCH_ROUNDS];
};

static void touch_note(struct figures *f, int round, const struct cost c[2])
{
	for (int k = 0; k < 2; k++) {
		f->v[k][0][round] = c[k].mmaps;
		f->v[k][1][round] = c[k].faults;
		f->v[k][2][round] = c[k].us;
	}
}

static void touch_report(struct figures *f, const char *name, const char *id, double bar)
{
	static const char *const rows[3][2] = {
		{"mmap", "mmap calls, relative to the hand-written program"},
		{"fault", "page faults, relative to the hand-written program"},
		{"us", "time, relative to the hand-written program"},
	};
	double med[2][3];
	char key[64];

	for (int k = 0; k < 2; k++)
		for (int i = 0; i < 3; i++)
			med[k][i] = bench_median(f->v[k][i], TOUCH_ROUNDS);
	report_section("First touch of an unmapped object of %s: mmap calls %.0f (by hand %.0f), "
		       "page faults %.0f (%.0f), %.1f us (%.1f)",
		       name, med[OURS][0], med[HAND][0], med[OURS][1], med[HAND][1], med[OURS][2],
		       med[HAND][2]);
	for (int i = 0; i < 3; i++) {
		snprintf(key, sizeof(key), "touch.%s.%s", id, rows[i][0]);
		report_row(key, rows[i][1], med[OURS][i] / med[HAND][i], "x", bar);
	}
}

static int touch_len(const char *path, uint64_t len, const char *name, const char *id)
{
	struct unmapped u = {.path = path, .len = len};
	struct figures f;
	struct cost c[2];
	int err = make_pair(len, &u.src);

	if (!err)
		err = by_pointer(&u, &c[OURS], &u);
	for (int r = 0; r < TOUCH_ROUNDS && !err; r++) {
		err = touch_round(&u, r % 2, c);
		touch_note(&f, r, c);
	}
	if (!err)
		touch_report(&f, name, id, 1.2);
	return err;
}

/* --- the same in slots of the address space that were never used --- */

#define FRESH_SKIP 128 /* more than anything before has used; those are given out first */
#define FRESH_CNT  (FRESH_SKIP + TOUCH_ROUNDS)

/* FRESH_CNT objects; CELLS point to them. */
static int fresh_make(const char *path, uint64_t len, struct unmapped *u, twz_pptr *cells)
{
	int err = 0;

	for (int i = 0; i < FRESH_CNT && !err; i++) {
		struct twz_obj *t = NULL;

		u[i] = (struct unmapped){.path = path, .len = len};
		err = create(len, NULL, &t);
		if (err)
			break;
		memset(twz_obj_data(t), 1, len);
		u[i].range_cnt = mapped_ranges(twz_obj_data(t), u[i].range);
		err = twz_ptr_store(&cells[i], twz_obj_data(t), TWZ_READ | TWZ_WRITE);
		twz_obj_close(t);
	}
	return err;
}

/* By hand first, uncounted: the pages are as near as they are to the one that goes second. */
static int fresh_round(struct twz_obj *src, const twz_pptr *cell, const struct unmapped *u,
		       struct cost c[2])
{
	struct twz_fot_info info;
	struct meter m;
	char *data;
	int err = twz_fot_get(src, twz_pptr_fot(*cell), &info);

	if (!err)
		err = by_hand(u, &c[HAND]);
	if (err)
		return err;
	m = meter_start();
	data = twz_lea(cell, *cell);
	if (!data)
		return TWZ_E_NOENT;
	touch(data, u->len);
	c[OURS] = meter_stop(&m);
	return by_hand(u, &c[HAND]);
}

/* The source stays open, so all its targets stay mapped, each in a slot of its own. */
static int touch_fresh(const char *path, uint64_t len, const char *name, const char *id)
{
	static struct unmapped u[FRESH_CNT];
	struct figures f;
	struct cost c[2];
	struct twz_obj *src;
	int err = create(TWZ_PAGE_SIZE, NULL, &src);

	if (err)
		return err;
	err = fresh_make(path, len, u, twz_obj_data(src));
	for (int i = 0; i < FRESH_CNT && !err; i++) {
		err = fresh_round(src, (twz_pptr *)twz_obj_data(src) + i, &u[i], c);
		if (i >= FRESH_SKIP)
			touch_note(&f, i - FRESH_SKIP, c);
	}
	twz_obj_close(src);
	if (!err)
		touch_report(&f, name, id, 0);
	return err;
}

int bench_first_touch(struct twz_store *s, const char *path)
{
	int err;

	store = s;
	err = touch_len(path, 256 << 10, "256 KiB", "256k");
	if (!err)
		err = touch_len(path, 8 << 20, "8 MiB", "8m");
	if (!err)
		err = touch_fresh(path, 256 << 10, "256 KiB, slot never used before", "fresh");
	return err ? bench_failed("first touch") : 0;
}
