/* SPDX-License-Identifier: MIT
 * workloads.h -- the workloads of libtwz and of the engine, one list in workloads.c
 */
#ifndef CRASH_WORKLOADS_H
#define CRASH_WORKLOADS_H

#include "kind_twz.h"

extern const struct crash_workload wl_store_create, wl_object, wl_reclaim, wl_grow, wl_laps,
	wl_close, wl_reuse, wl_table, wl_large_obj, wl_tx_wide, wl_name_grow, wl_persist, wl_prim,
	wl_chain, wl_core_again, wl_store_named, wl_zeros, wl_core_word, wl_give, wl_tx_spans;
extern const struct crash_workload wl_ptr, wl_fot_grow, wl_fot_set, wl_late;
extern const struct crash_workload wl_tx_commit, wl_tx_abort, wl_tx_nested, wl_tx_large,
	wl_tx_again, wl_tx_abort_one, wl_tx_word;
extern const struct crash_workload wl_alloc, wl_realloc, wl_arena;
extern const struct crash_workload wl_name, wl_name_many;
extern const struct crash_workload wl_log_append, wl_log_checkpoint, wl_log_laps, wl_log_pad,
	wl_log_spill, wl_log_again, wl_log_whole, wl_log_create, wl_log_full, wl_log_beside, wl_log_pad_blocks,
	wl_log_word;

extern const struct crash_kind log_kind; /* the smallest ring, and words that its records set */
int log_show(struct crash *c);
int log_checkpoint(struct crash *c);
/* A record with LEN bytes behind what it sets, which depends on V. */
int log_append(struct crash *c, uint64_t v, size_t len);
/* The same, and the bytes are CNT times WORD. */
int log_append_words(struct crash *c, uint64_t v, size_t cnt, uint64_t word);
/* crash_step(), of the state with that record: nobody knows whether it is on the medium. */
int log_step_with(struct crash *c, uint64_t v, size_t len);
extern const struct crash_workload wl_log_hostile, wl_log_failed, wl_log_failed_sync;
extern const struct crash_kind db_kind;
int db_open_flags(struct crash *c,
		  uint32_t flags); /* enum twzdb_open_flags; a code of the engine */
#define DB_LOG_LEN ((uint64_t)16 << 10)
extern uint64_t db_log_len; /* of the ring of a new database: DB_LOG_LEN */
int db_open(struct crash *c);
int db_close(struct crash *c);
int db_check(struct crash *c);
int db_show(struct crash *c);
int db_probe(struct crash *c);
uint64_t db_inside(struct crash *c);
int db_settle(struct crash *c);
int db_ahead(struct crash *c); /* a checkpoint without the writer lock */
void db_names(void);	       /* of the errors of the engine; and its helper threads stay out */
#define LONG_KEY                                                                                   \
	9000 /* keys from here on are long, and differ at their ends: 1,105 bytes; + 800: 70,005 */
/*
 * One transaction: rows FROM, FROM + STEP ... (CNT of them) of table NAME get LEN bytes that depend on V; LEN < 0: they
 * are deleted.
 */
int db_rows(struct crash *c, const char *name, int from, int cnt, int step, int len, int v);
extern const struct crash_workload wl_db_commit, wl_db_one, wl_db_split, wl_db_merge, wl_db_tables,
	wl_db_cut, wl_db_large, wl_db_checkpoint, wl_db_laps, wl_db_create, wl_db_values,
	wl_db_changes, wl_db_keep, wl_db_reopen, wl_db_again, wl_db_savepoint, wl_db_range,
	wl_db_kinds, wl_db_long, wl_db_give, wl_db_grows, wl_db_shrinks, wl_db_fills, wl_db_lazy,
	wl_db_ahead, wl_db_append, wl_db_batches, wl_db_group_first, wl_db_group, wl_db_group_space,
	wl_db_last, wl_db_append_large, wl_db_append_few, wl_db_group_homes, wl_db_room,
	wl_db_compact, wl_db_compact_large, wl_db_spare, wl_db_three, wl_db_ranges,
	wl_db_ranges_laps;
extern const struct crash_workload wl_sql_txn, wl_sql_savepoint, wl_sql_vacuum, wl_sql_alter,
	wl_sql_full, wl_sql_incremental, wl_sql_journals, wl_sql_synchronous, wl_sql_exclusive,
	wl_sql_spill, wl_sql_nolock, wl_sql_backup, wl_sql_native, wl_sql_indexes, wl_sql_conflicts,
	wl_sql_names, wl_sql_nested, wl_sql_pinned, wl_sql_attach, wl_sql_attach_modes,
	wl_sql_attach_native, wl_sql_attach_three, wl_sql_attach_vacuum, wl_sql_attach_stores;
extern const struct crash_workload wl_move, wl_db_backup, wl_db_append_long, wl_db_word,
	wl_db_stores, wl_db_stores_other, wl_db_one_gone, wl_grow_full;
extern const struct crash_workload wl_huge_tx, wl_huge_commit;

#endif
