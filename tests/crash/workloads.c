/* SPDX-License-Identifier: MIT
 * workloads.c -- all workloads, layer by layer
 */
#include "workloads.h"

const struct crash_workload *const crash_workloads[] = {
	/* core */
	&wl_persist,
	&wl_prim,
	&wl_store_create,
	&wl_store_named,
	&wl_object,
	&wl_reclaim,
	&wl_grow,
	&wl_close,
	&wl_laps,
	&wl_core_again,
	&wl_ptr,
	&wl_fot_set,
	&wl_late,
	&wl_fot_grow,
	/* tx, name */
	&wl_tx_commit,
	&wl_tx_abort,
	&wl_tx_abort_one,
	&wl_tx_nested,
	&wl_tx_large,
	&wl_tx_again,
	&wl_arena,
	&wl_alloc,
	&wl_realloc,
	&wl_name,
	&wl_name_many,
	/* log */
	&wl_log_create,
	&wl_log_append,
	&wl_log_checkpoint,
	&wl_log_laps,
	&wl_log_spill,
	&wl_log_again,
	/* engine */
	&wl_db_commit,
	&wl_db_split,
	&wl_db_merge,
	&wl_db_tables,
	&wl_db_large,
	&wl_db_values,
	&wl_db_changes,
	&wl_db_keep,
	&wl_db_savepoint,
	&wl_db_range,
	&wl_db_kinds,
	&wl_db_reopen,
	&wl_db_checkpoint,
	&wl_db_laps,
	&wl_db_again,
	&wl_db_create,
	NULL,
};
