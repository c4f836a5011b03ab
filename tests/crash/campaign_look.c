/* SPDX-License-Identifier: MIT
 * campaign_look.c -- the oracle of a campaign: whole snapshots against what was acknowledged, refused, and seen before
 *
 * Actor A's change N stores N in row "last", in row N % KEYS, in "saw" beside the last changes of the others that it read, and now and then
 * in a long row. So of each row it is known which change it must be of: the last one of its kind, up to `last`, that was acknowledged;
 * or one after it that nobody had an answer for. Such a change is there for good once it was seen, and never again once it was not, in a snapshot
 * that has a later one.
 */
#include "campaign.h"

#include <string.h>
#include <unistd.h>

struct shot {
	uint64_t last[WRITERS], row[WRITERS][KEYS], ballast[WRITERS][BALLAST];
	uint64_t saw[WRITERS][1 + WRITERS];
	uint64_t acked[WRITERS]; /* before the snapshot was taken */
	uint64_t rows, sum;
};

static uint8_t *outcome_at(int actor, uint64_t n)
{
	return &shared->said[actor].outcome[n % HISTORY];
}

static enum outcome outcome_of(int actor, uint64_t n)
{
	return __atomic_load_n(outcome_at(actor, n), __ATOMIC_SEQ_CST);
}

void outcome_is(int actor, uint64_t n, enum outcome is)
{
	__atomic_store_n(outcome_at(actor, n), (uint8_t)is, __ATOMIC_SEQ_CST);
}

