/* SPDX-License-Identifier: MIT
 * stat.c -- counters, and sizes by walking the units
 */
#include "group.h"

struct usage {
	uint64_t used_len, node_cnt, record_cnt;
};

static void usage_unit(const struct unit_pm *u, struct usage *sum)
{
	for (uint32_t b = 0; b < u->block_cnt; b++) {
		const void *at = (const uint8_t *)u + u->first + (uint64_t)b * u->block_len;
		bool node = u->kind == TWZDB_UNIT_NODES;
		bool live = node ? __atomic_load_n(&((const struct node_pm *)at)->flags,
						   __ATOMIC_RELAXED) &
					    TWZDB_NODE_LIVE
				 : rec_is_live(at);

		if (!live)
			continue;
		sum->used_len += u->block_len;
		sum->node_cnt += node;
		sum->record_cnt += !node;
	}
}

/* Headers only; a snapshot of a moving thing, good enough for a report. */
static void usage_all(struct twzdb *db, struct usage *sum)
{
	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++) {
		for (uint64_t u = 0; u < twzdb__units_used(db, i);) {
			uint64_t p = twz_pptr_make(TWZDB_NO_DATA + i,
						   TWZ_DATA_OFF + (u << TWZDB_UNIT_SHIFT))
					     .v;
			const struct unit_pm *h = twzdb__unit_of(db, p);

			if (!h)
				break;
			usage_unit(h, sum);
			u += h->run;
		}
	}
}

static int count_table(void *ctx, const char *name, struct twzdb_table t, uint32_t kind)
{
	(void)name;
	(void)t;
	(void)kind;
	++*(uint64_t *)ctx;
	return 0;
}

static uint64_t data_len(struct twzdb *db)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < twzdb__obj_cnt(db); i++)
		if (!twzdb__map_obj(db, TWZDB_NO_DATA + i) &&
		    !twz_obj_refresh(db->map[TWZDB_NO_DATA + i].obj))
			sum += twz_obj_len(db->map[TWZDB_NO_DATA + i].obj);
	return sum;
}

int twzdb_stats(struct twzdb *db, struct twzdb_stats *out)
{
	struct twzdb_stats st = {.size = sizeof(st)};
	struct usage sum = {0};
	struct sh_stats *sh;
	struct twz_persist_stats io;
	struct twz_log_info log = {0};
	struct twzdb_txn *tx;
	int err;

	if (!db || !out || !out->size)
		return twzdb__err(TWZDB_E_INVAL, "stats: no database, or size not set");
	err = twzdb_begin(db, TWZDB_RDONLY, &tx);
	if (err)
		return err;
	err = twzdb_table_each(tx, count_table, &st.table_cnt);
	if (!err)
		err = db->log && twz_log_info(db->log, &log) ? twzdb__from_twz(TWZ_E_STATE, "log")
							     : 0;
	if (!err)
		usage_all(db, &sum); /* the snapshot keeps what it looks at where it is (give.c) */
	twzdb_abort(tx);
	if (err)
		return err;
	sh = &db->sh->stats;
	st.commits = ld64(&sh->commits);
	st.aborts = ld64(&sh->aborts);
	st.takeovers = ld64(&sh->takeovers);
	st.checkpoints = log.checkpoints;
	st.log_bytes = ld64(&sh->log_bytes);
	st.splits = ld64(&sh->splits);
	st.merges = ld64(&sh->merges);
	st.reader_retries = ld64(&sh->reader_retries);
	st.ts = twzdb_latest_ts(db);
	st.data_len = data_len(db);
	st.used_len = sum.used_len;
	st.node_cnt = sum.node_cnt;
	st.record_cnt = sum.record_cnt;
	st.log_len = log.ring_len;
	st.log_used = log.used_len;
	twzdb__snap_info(db, &st.readers, &st.oldest_ts);
	st.reader_lag = st.ts > st.oldest_ts ? st.ts - st.oldest_ts : 0;
	twz_persist_stats(db->s, &io);
	st.fences = io.fences;
	st.syncs = io.syncs;
	st.sync_len = io.sync_bytes;
	st.flushed_lines = io.flushed_lines;
	st.writer_waits = ld64(&sh->writer_waits);
	st.checkpoint_ns = ld64(&sh->checkpoint_ns);
	st.given_len = ld64(&sh->given_len);
	st.taken_len = ld64(&sh->taken_len);
	st.size = out->size;
	memcpy(out, &st, out->size < sizeof(st) ? out->size : sizeof(st));
	return 0;
}

static int commit_and_wait(struct twzdb_txn *tx)
{
	int err = twzdb__commit(tx);

	return !err && tx->wait_nr ? twzdb__stage_wait(tx) : err;
}

/*
 * Tombstones first: they are due when no snapshot needs them, and the log should not name them
 * again right after.
 */
int twzdb_checkpoint(struct twzdb *db)
{
	struct twzdb_txn *tx;
	int err;

	if (!db)
		return twzdb__err(TWZDB_E_INVAL, "checkpoint: no database");
	err = twzdb_begin(db, 0, &tx);
	if (err)
		return err;
	(void)twzdb__min_now(tx);
	err = twzdb__purge_some(tx, UINT32_MAX);
	if (!err)
		err = twzdb__decisions_forget(tx);
	if (!err)
		err = commit_and_wait(tx);
	else
		twzdb__discard(tx);
	if (!err)
		err = twzdb__give_back(tx);
	if (!err) {
		uint64_t start = twzdb__now_ns();

		err = twz_log_checkpoint(db->log);
		twzdb__stat_add(&db->sh->stats.checkpoint_ns, twzdb__now_ns() - start);
		if (err == TWZ_E_IO || err == TWZ_E_FAILED)
			st64_rel(&db->sh->failed, 1);
		err = err ? twzdb__from_twz(err, "checkpoint") : 0;
	}
	twzdb_abort(tx);
	return err;
}
