/* SPDX-License-Identifier: MIT
 * backup.c -- a consistent copy of a store in use
 *
 *	1. all databases are opened; their writer locks taken, in the order of IDs; a snapshot of each; the locks let go
 *	2. DST.part: a database for each, table by table, rows in order
 *	3. DST.part is closed, and becomes DST: the commit point
 *
 * Snapshots do the rest: nothing the copy reads is reused before it has ended (D7).
 */
#include "internal.h"

#define BATCH_ROWS 256		     /* given to the engine at once ... */
#define BATCH_LEN  ((size_t)4 << 20) /* ... if they are no longer than this */
#define TXN_ROWS   65536	     /* of a transaction of the copy ... */
#define TXN_LEN	   ((uint64_t)8 << 20)
#define WAIT_MS	   10000
#define PART	   ".part"

/* A database of SRC, at its snapshot. */
struct source {
	char *name;
	struct twzdb *db;
	struct twzdb_txn *tx;
};

struct backup {
	const struct twzdb_backup_options *opt;
	const char *src;
	char *part;
	struct source *from;
	size_t cnt;
	uint64_t done, total; /* rows */
	/* of the table being copied */
	struct twzdb *to;
	struct twzdb_txn *tx;
	const char *table;
	struct twzdb_table at;
	struct twzdb_slice key[BATCH_ROWS], value[BATCH_ROWS];
	size_t row_cnt, len;
	uint64_t txn_rows, txn_len;
};

/* --- the snapshots --- */

static int name_add(void *ctx, const char *name, twz_oid id)
{
	struct backup *b = ctx;
	struct source *more = realloc(b->from, (b->cnt + 1) * sizeof(*more));

	(void)id;
	if (!more)
		return -ENOMEM;
	name += strncmp(name, "db/", 3) ? 0 : 3;
	b->from = more;
	b->from[b->cnt] = (struct source){.name = strdup(name)};
	return b->from[b->cnt++].name ? 0 : -ENOMEM;
}

/* Who may not write it. */
static bool may_read(int err)
{
	return err == TWZDB_E_READONLY || err == TWZ_E_READONLY || err == TWZ_E_PERM ||
	       err == -EACCES || err == -EPERM || err == -EROFS;
}

static int open_all(struct backup *b)
{
	struct twzdb_options o = {.size = sizeof(o)};
	int err = twzdb__names(b->src, o.flags, name_add, b);

	if (may_read(err)) {
		o.flags = TWZDB_READONLY;
		err = twzdb__names(b->src, o.flags, name_add, b);
	}
	if (!err && !b->cnt)
		err = twzdb__err(TWZDB_E_NOTFOUND, "%s: no database in it", b->src);
	for (size_t i = 0; i < b->cnt && !err; i++) {
		o.name = b->from[i].name;
		err = twzdb_open(b->src, &o, &b->from[i].db);
		if (!err)
			err = twzdb_doubt(b->from[i].db);
	}
	return err;
}

static int snapshots(struct backup *b)
{
	int err = 0;

	for (size_t i = 0; i < b->cnt && !err; i++)
		err = twzdb_begin(b->from[i].db, TWZDB_RDONLY, &b->from[i].tx);
	return err;
}

/* Of one moment: nobody commits while they are taken. */
static int snapshots_at_once(struct backup *b)
{
	struct twzdb_txn *held[TWZDB_GROUP_MAX];
	struct twzdb *db[TWZDB_GROUP_MAX];
	int err;

	if (b->cnt > TWZDB_GROUP_MAX || b->from[0].db->read_only)
		return snapshots(b);
	for (size_t i = 0; i < b->cnt; i++)
		db[i] = b->from[i].db;
	err = twzdb_group_begin(db, b->cnt, 0, b->opt->timeout_ms ? b->opt->timeout_ms : WAIT_MS,
				held);
	if (err)
		return err;
	err = snapshots(b);
	twzdb_group_abort(held, b->cnt);
	return err;
}

/* --- rows --- */

static int told(struct backup *b)
{
	return b->opt->progress ? b->opt->progress(b->opt->ctx, b->done, b->total) : 0;
}

static int flush_rows(struct backup *b)
{
	size_t done = 0;
	int err = 0;

	if (b->row_cnt)
		err = twzdb_put_many(b->tx, b->at, b->row_cnt, b->key, b->value, TWZDB_APPEND,
				     &done);
	b->done += b->row_cnt;
	b->txn_rows += b->row_cnt;
	b->txn_len += b->len;
	b->row_cnt = b->len = 0;
	return err ? err : told(b);
}

static int commit_rows(struct backup *b)
{
	int err = flush_rows(b);

	b->txn_rows = b->txn_len = 0;
	return err ? err : twzdb_commit_next(b->tx);
}

/* Keys and values lie where the snapshot keeps them, but for keys of kinds that are decoded. */
static int row(struct backup *b, uint32_t kind, struct twzdb_slice key, struct twzdb_slice value)
{
	int err = 0;

	if (kind) {
		err = twzdb_put(b->tx, b->at, key, value, TWZDB_APPEND);
		b->done++;
		b->txn_rows++;
		b->txn_len += key.len + value.len;
		if (!err && b->txn_rows % BATCH_ROWS == 0)
			err = told(b);
	} else {
		b->key[b->row_cnt] = key;
		b->value[b->row_cnt++] = value;
		b->len += key.len + value.len;
		if (b->row_cnt == BATCH_ROWS || b->len >= BATCH_LEN)
			err = flush_rows(b);
	}
	if (!err && (b->txn_rows >= TXN_ROWS || b->txn_len >= TXN_LEN))
		err = commit_rows(b);
	return err;
}