/* Nobody had an answer for it: now it is known. */
static void found_out(int actor, uint64_t n, enum outcome is)
{
	uint8_t was = UNKNOWN;

	if (__atomic_compare_exchange_n(outcome_at(actor, n), &was, (uint8_t)is, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		count(is == SEEN ? &shared->n.seen : &shared->n.gone, 1);
}

/* --- reading all rows --- */

/* Every word of the row is the same number. 0: it is damaged. */
static uint64_t number_of(struct twzdb_slice v)
{
	uint64_t n, w;

	if (v.len < 8 || v.len % 8)
		return 0;
	memcpy(&n, v.ptr, 8);
	for (size_t i = 8; i<v.len; i += v.len> 8192 ? 8 * (1 + rnd(2000)) : 8) {
		memcpy(&w, (const uint8_t *)v.ptr + i, 8);
		if (w != n)
			return 0;
	}
	return n;
}

static const char *take_row(struct shot *s, const char *key, struct twzdb_slice v)
{
	uint64_t n = number_of(v);
	int actor, k, end = 0;

	if (sscanf(key, "a%d saw%n", &actor, &end) == 1 && end && !key[end] && actor >= 0 &&
	    actor < WRITERS) {
		if (v.len != sizeof(s->saw[0]))
			return "a row has another length than anybody wrote";
		memcpy(s->saw[actor], v.ptr, v.len);
		return NULL;
	}
	if (!n)
		return "a row is of two changes";
	if (sscanf(key, "a%d last%n", &actor, &end) == 1 && end && !key[end] && actor >= 0 &&
	    actor < WRITERS)
		s->last[actor] = n;
	else if (sscanf(key, "a%d row %d%n", &actor, &k, &end) == 2 && end && !key[end] &&
		 actor >= 0 && actor < WRITERS && k >= 0 && k < KEYS)
		s->row[actor][k] = n;
	else if (sscanf(key, "a%d ballast %d%n", &actor, &k, &end) == 2 && end && !key[end] &&
		 actor >= 0 && actor < WRITERS && k >= 0 && k < BALLAST)
		s->ballast[actor][k] = n;
	else
		return "a row nobody wrote";
	if (!strstr(key, "ballast") && v.len != row_len(n))
		return "a row has another length than its change gave it";
	return NULL;
}

static int take(struct twzdb_txn *tx, struct twzdb_table t, struct shot *s, const char **what)
{
	char key[32] = "", before[32];
	struct twzdb_cursor *cur;
	struct twzdb_slice k, v;
	int err = twzdb_cursor_open(tx, t, &cur);

	*what = "reading";
	if (err)
		return err;
	for (err = twzdb_cursor_get(cur, TWZDB_FIRST, &k, &v); !err;
	     err = twzdb_cursor_get(cur, TWZDB_NEXT, &k, &v)) {
		memcpy(before, key, sizeof(key));
		snprintf(key, sizeof(key), "%.*s", (int)k.len, (const char *)k.ptr);
		*what = strcmp(before, key) < 0 ? take_row(s, key, v) : "keys are out of order";
		if (*what) {
			err = -1;
			break;
		}
		*what = "reading";
		s->rows++;
		s->sum = s->sum * 31 + number_of(v) + v.len;
	}
	twzdb_cursor_close(cur);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

/* --- is it what it must be? --- */

/* Changes of one kind: those with number PHASE modulo PERIOD; ALT: every second time they delete. */
struct kind {
	uint64_t period, phase;
	bool alt;
};

static uint64_t leaves(const struct kind *k, uint64_t n)
{
	return k->alt && n / k->period % 2 ? 0 : n;
}

static const char *check_kind(int actor, const struct kind *k, uint64_t last, uint64_t got)
{
	uint64_t n = last < k->phase ? 0 : last - (last - k->phase) % k->period;

	if (got > last)
		return "a row is newer than its actor's last change";
	for (; n && n + HISTORY / 2 > last; n = n > k->period ? n - k->period : 0) {
		uint64_t want = leaves(k, n);
		enum outcome o = n == last ? ACKED : outcome_of(actor, n);

		if (o == ACKED || o == SEEN)
			return got == want ? NULL
			       : got < n   ? "an acknowledged change, or one that was seen, is lost"
					   : "a row is of a change that is not there";
		if ((o == REFUSED || o == GONE) && got == n)
			return "a change that was refused, or was not there before, is there";
		if (o != UNKNOWN)
			continue;
		if (!k->alt)
			found_out(actor, n, got == n ? SEEN : GONE);
		if (got == want)
			return NULL;
	}
	if (!n)
		return got ? "a row is of a change that is not there" : NULL;
	count(&shared->n.too_old, 1);
	return NULL;
}

/* BUF gets the message. */
static const char *check_actor(const struct shot *s, int a, char *buf, size_t len)
{
	uint64_t last = s->last[a];
	const char *wrong = NULL;

	if (last < s->acked[a])
		wrong = "an acknowledged commit is lost";
	else if (last > now_of(&shared->said[a].intended))
		wrong = "a commit nobody began";
	else if (last && (outcome_of(a, last) == REFUSED || outcome_of(a, last) == GONE))
		wrong = "a commit that was refused, or was not there before, is there";
	else if (s->saw[a][0] != last)
		wrong = "the last commit is there by half";
	for (int k = 0; !wrong && k < KEYS; k++)
		wrong = check_kind(a, &(struct kind){KEYS, (uint64_t)k, false}, last, s->row[a][k]);
	for (int k = 0; !wrong && k < BALLAST; k++)
		wrong = check_kind(a, &(struct kind){8 * BALLAST, 8 * (uint64_t)k, true}, last,
				   s->ballast[a][k]);
	for (int o = 0; !wrong && o < WRITERS; o++)
		if (s->saw[a][1 + o] > s->last[o])
			wrong = "a commit is there, and one that it saw is not";
	if (wrong)
		snprintf(buf, len, "actor %d at %llu, %llu acknowledged: %s", a,
			 (unsigned long long)last, (unsigned long long)s->acked[a], wrong);
	return wrong ? buf : NULL;
}

static int check(const struct shot *s, const char **what)
{
	static char buf[200];

	for (int a = 0; a < WRITERS; a++) {
		*what = check_actor(s, a, buf, sizeof(buf));
		if (*what)
			return -1;
	}
	count(&shared->n.shots, 1);
	count(&shared->n.rows, s->rows);
	return 0;
}

/* The same snapshot, some time later: nothing of it has changed. */
static int again(struct twzdb_txn *tx, struct twzdb_table t, const struct shot *s, uint64_t us,
		 const char **what)
{
	struct shot later = {.rows = 0};
	int err;

	nap(us);
	err = take(tx, t, &later, what);
	if (!err && (later.rows != s->rows || memcmp(later.row, s->row, sizeof(s->row)) ||
		     memcmp(later.ballast, s->ballast, sizeof(s->ballast)) ||
		     memcmp(later.last, s->last, sizeof(s->last)))) {
		*what = "a snapshot has changed while it was kept";
		err = -1;
	}
	count(&shared->n.kept, !err);
	return err;
}

int look(struct twzdb *db, uint64_t keep_us, const char **what)
{
	struct shot s = {.rows = 0};
	struct twzdb_txn *tx;
	struct twzdb_table t;
	int err;

	for (int i = 0; i < WRITERS; i++)
		s.acked[i] = now_of(&shared->said[i].acked);
	*what = "begin";
	err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	if (err)
		return err;
	err = twzdb_table_open(tx, "t", TWZDB_TABLE_ANY, &t);
	if (err == TWZDB_E_NOTFOUND) { /* nobody has committed yet */
		twzdb_abort(tx);
		*what = "the table is gone";
		return s.acked[0] + s.acked[1] + s.acked[2] ? -1 : 0;
	}
	if (!err)
		err = take(tx, t, &s, what);
	if (!err)
		err = check(&s, what);
	if (!err && keep_us)
		err = again(tx, t, &s, keep_us, what);
	twzdb_abort(tx);
	return err;
}

/* --- SQLite's tables --- */

struct numbers {
	uint64_t first, last, cnt;
	uint64_t n[4 * KEYS];
};

static void sql_wrong(int me, int actor, const char *table, const char *what, uint64_t n)
{
	snprintf(
		shared->said[me].why, sizeof(shared->said[me].why),
		"child %d: SQLite client %d, table %s: %s: %llu (%llu acknowledged, %llu intended)",
		me, actor, table, what, (unsigned long long)n,
		(unsigned long long)shared->said[actor].acked,
		(unsigned long long)shared->said[actor].intended);
	_exit(3);
}

/* All rows of a table; the second column says whether what stands in the row is what was written. */
static void sql_numbers(int me, sqlite3 *db, int actor, const char *table, bool has_value,
			struct numbers *out)
{
	char text[300];
	sqlite3_stmt *st = NULL;
	int rc;

	out->cnt = 0;
	if (has_value)
		snprintf(text, sizeof(text), "select n, v = " SQL_VALUE " from %s order by n", "n",
			 "n", table);
	else
		snprintf(text, sizeof(text), "select n, v = 'x' from %s order by n", table);
	rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);
	if (rc == SQLITE_ERROR && !now_of(&shared->said[actor].acked))
		return; /* the table has not been made yet */
	while (!rc && (rc = sqlite3_step(st)) == SQLITE_ROW && out->cnt < 4 * KEYS) {
		out->n[out->cnt++] = (uint64_t)sqlite3_column_int64(st, 0);
		if (!sqlite3_column_int(st, 1))
			sql_wrong(me, actor, table, "not what was written in row",
				  out->n[out->cnt - 1]);
		rc = 0;
	}
	if (sqlite3_finalize(st) || rc != SQLITE_DONE)
		sql_complain(me, db, "reading");
	count(&shared->n.sql_rows, out->cnt);
}

static bool has(const struct numbers *s, uint64_t n)
{
	for (uint64_t i = 0; i < s->cnt; i++)
		if (s->n[i] == n)
			return true;
	return false;
}

/* ACKED: before the snapshot was taken. */
static void sql_check(int me, int actor, const char *table, const struct numbers *s, uint64_t acked)
{
	uint64_t last = s->cnt ? s->n[s->cnt - 1] : 0;

	if (last < acked)
		sql_wrong(me, actor, table, "an acknowledged row is lost; the last one", last);
	if (last > now_of(&shared->said[actor].intended))
		sql_wrong(me, actor, table, "a row nobody inserted", last);
	if (s->cnt && s->n[0] + KEYS < last)
		sql_wrong(me, actor, table, "a row that was deleted", s->n[0]);
	for (uint64_t n = last > KEYS ? last - KEYS : 1; n <= last; n++) {
		enum outcome o = n == last ? ACKED : outcome_of(actor, n);

		if ((o == ACKED || o == SEEN) && !has(s, n))
			sql_wrong(me, actor, table, "an acknowledged row is lost", n);
		if ((o == REFUSED || o == GONE) && has(s, n))
			sql_wrong(me, actor, table, "a row that was refused is there", n);
		if (o == UNKNOWN)
			found_out(actor, n, has(s, n) ? SEEN : GONE);
	}
	count(&shared->n.sql_shots, 1);
}

void sql_look(int me, sqlite3 *db, int actor, bool whole)
{
	uint64_t acked = now_of(&shared->said[actor].acked);
	bool two = actor == ACTORS - 1;
	struct numbers c, d;
	char name[40];

	/* Only a writer is told what is still to be decided about the other database (D16). */
	if (sqlite3_exec(db, whole && two ? "begin immediate" : "begin", NULL, NULL, NULL))
		sql_complain(me, db, "begin");
	snprintf(name, sizeof(name), "c%d", actor);
	sql_numbers(me, db, actor, name, true, &c);
	sql_check(me, actor, name, &c, acked);
	snprintf(name, sizeof(name), "%s.d%d", two ? "two" : "main", actor);
	sql_numbers(me, db, actor, name, false, &d);
	sql_check(me, actor, name, &d, acked);
	if (whole || !two)
		for (uint64_t i = 0; i < c.cnt || i < d.cnt; i++)
			if (i >= c.cnt || i >= d.cnt || c.n[i] != d.n[i])
				sql_wrong(me, actor, name, "half a transaction, at row",
					  i < c.cnt ? c.n[i] : d.n[i]);
	count(&shared->n.sql_groups, whole && two);
	if (sqlite3_exec(db, "commit", NULL, NULL, NULL))
		sql_complain(me, db, "commit");
}

void sql_integrity(int me, sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	const char *text = "?";

	if (sqlite3_prepare_v2(db, "pragma integrity_check", -1, &st, NULL) ||
	    sqlite3_step(st) != SQLITE_ROW ||
	    strcmp(text = (const char *)sqlite3_column_text(st, 0), "ok"))
		sql_complain(me, db, text);
	sqlite3_finalize(st);
	count(&shared->n.integrity, 1);
}
