/* SPDX-License-Identifier: MIT
 * test_engine_hostile.c -- damaged stores: an error or a finding, never a crash and never a hang (D10)
 *
 * Bytes of the database's objects are overwritten on the medium; a child opens the store and
 * does everything one can do to it.
 */
#include "engine_t.h"

#include "../../engine/src/format_db.h"

#include <signal.h>
#include <sys/wait.h>

#define ROWS 3000

static const char *path;

#define LONGS 40

static struct twzdb_slice long_key(uint64_t i)
{
	static uint8_t key[34000];

	memcpy(key + 1100, &i, sizeof(i));
	memcpy(key + sizeof(key) - sizeof(i), &i, sizeof(i));
	return (struct twzdb_slice){key, i % 8 ? 1100 + sizeof(i) : sizeof(key)};
}

static int fill(void)
{
	struct twzdb *db;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err = et_open(path, &db);

	if (err)
		return err;
	for (int round = 0; round < 3 && !err; round++) {
		err = twzdb_begin(db, 0, &tx);
		if (!err)
			err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);
		for (uint64_t i = 0; i < ROWS && !err; i += 1 + (uint64_t)round)
			err = twzdb_put(tx, t, et_key(i), et_val(i, i % 90 == 0 ? 5000 : i % 50),
					0);
		for (uint64_t i = 0; i < LONGS && !err; i++)
			err = twzdb_put(tx, t, long_key(i), et_val(i, 30), 0);
		if (!err)
			err = twzdb_commit(tx);
	}
	return err ? err : twzdb_close(db);
}

static void ignore(void *ctx, const char *where, const char *what)
{
	(void)where;
	(void)what;
	++*(uint64_t *)ctx;
}

static void read_all(struct twzdb *db)
{
	enum twzdb_seek op = TWZDB_FIRST;
	struct twzdb_txn *tx;
	struct twzdb_table t;
	struct twzdb_cursor *c;
	struct twzdb_slice k, v;
	uint64_t cnt;

	if (twzdb_begin(db, TWZDB_RDONLY, &tx))
		return;
	if (!twzdb_table_open(tx, "t", 0, &t)) {
		(void)!twzdb_count(tx, t, &cnt);
		for (uint64_t i = 0; i < ROWS; i += 7)
			(void)!twzdb_get(tx, t, et_key(i), &v);
		for (uint64_t i = 0; i < LONGS; i++)
			(void)!twzdb_get(tx, t, long_key(i), &v);
		if (!twzdb_cursor_open(tx, t, &c)) {
			/* Comes to an end even when damage bent the tree into a ring. */
			for (; !twzdb_cursor_get(c, op, &k, &v); op = TWZDB_NEXT)
				;
			for (op = TWZDB_LAST; !twzdb_cursor_get(c, op, &k, &v); op = TWZDB_PREV)
				;
			twzdb_cursor_close(c);
		}
	}
	twzdb_abort(tx);
}

static void change_all(struct twzdb *db)
{
	struct twzdb_txn *tx;
	struct twzdb_table t;

	for (int round = 0; round < 4; round++) {
		if (twzdb_begin(db, 0, &tx))
			return;
		if (!twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t)) {
			for (uint64_t i = 0; i < ROWS / 4; i++) {
				(void)!twzdb_put(tx, t, et_key(t_rand_below(ROWS * 2)),
						 et_val(i, i % 70), 0);
				(void)!twzdb_del(tx, t, et_key(t_rand_below(ROWS * 2)));
				if (i % 8 == 0)
					(void)!twzdb_put(tx, t, long_key(t_rand_below(LONGS)),
							 et_val(i, 40), 0);
				if (i % 16 == 0)
					(void)!twzdb_del(tx, t, long_key(t_rand_below(LONGS)));
			}
		}
		if (round == 3)
			(void)!twzdb_table_drop(tx, "t");
		(void)!twzdb_commit(tx);
	}
}

static int use(void)
{
	uint64_t found, seen = 0;
	struct twzdb *db;

	alarm(20);
	if (et_open(path, &db))
		return 0; /* refused */
	(void)!twzdb_check(db, ignore, &seen, &found);
	read_all(db);
	change_all(db);
	(void)!twzdb_check(db, ignore, &seen, &found);
	(void)!twzdb_close(db);
	return 0;
}

/* Offsets in the file of 64 KiB units and of the root: found by their magic. */
static size_t targets(const uint8_t *img, size_t len, size_t *out, size_t max)
{
	const uint32_t unit = TWZDB_UNIT_MAGIC;
	const uint64_t root = TWZDB_MAGIC;
	size_t n = 0;

	for (size_t i = 0; i + 4096 <= len && n < max; i += 4096)
		if (!memcmp(img + i, &unit, sizeof(unit)) || !memcmp(img + i, &root, sizeof(root)))
			out[n++] = i;
	return n;
}

static void damage(uint8_t *img, size_t len, size_t unit)
{
	int times = 1 + (int)t_rand_below(30);

	while (times--) {
		/* The headers of units, nodes and records are where damage does harm. */
		size_t at = unit +
			    (t_rand_below(3) ? t_rand_below(TWZDB_UNIT_LEN) : t_rand_below(2048));

		switch (at + 8 < len ? t_rand_below(4) : 9) {
		case 0:
			img[at] ^= (uint8_t)(1 << t_rand_below(8));
			break;
		case 1:
			img[at] = (uint8_t)t_rand();
			break;
		case 2:
			memset(img + (at & ~(size_t)7), t_rand_below(2) ? 0xff : 0, 8);
			break;
		case 3: /* some other word of the unit: pointers that look right */
			memcpy(img + (at & ~(size_t)7),
			       img + unit + (t_rand_below(TWZDB_UNIT_LEN - 8) & ~(size_t)7), 8);
			break;
		default:
			break;
		}
	}
}

static uint8_t *slurp(const char *file, size_t *len)
{
	int fd = open(file, O_RDONLY);
	uint8_t *buf;

	*len = (size_t)lseek(fd, 0, SEEK_END);
	buf = malloc(*len);
	if (pread(fd, buf, *len, 0) != (ssize_t)*len)
		abort();
	close(fd);
	return buf;
}

static void spill(const char *file, const uint8_t *buf, size_t len)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (pwrite(fd, buf, len, 0) != (ssize_t)len)
		abort();
	close(fd);
}

static void run(enum et_media m, int rounds)
{
	size_t len, unit[64], n;
	uint8_t *good, *bad;

	path = et_path(m, "good.twz");
	T_REQ(fill());
	good = slurp(path, &len);
	bad = malloc(len);
	path = et_path(m, "bad.twz");
	n = targets(good, len, unit, 64);
	T_TRUE(n > 3);
	for (int i = 0; i < rounds && n; i++) {
		int status;
		pid_t pid;

		memcpy(bad, good, len);
		damage(bad, len, unit[t_rand_below(n)]);
		spill(path, bad, len);
		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(use());
		waitpid(pid, &status, 0);
		if (!T_EQ(status, 0)) {
			const char *keep = getenv("T_KEEP_BAD");

			if (keep)
				spill(keep, bad, len);
			break;
		}
	}
	free(good);
	free(bad);
}

static void damage_is_survived_on_page_media(void)
{
	run(ET_PAGE, 40);
}

static void damage_is_survived_on_cache_line_media(void)
{
	run(ET_LINE, 150);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(damage_is_survived_on_page_media),
		T_CASE(damage_is_survived_on_cache_line_media),
		T_END,
	};

	return t_main("engine_hostile", cases, argc, argv);
}