static int rows(struct backup *b, struct twzdb_txn *from, struct twzdb_table t, uint32_t kind)
{
	struct twzdb_slice key, value;
	struct twzdb_cursor *c;
	int err = twzdb_cursor_open(from, t, &c), ret = 0;

	if (err)
		return err;
	for (err = twzdb_cursor_get(c, TWZDB_FIRST, &key, &value); !err && !ret;
	     err = twzdb_cursor_get(c, TWZDB_NEXT, &key, &value))
		ret = row(b, kind, key, value);
	twzdb_cursor_close(c);
	if (!ret && err != TWZDB_E_NOTFOUND)
		return err;
	return ret ? ret : flush_rows(b);
}

/* --- tables --- */

struct tables {
	struct backup *b;
	struct source *from;
};

/* Whose decision these are, its copy is not (doubt.c). */
static bool is_copied(const char *name)
{
	return strcmp(name, TWZDB_DECISIONS) != 0;
}

static int count_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	const struct tables *ts = ctx;
	uint64_t cnt;
	int err = is_copied(name) ? twzdb_count(ts->from->tx, t, &cnt) : 0;

	(void)kind;
	if (!err && is_copied(name))
		ts->b->total += cnt;
	return err;
}

static int copy_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	const struct tables *ts = ctx;
	struct backup *b = ts->b;
	uint64_t was, is;
	int err;

	if (!is_copied(name))
		return 0;
	err = twzdb_table_open(b->tx, name, TWZDB_TABLE_CREATE | kind, &b->at);
	if (!err)
		err = rows(b, ts->from->tx, t, kind);
	if (!err)
		err = twzdb_count(ts->from->tx, t, &was);
	if (!err)
		err = twzdb_count(b->tx, b->at, &is);
	if (!err && was != is)
		err = twzdb__err(
			TWZDB_E_CORRUPT,
			"backup: table '%s' of database '%s' has %llu rows, but %llu were found: check the store",
			name, ts->from->name, (unsigned long long)was, (unsigned long long)is);
	return err;
}

static int copy_db(struct backup *b, struct source *from)
{
	struct twzdb_options o = {.size = sizeof(o),
				  .flags = TWZDB_CREATE | TWZDB_NO_ACCEL,
				  .name = from->name,
				  .store_options = b->opt->store_options};
	struct tables ts = {b, from};
	struct twz_log_info info = {0};
	int err = from->db->log ? twz_log_info(from->db->log, &info) : 0, ret;

	if (err)
		return twzdb__from_twz(err, "backup");
	o.log_len = info.ring_len;
	err = twzdb_open(b->part, &o, &b->to);
	if (err)
		return err;
	/* Nobody looks at the copy before it is whole: nothing of it need be durable before. */
	err = twzdb_begin(b->to, TWZDB_LAZY, &b->tx);
	if (!err) {
		b->txn_rows = b->txn_len = 0;
		err = twzdb_table_each(from->tx, copy_table, &ts);
		if (err)
			twzdb_abort(b->tx);
		else
			err = twzdb_commit(b->tx);
	}
	b->row_cnt = b->len = 0;
	ret = twzdb_close(b->to); /* durable */
	return err ? err : ret;
}

static int copy_all(struct backup *b)
{
	int err = 0;

	for (size_t i = 0; i < b->cnt && !err; i++) {
		struct tables ts = {b, &b->from[i]};

		err = twzdb_table_each(b->from[i].tx, count_table, &ts);
	}
	for (size_t i = 0; i < b->cnt && !err; i++)
		err = copy_db(b, &b->from[i]);
	return err ? err : told(b);
}

/* --- all of it --- */

static void sources_close(struct backup *b)
{
	for (size_t i = 0; i < b->cnt; i++) {
		twzdb_abort(b->from[i].tx);
		(void)twzdb_close(b->from[i].db);
		free(b->from[i].name);
	}
	free(b->from);
}

static int run(struct backup *b, const char *dst)
{
	int err = open_all(b);

	if (!err)
		err = snapshots_at_once(b);
	if (err)
		return err;
	err = twz_store_remove(b->part); /* of one that was killed */
	if (err && err != TWZ_E_NOENT)
		return twzdb__from_twz(err, "backup");
	err = copy_all(b);
	if (err) {
		char *why = strdup(twzdb_errmsg());

		(void)!twz_store_remove(b->part);
		err = why ? twzdb__err(err, "backup to %s: %s", dst, why) : err;
		free(why);
		return err;
	}
	err = twz_store_move(b->part, dst);
	return err ? twzdb__from_twz(err, "backup") : 0;
}

int twzdb_backup(const char *src, const char *dst, const struct twzdb_backup_options *opt)
{
	struct twzdb_backup_options o = {.size = sizeof(o)};
	struct backup *b;
	int err;

	if (!src || !dst || !*src || !*dst || (opt && !opt->size))
		return twzdb__err(TWZDB_E_INVAL, "backup: two paths, and options with their size");
	if (opt)
		memcpy(&o, opt, opt->size < sizeof(o) ? opt->size : sizeof(o));
	if (twz_store_exists(dst))
		return twzdb__err(TWZDB_E_EXIST, "%s: exists already: choose another name", dst);
	b = calloc(1, sizeof(*b));
	if (!b || asprintf(&b->part, "%s%s", dst, PART) < 0) {
		free(b);
		return twzdb__err(-ENOMEM, "backup: no memory");
	}
	b->opt = &o;
	b->src = src;
	err = run(b, dst);
	sources_close(b);
	free(b->part);
	free(b);
	return err;
}
