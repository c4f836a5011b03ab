# SPDX-License-Identifier: MIT
"""mutants_list.py -- the rules of docs/durability.md, each broken in at least two ways (mutants.py)

D15 is not in use: there is no code to break.
"""
import collections

# via: FILE is a header; this is compiled with it. hangs: to be without it may also mean to wait for ever.
Mutant = collections.namedtuple("Mutant", "rule name file old new why target commands via hangs")
MUTANTS = []


def crash(rule, name, file, old, new, why, *commands, hangs=False):
    """Caught by `twzcrash COMMAND`."""
    MUTANTS.append(Mutant(rule, name, file, old, new, why, "twzcrash", [tuple(c.split()) for c in commands], None, hangs))


def unit(rule, name, file, old, new, why, test, *cases, via=None, hangs=False):
    """Caught by the unit test TEST."""
    MUTANTS.append(Mutant(rule, name, file, old, new, why, "tests/test_" + test, [tuple(cases)], via, hangs))


# --- D1: what makes a record valid; generations ---

crash("D1", "log-generation-stays", "twz/src/log_recover.c",
      "seg->generation ? generation : seg->generation) + 1;", "seg->generation ? generation : seg->generation);",
      "recovery does not raise the generation: a dropped record comes back",
      "run log.whole --second 1 --second-limit 120 --third 0 --limit 200 --seed 1")
crash("D1", "journal-no-checksum", "twz/core/journal.c",
      "if (!err && r->sum == rec_sum(c, r))\n\t\t*out = r;\n\treturn err;\n}\n\nint twzc__rec_walk", "if (!err)\n\t\t*out = r;\n\treturn err;\n}\n\nint twzc__rec_walk",
      "a record of the journal counts without its checksum", "run core.object core.pointer core.journal_laps --limit 1500 --seed 1")
crash("D1", "journal-generation-stays", "twz/core/journal.c",
      "if (!err && !c->read_only)\n\t\terr = twzc__super_raise(c);", "",
      "recovery does not raise the journal's generation", "run core.again --media page --limit 2000 --second 1 --seed 1")
crash("D1", "log-no-checksum", "twz/src/log_io.c",
      "head.sum != twz__log_rec_sum(it->rec, it->next.seal)) {", "0) {",
      "a record counts without its checksum", "run log.append --limit 1500 --seed 1")
crash("D1", "log-any-place", "twz/src/log_ring.c",
      "if (rec->lsn != e->lsn)\n\t\treturn 2;\n\tif (e->check_prev && rec->prev != e->prev)\n\t\treturn 3;", "",
      "a record counts whatever its sequence number, and whatever stands before it: those of the last lap come back",
      "run log.laps log.checkpoint --limit 1500 --seed 1")
# Either of the two is enough. Within a generation a position is given out once, with one content (D19), so a valid record with the
# expected number has the predecessor it was written behind; and a chain of checksums leads to nothing older.

# --- D2: new blocks before the record ---

crash("D2", "rows-not-flushed", "engine/src/commit.c",
      "flush_join(tx->db, &lines, (uintptr_t)r, rec_len(r));", "",
      "D2a: new rows are not flushed before the record", "run engine.changes --media line --limit 1500 --seed 1")
crash("D2", "rows-not-synced", "engine/src/commit.c",
      "return *carry ? 0 : sync_recs(tx);", "return 0;",
      "D2d: rows of a large transaction are not synced", "run engine.large engine.values --media page --limit 60000 --seed 1")
crash("D2", "row-not-carried", "engine/src/commit.c",
      "*carry = carried_len(tx) <= tx->db->carry_max;\n\treturn *carry ? 0 : sync_recs(tx);", "return 0;",
      "D2b: the record carries no rows on page media", "run engine.changes engine.commit --media page --limit 1500 --seed 1")

crash("D2", "base-too-soon", "engine/src/hold.c",
      "h->mark[h->mark_head % TWZDB_MARKS].lsn <= info.tail;", "h->mark[h->mark_head % TWZDB_MARKS].lsn <= info.head;",
      "D2c: a row that a record in the log needs as base is overwritten before the tail is behind that record",
      "run engine.ranges engine.ranges_laps --media page --limit 3000 --seed 1")
crash("D2", "base-not-marked", "engine/src/diff.c",
      "st64(&b->link, ts | TWZDB_LINK_BASE);", "(void)b;",
      "D2c: a base is free when it dies", "run engine.ranges engine.ranges_laps --media page --limit 3000 --seed 1")
crash("D2", "range-missing", "engine/src/diff.c",
      "memcpy(val + r->off, bytes, r->len);", "",
      "D2c: replay puts a row together without what differs", "run engine.ranges --media page --limit 3000 --seed 1")

# --- D3: the commit point ---

crash("D1", "tail-past-a-torn-record", "twz/src/log_recover.c",
     "offsetof(struct log_page_pm, tail), end);", "offsetof(struct log_page_pm, tail), tail);",
     "recovery moves the tail to the next block before the generation: cut short there, what stands behind a torn record counts",
     "run log.beside --media page --limit 9000 --seed 1")
unit("D19", "tail-stays-in-its-block", "twz/src/log_recover.c",
     "if (!err && tail != end)", "if (false)",
     "after a recovery the tail is not where the next batch begins, which nobody finds behind a gap it does not know of",
     "log_blocks", "a_restart_cut_short_brings_nothing_back")

crash("D3", "last-not-asked", "twz/src/log_recover.c",
      "if (!l->user->whole || it->rec->desc & (TWZ_LOG_DESC_BLOCK | TWZ_LOG_DESC_SECTOR))\n\t\treturn 1;", "return 1;",
      "the last record counts without a look at the blocks it names", "run engine.commit --media line --limit 2000 --seed 1")
crash("D3", "no-fence", "twz/src/log_append.c", "twz__fence_lines(l->ring.store);", "",
      "acknowledged before the record's fence", "run log.append --media line --limit 1500 --seed 1")
crash("D3", "spill-not-durable", "twz/src/log_spill.c",
      "if (!err)\n\t\ttwz_fence(r->store);\n\treturn err;", "return err;",
      "the body of a long record is not durable before its reference", "run log.spill --media line --limit 2000 --seed 1")

crash("D2", "run-not-flushed", "engine/src/commit.c",
      "flush_join(tx->db, &lines, (uintptr_t)r, len);", "(void)r;",
      "D2a: rows one behind the other are not flushed before the record", "run engine.append --media line --limit 1500 --seed 1")
crash("D3", "run-not-asked", "engine/src/apply.c",
      "if (!run_whole(db, &u[i]))", "if (0)",
      "the last record counts without a look at the rows one behind the other that it names", "run engine.append engine.append_few --media line --limit 4000 --seed 1")
crash("D3", "run-rows-not-whole", "engine/src/apply.c",
      "if (!rec_whole(db, &live))\n\t\t\treturn false;\n\t\tsum", "sum",
      "of rows one behind the other only the checksums they have are compared with the record's", "run engine.append_long --media line --limit 30000 --second 0 --seed 1")
# That the rows' checksums are not compared with the record's changes nothing: a run lies in blocks given out to nobody since their unit was
# formatted (alloc_run: virgin), so each header is durably zeros or the run's own; and zeros are no whole row, for their sum is 0xe9de0d0b.
# The instructions, which the simulator has functions for.
unit("D2", "flush-each-of-nothing", "twz/src/persist.c",
     "twz__cpu_clwb((uintptr_t)at & ~(uintptr_t)(TWZ_LINE_SIZE - 1), n);", ";",
     "a flush of several pieces is no instruction", "persist")
unit("D2", "flush-by-the-medium", "twz/src/backend_file.c", "fm(m)->flush(addr, len);", ";",
     "a flush by the medium's function is none", "persist")
unit("D2", "range-not-flushed", "twz/src/file_sync.c", "f->flush(addr, len);", ";",
     "cache-line media: a range that is synced is not flushed", "persist")
unit("D3", "fence-by-the-medium", "twz/src/backend_file.c", "fm(m)->drain();", ";",
     "a fence by the medium's function is none", "persist")
unit("D3", "range-not-fenced", "twz/src/file_sync.c",
     "if (f->drain)\n\t\t\tf->drain();\n\t\treturn 0;\n\t}\n\terr = msync(", "return 0;\n\t}\n\terr = msync(",
     "cache-line media: a range that is synced has no fence", "persist")
unit("D3", "all-not-fenced", "twz/src/file_sync.c",
     "if (f->drain)\n\t\t\tf->drain();\n\t\treturn 0;\n\t}\n\terr = twz__file_datasync", "return 0;\n\t}\n\terr = twz__file_datasync",
     "cache-line media: a sync of everything has no fence", "persist")
unit("D3", "copy-in-the-cache", "twz/src/backend_file.c",
     "fm(m)->memcpy(dst, src, len, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);", "memcpy(dst, src, len);",
     "a copy past the cache is an ordinary one", "persist")
unit("D3", "lines-in-the-cache", "twz/src/persist_line.h",
     "twz__cpu_stream8(to + i, from + i);", "memcpy(to + i, from + i, 8);",
     "a short log record is copied into the cache", "persist", via="tests/unit/test_persist.c")
unit("D3", "rest-in-the-cache", "twz/src/persist_line.h",
     "twz__cpu_stream16(to + i, from + i);", "memcpy(to + i, from + i, 16);",
     "a long log record is copied into the cache", "persist", via="tests/unit/test_persist.c")
unit("D3", "line-fence-of-nothing", "twz/src/persist_line.h", "\ttwz__cpu_sfence();", "",
     "the fence behind a log record is no instruction", "persist", via="tests/unit/test_persist.c")
unit("D2", "flush-of-nothing", "twz/src/persist.c",
     "twz__cpu_clwb((uintptr_t)addr & ~(uintptr_t)(TWZ_LINE_SIZE - 1), cnt);", ";",
     "a flush is no instruction", "persist")
unit("D3", "fence-of-nothing", "twz/src/persist.c",
     "count(&s->stats.fences, 1);\n\ts->media->ops->fence(s->media);", "count(&s->stats.fences, 1);",
     "a fence is no instruction", "persist")
# The calls of the file back end, of which the simulator knows nothing.
unit("D3", "file-write-not-synced", "twz/src/file_sync.c",
     "iov, cnt, (off_t)off, RWF_DSYNC);", "iov, cnt, (off_t)off, 0);",
     "a synchronous write to a file is an ordinary one", "file_sync")
unit("D3", "file-zeros-not-synced", "twz/src/backend_file.c",
     "(off_t)off, (off_t)len))\n\t\treturn twz__file_datasync(fm(m), off, len);\n\treturn twz__file_zero", "(off_t)off, (off_t)len))\n\t\treturn 0;\n\treturn twz__file_zero",
     "many zeros are not durable when the call returns", "file_sync")
unit("D3", "zeros-missing", "twz/src/file_sync.c",
     "n = pwritev2(fd, iov, 1, off, 0);", "n = (ssize_t)iov->iov_len;",
     "of a range of zeros only the last page is written", "file_sync")
unit("D3", "zeros-not-written-back", "twz/src/file_sync.c",
     "if (!sync_file_range(fd, (off_t)from, (off_t)(end - from), all))", "if (1)",
     "of a range of zeros only the last page is durable", "file_sync")
unit("D3", "zeros-not-written-back-by-a-sync", "twz/src/file_sync.c",
     "return !is_forbidden(errno) ? errno : fdatasync(fd) ? errno : 0;", "return !is_forbidden(errno) ? errno : 0;",
     "the same, where the kernel is not to be asked", "file_sync")
unit("D11", "zeros-hide-a-cut", "twz/src/file_sync.c",
     "\t\tif (!err && (uint64_t)st.st_size < end)\n\t\t\terr = ESTALE;\n\t\tway_done", "\t\tway_done",
     "zeros make a file long again that was cut short meanwhile", "file_sync")

# --- D4: homes after the record ---

crash("D4", "apply-first", "engine/src/commit.c",
      "err = twzdb__append_staged(tx->db, b.len, &lsn); /* the commit point (D3) */",
      "{\n\t\ttwzdb__apply(tx->db, b.p, b.len);\n\t\terr = twzdb__append_staged(tx->db, b.len, &lsn);\n\t}",
      "homes of the engine change before the record is valid", "run engine.changes --limit 2000 --seed 1")
crash("D4", "journal-apply-first", "twz/core/journal.c",
      "header_fill(c, r, total);\n\terr = ", "header_fill(c, r, total);\n\trec_apply(c, r, NULL);\n\terr = ",
      "homes of the core change before the record is valid", "run core.object core.pointer --limit 2000 --seed 1")

# --- D5: checkpoints ---

crash("D5", "tail-before-homes", "twz/src/log_append.c",
      "err = twz__log_flush_homes(l, seg->generation, seg_get(&seg->tail), to);\n\tif (err == TWZ_E_IO)\n\t\treturn twz__log_fail(l, \"syncing the homes at a checkpoint\");",
      "err = 0;", "the tail moves past homes that are not durable", "run log.checkpoint engine.checkpoint --limit 1500 --seed 1")
crash("D5", "journal-tail-before-homes", "twz/core/journal.c",
      "err = twzc__corrupt(c, \"journal\", \"walk\", end, c->sh->head);\n\tif (!err)\n\t\terr = c->ops->fence(c->ctx);",
      "err = twzc__corrupt(c, \"journal\", \"walk\", end, c->sh->head);",
      "the journal's tail moves past homes that are not durable", "run core.journal_laps core.reclaim --limit 1500 --seed 1")
crash("D5", "tail-not-durable", "twz/src/log_append.c",
      "if (twz__log_publish(&l->ring, offsetof(struct log_page_pm, tail), to))\n\t\t\terr = twz__log_fail(l, \"publishing the tail\");\n\t\telse\n",
      "", "the space of old records is overwritten, the tail stays", "run log.laps engine.laps --limit 1500 --seed 1")

unit("D5", "file-range-not-synced", "twz/src/file_sync.c",
     "err = msync((void *)from, (uintptr_t)addr + len - from, MS_SYNC) ? errno : believed(f);", "err = believed(f);",
     "a range of a mapped file is not synced", "file_sync")
unit("D5", "file-not-synced", "twz/src/file_sync.c",
     "int err = fdatasync(way_fd(f, w)) ? errno : believed(f);", "int err = believed(f);",
     "a file is not synced", "file_sync")

unit("D5", "not-asked-by-a-sync", "twz/src/file_sync.c", ": fdatasync(w->fd) ? errno : 0;", ": 0;",
     "where nobody may ask what became of write-back, msync is believed", "file_sync")

unit("D5", "carried-not-flushed", "engine/src/homes.c",
     "flush_at(db, lone_rec(l), rec_len(lone_carried(l, len)));", "(void)len;",
     "a row that page media carried in the record is replayed on cache-line media, and not durable when the log forgets it",
     "engine_rules", "a_row_from_page_media_is_flushed_where_lines_are")

unit("D5", "ranges-not-flushed", "engine/src/homes.c",
     "{\n\tflush_rec(db, p);\n}", "{\n\t(void)db, (void)p;\n}",
     "a row that page media told by ranges is put together on cache-line media, and not durable when the log forgets it",
     "engine_rules", "a_row_put_together_is_flushed_where_lines_are")

# Checkpoints beside commits.
crash("D5", "ahead-not-synced", "twz/src/log_ahead.c",
      "if (err || twz_sync_all(l->ring.store))", "if (err)",
      "a checkpoint beside commits moves the tail past homes that are not durable", "run engine.ahead --media page --limit 1500 --seed 1")
crash("D5", "ahead-of-what-is-applied", "twz/src/log_ahead.c",
      "uint64_t to = seg_get(&l->seg->applied);", "uint64_t to = twz__log_align(seg_get(&l->seg->head), TWZ_LOG_BLOCK_LEN);",
      "a checkpoint beside commits moves the tail past records no home has", "run engine.ahead --media page --limit 1500 --seed 1")

# --- D6: live is said by apply only ---

crash("D6", "live-when-built", "engine/src/record.c",
      "__atomic_store_n(&r->vlf, vlen | TWZDB_VLF_KIND(kind), __ATOMIC_RELAXED);",
      "__atomic_store_n(&r->vlf, vlen | TWZDB_VLF_KIND(kind) | TWZDB_VLF_LIVE, __ATOMIC_RELAXED);",
      "rows are LIVE when they are built", "run engine.commit engine.changes --limit 2000 --seed 1")
crash("D6", "meta-page-at-once", "twz/core/journal.c",
      "if (!err && freed_meta)\n\t\tcheckpoint(c);", "",
      "a freed metadata page is handed out before a checkpoint", "run core.reuse --limit 3000 --second 0 --seed 1")
crash("D6", "stays-live", "engine/src/apply.c",
      "case TWZDB_IT_REC_DEAD:\n\t\tfor (uint64_t i = 0; i < it->len / 8; i++)\n\t\t\tapply_rec_dead(db, list[i], ts);\n\t\tbreak;",
      "case TWZDB_IT_REC_DEAD:\n\t\tbreak;",
      "what a commit frees stays LIVE", "run engine.changes --limit 500 --seed 1")

unit("D6", "kept-for-the-first-only", "engine/src/hold.c",
     "st64(&b->link, ts | TWZDB_LINK_BASE);", "(void)ts;",
     "a base used again is kept no longer than the first record that used it needs it",
     "engine_ranges", "a_base_used_again_stays_for_the_last")

unit("D6", "dies-once-more", "engine/src/apply.h",
     "!rec_is_live(r) && !db->recovering", "false",
     "a record applied once more, after a death, takes a block from who has reserved it since",
     "engine_ranges", "applied_once_more_it_takes_nothing_from_new_owners", via="engine/src/apply.c")

unit("D6", "kept-once-more", "engine/src/diff.c",
     "if (unlikely(link & TWZDB_LINK_RESERVED))", "if (false)",
     "the same of a base", "engine_ranges", "applied_once_more_it_takes_nothing_from_new_owners")

unit("D6", "kept-on-a-full-disk", "engine/src/runs.c",
     "(void)twzdb__hold_release(tx);", "",
     "a store counts as full although a checkpoint would make bases free", "engine_ranges", "a_full_disk_has_what_is_kept")

# --- D7: old versions ---

unit("D7", "reuse-before-reader", "engine/src/space.c",
     ": twzdb__is_past(tx, link);", ": true;",
     "a block is reused while a snapshot can reach it", "engine_snap")
unit("D7", "quarantine-ignores-readers", "engine/src/snap.c",
     "if (snap >= min)\n\t\t\tcontinue;", "if (snap)\n\t\t\tcontinue;", "the oldest snapshot is not asked for", "engine_snap")

# What snapshots of one process need no crash image can show, for each is opened by processes that had no snapshot; what a restart may follow it can.
crash("D7", "older-than-the-segment", "engine/src/lock.c",
      "__atomic_store_n(&sh->ts, db->root->ts, __ATOMIC_SEQ_CST);", "__atomic_store_n(&sh->ts, db->root->ts ? db->root->ts - 1 : 0, __ATOMIC_SEQ_CST);",
      "snapshots after a restart are older than what was committed before it: back pointers that dangle are followed", "run engine.changes --limit 500 --seed 1")

crash("D7", "older-after-a-takeover", "engine/src/lock.c",
      "if (!ld64_acq(&sh->ready) || db->root->ts > sh->ts)", "if (!ld64_acq(&sh->ready))",
      "snapshots after a takeover are older than what it finished", "run engine.changes --media kill --limit 1000 --kill-max 1000 --seed 1")

# --- D8: undo transactions ---

crash("D8", "undo-not-fenced", "twz/src/txlog_ent.c",
      "twz_fence(\n\t\t/*\n\t\t * D8: the entries are durable before the store they cover (page media:\n\t\t * write_sync did it)\n\t\t */\n\t\tl->store);",
      "", "stores may arrive before their undo entries", "run tx.commit tx.nested --media line --limit 2000 --seed 1")
crash("D8", "retire-before-data", "twz/src/tx.c",
      "if (tx->levels[0].saved)\n\t\terr = sync_touched(tx);", "",
      "the log is retired before the new data are durable", "run tx.commit --limit 2000 --seed 1")
crash("D8", "no-rollback", "twz/src/txrecover.c",
      "for (size_t i = l->undo_cnt; i-- > 0 && !err;) {", "for (size_t i = 0; i-- > 1 && !err;) {", "a transaction that was cut short is not rolled back", "run tx.commit --limit 500 --seed 1")

# --- D9: metadata only through the journal ---

crash("D9", "journal-not-replayed", "twz/core/journal.c",
      "err = twzc__rec_walk(c, rv->from, rv->generation, rec_apply, NULL, &end);\n", "err = 0;\n",
      "the journal is not replayed", "run core.object core.grow --limit 1500 --seed 1")
crash("D9", "extents-before-checkpoint", "twz/src/log_append.c",
      "/* The checkpoint: from here on the space before TO may be overwritten. */",
      "twz__log_body_tidy(l, to);",
      "a long record's object is deleted while the log still names it", "run log.spill log.laps engine.large --limit 1500 --second 0 --seed 1")

# --- D10: media are hostile ---

unit("D10", "node-out-of-range", "engine/src/apply.c",
     "return *value && !twzdb__is_node(db, *value) ? \"root of a table is no node\" : NULL;", "return NULL;",
     "a log record may name any root", "engine_damage")
unit("D10", "node-not-sound", "engine/src/apply.c",
     "return twzdb__node_sound(n) ? NULL : \"new node with a wrong level, count or permutation\";", "return NULL;",
     "a log record may carry any node", "engine_damage")

crash("D10", "record-of-any-length", "twz/src/log_ring.c",
      "return len && total <= room && total <= ring_len / 4;", "return len != 0;",
      "a record of the log may be as long as it says: what an earlier lap left is believed", "run log.hostile --media line --limit 3000 --seed 1")

crash("D10", "entry-without-its-bytes", "twz/src/txlog_scan.c",
      "return e->sum == twz__txent_sum(e, l->buf, l->sum);", "return 1;",
      "an entry of the undo log counts without the checksum of its bytes: what was there before is believed", "run tx.commit --media line --limit 300 --seed 1")

# --- D11: growth first ---

crash("D11", "growth-after-record", "twz/core/space.c",
      "err = c->ops->grow(c->ctx, g.new_cnt * TWZC_PAGE);\n\tif (err == TWZ_E_NOSPC) {", "err = 0;\n\tif (err == TWZ_E_NOSPC) {",
      "the record refers to space the file does not have", "run core.grow --limit 1500 --seed 1")
unit("D11", "hollow-not-taken", "engine/src/give.c",
     "int err = twz_obj_take(o, p & TWZ_PPTR_OFF_MASK, len);", "int err = 0;\n\n\t(void)o;",
     "space given back is stored to without being taken", "engine_give")

unit("D11", "nearly-full", "twz/core/space.c",
     "growth_plan(root, l, need, 0, &g);\n\t\terr = c->ops->grow(c->ctx, g.new_cnt * TWZC_PAGE);", "growth_plan(root, l, need, 0, &g);\n\t\terr = 0;",
     "the record refers to space the file does not have, where the disk is nearly full", "core_fault")
crash("D11", "growth-of-nothing", "twz/src/core_ops.c",
      "rc = s->media->ops->grow(s->media, len);", "rc = 0;",
      "the core lets the file grow, and nobody does", "run core.grow --limit 1500 --seed 1")
crash("D11", "no-growth-in-place", "twz/src/store.c",
      "rc = m->ops->grow(m, initial_len(opt));", "rc = 0;",
      "an empty file becomes a store without its space", "run core.store_create --limit 1500 --seed 1")
unit("D11", "sparse-growth", "twz/src/backend_file.c",
     "err = posix_fallocate(fd, (off_t)off, (off_t)len);", "err = ftruncate(fd, (off_t)(off + len)) ? errno : 0;",
     "a file grows by a hole: a full disk is a SIGBUS", "file_sync")
unit("D11", "not-cut-back", "twz/src/backend_file.c",
     "(uint64_t)st.st_size > old ? ftruncate(f->m.fd, (off_t)old) : 0", "0",
     "growth that failed leaves the file longer", "file_sync")
unit("D11", "cut-made-long", "twz/src/backend_file.c",
     "(uint64_t)st.st_size > old ? ftruncate(f->m.fd, (off_t)old) : 0", "ftruncate(f->m.fd, (off_t)old)",
     "growth that failed makes a file long again that somebody cut short", "file_sync")
unit("D11", "zeros-not-written", "twz/src/backend_file.c",
     "!fallocate(m->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))", "1)",
     "new space has what lay there", "file_sync")
unit("D11", "nothing-given", "twz/src/backend_file.c",
     "if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))", "if (0)",
     "space given back stays", "file_sync")
unit("D11", "nothing-taken", "twz/src/backend_file.c",
     "err = posix_fallocate(m->fd, (off_t)off, (off_t)len);", "err = 0;",
     "space taken again is a hole: a full disk is a SIGBUS", "file_sync")
unit("D11", "object-not-taken", "twz/src/obj.c",
     "return ops->take ? give_or_take(o, off, len, ops->take) : 0;", "(void)ops;\n\treturn 0;",
     "the same, for whoever asks for an object's space", "engine_give", "commits_give_back_what_pays", "space_may_not_come_back_page")
unit("D11", "copy-not-filled", "twz/src/dry.c",
     "return rc ? rc : ops->take(s->media, 0, len);", "return rc;",
     "holes of a copy stay holes", "engine_give", "a_sparse_copy_is_filled")

unit("D11", "size-not-durable", "twz/src/backend_file.c",
     "\treturn twz__file_datasync(f, from, len - from);\n}", "\treturn 0;\n}",
     "the size of a file that grew is not durable", "file_sync")
unit("D11", "ahead-without-zeros", "twz/src/backend_file.c",
     "return twz__file_zero(f, from, len - from);\n\treturn twz__file_datasync", "return 0;\n\treturn twz__file_datasync",
     "a helper thread makes the file grow, and its size is not durable", "file_sync")
unit("D11", "given-not-durable", "twz/src/backend_file.c",
     "/* Or what lay there might be back after a crash. */\n\treturn twz__file_datasync(fm(m), off, len);", "return 0;",
     "twz_obj_give() has returned, and what lay there may be back after a crash (the engine could live with that: give.c)", "file_sync")
unit("D11", "taken-not-durable", "twz/src/backend_file.c",
     "return nospc(fm(m), len, err);\n\treturn twz__file_datasync(fm(m), off, len);", "return nospc(fm(m), len, err);\n\treturn 0;",
     "space taken again is not there after a crash", "file_sync")

# --- D12: staging ---

crash("D12", "batch-not-written", "twz/src/log_group.c",
      "int err = twz__log_write(&l->ring, twz__log_pos(&l->ring, b->from_lsn), l->bounce[i],\n\t\t\t\t twz__log_batch_len(b));",
      "int err = 0;", "a batch counts as done that was not written", "run engine.commit engine.laps --media page --limit 500 --seed 1")
unit("D12", "failed-batch-is-done", "twz/src/log_group.c",
     "err = twz__log_group_fail(l, \"writing the log\");\n\t\tseg_set(&b->state, BATCH_FAILED);",
     "err = 0;\n\t\tseg_set(&b->state, BATCH_DONE);", "a batch whose write failed counts as done", "log_group")

# Lazy commits: what is seen has been staged, what is said to be durable is, and they become so in order.
crash("D12", "seen-before-staged", "engine/src/stage.c",
      "uint64_t nr;\n\tint err = twz_log_submit(db->log, len, &nr);",
      "uint64_t nr;\n\tint err;\n\n\tst64_rel(&db->sh->lazy_ts, tx->ts);\n\terr = twz_log_submit(db->log, len, &nr);",
      "readers see a commit before it is staged", "run engine.batches --media kill --limit 40000 --kill-max 40000 --seed 1")
crash("D12", "sync-does-nothing", "engine/src/stage.c",
      "err = twz_log_drain(db->log);\n\treturn err ? twzdb__stage_failed(db, err) : 0;\n}\n\n/* Hints", "return 0;\n}\n\n/* Hints",
      "twzdb_sync() returns before lazy commits are durable", "run engine.lazy --media page --limit 800 --seed 1")
crash("D12", "in-any-order", "twz/src/log_group.c",
      "if (seg_get(&b->state) != BATCH_DONE || b->from > seg_get(&st->durable))", "if (seg_get(&b->state) != BATCH_DONE)",
      "a batch counts as durable although one before it is not", "run engine.batches --media page --limit 1500 --seed 1")
crash("D12", "room-of-the-unapplied", "twz/src/log_group.c",
      "from = seg_get(&st->put) > applied ? entry(st, applied)->lsn\n\t\t\t\t\t\t   : seg_get(&l->seg->applied);",
      "from = seg_get(&l->seg->applied);",
      "a staged record takes the room of one that has not been counted as applied", "run log.full --media kill --limit 80000 --kill-max 80000 --seed 1")

crash("D12", "room-by-a-stale-head", "twz/src/log_group.c",
      "while (!err && block_up(seg_get(&l->seg->head)) > block_up(head)) {", "while (0) {",
      "who goes on after a death between a record and the head stages over a record that was not written yet", "run log.full --media kill --limit 80000 --kill-max 80000 --seed 1")

# --- D13: restart and takeover ---

crash("D13", "not-hardened", "twz/src/log_recover.c",
      "if (ret > 0)\n\t\t\tret = harden(l, &it);", "if (ret > 0)\n\t\t\tret = 0;",
      "the heir applies a record that is in a cache only", "run engine.last --media kill --limit 160000 --kill-max 40000 --seed 1")
crash("D13", "retirement-not-hardened", "twz/src/txlog.c",
      "twz_persist(s, l->segs[0].addr, TWZ_TXLOG_RETIRE_OFF + sizeof(uint64_t));", "",
      "the heir takes an undo log whose retirement is in a cache only", "run tx --media kill --limit 20000 --kill-max 20000 --seed 3")
crash("D13", "header-not-written-again", "twz/src/txreg.c",
      "if (!err)\n\t\terr = twz__txlog_take(*out);\n", "",
      "page media: the same", "run tx.commit tx.abort --media kill --limit 16000 --kill-max 16000 --seed 3")
crash("D13", "no-replay-at-takeover", "twz/src/log_recover.c",
      "if (!err)\n\t\terr = replay(l, &sp, false);", "",
      "takeover does not finish what was begun", "run log engine.commit --media kill --limit 4000 --kill-max 4000 --seed 1")

crash("D13", "blocks-not-written-again", "twz/src/log_recover.c",
      "ret = harden_blocks(l, sp);", "ret = 0;",
      "page media: a record that is in a cache only is applied", "run engine.batches --media kill --limit 40000 --kill-max 40000 --seed 1")
crash("D13", "journal-not-written-again", "twz/core/journal.c",
      "int err = last_reissue(c, rv->from, rv->generation);", "int err = 0;",
      "a record of the journal that is in a cache only is applied", "run core.zeros --media kill --limit 40000 --kill-max 40000 --seed 1")

# --- D14: mapped objects ---

unit("D14", "no-refresh", "engine/src/db.c",
     "if (!map_obj_locked(db, (uint32_t)no) && off + len > m->end && !twz_obj_refresh(m->obj))",
     "if (!map_obj_locked(db, (uint32_t)no) && off + len > m->end && 0)",
     "a process that meets an offset beyond what it has mapped calls the pointer bad", "engine_kill")
# Smaller, while it is used (compact.c): what moves is found by all that led to it, and what it left is free.
crash("D14", "left-not-told", "engine/src/compact.c",
      "left->img.next = (*out)->p;", "(void)0;",
      "compacting: the node on the left leads to where the moved one was", "run engine.compact --limit 300 --seed 1")
crash("D14", "parent-not-told", "engine/src/compact.c",
      "parent->img.ptr[slot] = (*out)->p;\n\treturn 0;", "return 0;",
      "compacting: the parent leads to where the moved node was", "run engine.compact --limit 300 --seed 1")
unit("D14", "fence-not-freed", "engine/src/compact.c",
      "err = twzdb__rec_kill(tx, path->e[0].n->lof);", "err = 0;",
      "compacting: the key a moved leaf began with stays, and nothing leads to it", "engine_compact")
crash("D14", "node-not-freed", "engine/src/compact.c",
      "err = twzdb__node_die(tx, p, false);\n\tif (err || level + 1 == path->depth)", "err = 0;\n\tif (err || level + 1 == path->depth)",
      "compacting: the node that was moved stays, and nothing leads to it", "run engine.compact --limit 300 --seed 1")
unit("D14", "freed-while-open", "twz/src/obj.c", "if (!twz__comp_is_open(s->comp, id, false) && !twzc_obj_reclaim(&s->core, id.w))\n\t\t\t__atomic", "if (!twzc_obj_reclaim(&s->core, id.w))\n\t\t\t__atomic",
     "a deleted object's space returns while somebody has it open", "obj")

# --- D16: several databases ---

crash("D16", "prepared-not-synced", "engine/src/prepare.c",
      "err = twz_sync(db->s, p, all);", "err = 0;",
      "PREPARE counts before the share it names is durable", "run engine.group engine.group_first --limit 3000 --seed 1")
crash("D16", "nobody-asks", "engine/src/lock.c",
      "if (db->root->prepared.len && !ld64(&sh->failed))", "if (0)",
      "who recovers does not notice that something is prepared", "run engine.group --limit 2000 --seed 1")
unit("D16", "space-too-soon", "engine/src/prepare.c",
     "*off = 0;\n\terr = twz_log_checkpoint(db->log);", "*off = 0;\n\terr = 0;",
     "prepared bytes are overwritten while the log still names them", "engine_group")
crash("D16", "told-too-soon", "engine/src/group.c",
     "err = decide(g); /* the commit point (D3) */", "for (size_t i = 1; i < g->cnt; i++)\n\t\t(void)!twzdb__prepared_end(g->tx[i], true);\n\terr = decide(g);",
     "participants apply before the coordinator has committed", "run engine.group_first engine.group --limit 3000 --seed 1")

# --- D17: failed writes ---

crash("D17", "log-not-failed", "twz/src/log.c",
      "seg_set(&l->seg->failed, 1);", "", "a failed log write does not fail the log", "run log.failed --media page --limit 1000 --seed 1")
crash("D17", "checkpoint-publishes", "twz/src/log_append.c",
      "if (err == TWZ_E_IO)\n\t\treturn twz__log_fail(l, \"syncing the homes at a checkpoint\");", "if (err == TWZ_E_IO)\n\t\terr = 0;",
      "a checkpoint whose sync failed publishes the tail", "run log.failed_sync --media page --limit 1000 --seed 1")

unit("D17", "shut-down-believed", "twz/src/file_sync.c",
     "return !f->shuts_down || !twz__file_look(f->m.fd, NULL, &st) ? 0 : EIO;", "(void)f, (void)st;\n\treturn 0;",
     "a sync that succeeds is believed of a file system that has shut down", "file_sync")
unit("D17", "loss-forgotten", "twz/src/file_sync.c",
     "if (err)\n\t\tlose(f);\n\tif (w)", "if (w)",
     "what one sync was told the next one does not know", "engine_lost")
unit("D17", "loss-not-told", "twz/src/file_sync.c",
     "if (f->m.lost)\n\t\t__atomic_store_n(f->m.lost, 1, __ATOMIC_SEQ_CST);", "",
     "what one process was told others do not know", "engine_lost")
unit("D17", "not-asked-again", "twz/src/file_sync.c",
     "else\n\t\terr = ask(f);", "else\n\t\terr = 0;",
     "msync is believed, by whose description somebody else may have been told", "engine_lost")

# --- D18: creation ---

crash("D18", "no-mark", "twz/src/store.c",
      "int rc = m->ops->write_sync(m, INIT_MARK, 0, sizeof(INIT_MARK) - 1);\n\n\tif (!rc)\n\t\trc = m", "int rc = m",
      "an empty file is not marked before it grows", "run core.store_create --limit 3000 --seed 1")
crash("D18", "one-super-first", "twz/core/super.c",
      "for (u32 i = 0; i < 2 && !err; i++) {\n\t\tc.super.seq++;\n\t\terr = super_write(&c, 1 - i, &c.super);\n\t}\n\treturn err;\n}",
      "return err;\n}",
      "a new store has no superblock", "run core.store_create --limit 100 --seed 1")

unit("D17", "told-late", "twz/src/file_sync.c",
     "for (uint32_t i = 0; i <= f->way_cnt && f->way_cnt; i++)", "for (uint32_t i = 0; 0; i++)",
     "write-back that failed in another life of the store counts as lost in this one", "file_sync")
unit("D18", "moved-before-synced", "twz/src/move.c", "rc = sync_path(from, O_RDONLY);", "rc = 0;",
     "a store has its new name before its bytes are durable", "file_sync")
unit("D18", "move-not-durable", "twz/src/move.c", "rc = sync_dir_of(to);", "rc = 0;",
     "the new name of a store is not durable", "file_sync")
unit("D18", "sync-of-nothing", "twz/src/move.c", "rc = fsync(fd) ? -errno : 0;", "rc = 0;",
     "neither of the two is synced", "file_sync")
unit("D18", "two-names", "twz/src/move.c", "return unlink(from) ? -errno : 0;", "return 0;",
     "a store that was moved keeps its old name", "file_sync")
unit("D18", "no-second-name", "twz/src/move.c", "if (link(from, to))", "if (0)",
     "a store that was moved has no name left", "file_sync")
unit("D18", "not-removed", "twz/src/move.c", "if (unlink(path)) {", "if (0) {",
     "a store that was removed is there", "file_sync")
unit("D18", "no-name", "twz/src/backend_file.c",
     "return linkat(AT_FDCWD, self, AT_FDCWD, f->m.path, AT_SYMLINK_FOLLOW);", "return 0;",
     "a new store gets no name", "file_sync")
unit("D18", "name-not-taken-back", "twz/src/backend_file.c",
     "return unlink(m->path) ? twz__err(-errno, \"%s: cannot remove it: %s\", m->path,\n\t\t\t\t\t\t  strerror(errno))\n\t\t\t\t       : 0;", "return 0;",
     "a creation that failed keeps its name", "file_sync")
unit("D18", "not-emptied", "twz/src/backend_file.c", "if (ftruncate(m->fd, 0) || fsync(m->fd))", "if (fsync(m->fd))",
     "a creation that failed leaves its bytes in a file that was empty", "file_sync")
unit("D18", "marked-not-emptied", "twz/src/store.c", "rc = s->media->ops->reset(s->media);\n\ttwz__rt", "rc = 0;\n\ttwz__rt",
     "a file with the mark of an unfinished creation is not emptied", "store", "unfinished_creation_begins_anew_page")
unit("D18", "named-before-synced", "twz/src/backend_file.c",
     "if (fsync(m->fd))\n\t\treturn twz__file_io_error(f, \"sync\", 0, 0, errno);\n\tif (link_name(f)) {", "if (link_name(f)) {",
     "a new store has its name before its bytes are durable", "file_sync")
unit("D18", "name-not-durable", "twz/src/backend_file.c",
     "if (fd < 0 || fsync(fd))", "if (fd < 0)",
     "the name of a new store is not durable", "file_sync")
unit("D18", "emptied-not-durable", "twz/src/backend_file.c",
     "if (ftruncate(m->fd, 0) || fsync(m->fd))", "if (ftruncate(m->fd, 0))",
     "a creation that was taken back is not durably gone", "file_sync")

# --- D19: a sector once a lap ---

crash("D19", "log-filled-over", "twz/src/log_ahead.c",
      "from = filled > from ? filled : from;", "from = filled;",
      "zeros are written over batches that are on their way",
      "run engine.batches engine.ahead engine.reopen --media page --limit 400 --seed 1")
crash("D19", "block-twice", "twz/src/log_append.c",
      "l->align = twz__log_ring_align(&l->ring);", "l->align = 16;",
      "page media: a record begins in the block of the one before", "run log.append log.laps --media page --limit 2000 --seed 1")
crash("D19", "ring-of-lines", "twz/src/log_io.c",
      "return r->map ? TWZ_LOG_REC_ALIGN : TWZ_LOG_BLOCK_LEN;", "return TWZ_LOG_REC_ALIGN;",
      "page media: pads, tails and records begin anywhere, as on cache-line media",
      "run log engine.laps --media page --limit 1500 --seed 1")

crash("D19", "before-its-end", "twz/src/log_group.c",
      "fresh = !is_quiet(st, head);", "fresh = !is_quiet(st, head);\n\t\thead -= !fresh && head % TWZ_LOG_BLOCK_LEN ? l->ring.unit : 0;",
      "a batch begins in the sector where an acknowledged record ends", "run engine.lazy engine.commit --media page --limit 1500 --seed 1")
crash("D19", "gap-not-seen", "twz/src/log_io.c",
      "if (ret || !gap || gap % TWZ_LOG_SECTOR_LEN ||", "if (ret || gap || gap % TWZ_LOG_SECTOR_LEN ||",
      "a restart finds nothing behind a gap", "run engine.batches engine.large --media page --limit 1500 --seed 1")
unit("D19", "gap-not-said", "twz/src/log_ring.c",
     "if (twz__likely(!gap))\n\t\treturn generation;", "if (gap < TWZ_LOG_BLOCK_LEN || id.w[0])\n\t\treturn generation;",
     "a record behind a gap does not say so: behind a torn batch the next block's counts", "log_blocks", "a_gap_hides_no_torn_batch")
crash("D19", "orphan-counts", "twz/src/log_group.c",
      "if (state == BATCH_FROZEN) {\n\t\t\t*i = k;\n\t\t\terr = adopt(l, k);", "if (state == BATCH_FROZEN) {\n\t\t\tseg_set(&st->batch[k].state, BATCH_DONE);",
      "a batch of the dead counts as durable, and nobody writes it again", "run engine.batches --media kill --limit 40000 --kill-max 40000 --seed 1")

# When it may begin in the block of the one before.
unit("D19", "beside-in-a-block", "twz/src/log_group.c",
     "bool is = seg_get(&st->durable) == seg_get(&st->frozen);", "bool is = true;",
     "a batch begins in the block of one that is on its way", "log_blocks", "two_on_their_way_share_no_block")
unit("D19", "behind-the-stopped", "twz/src/log_group.c",
     "is = !seg_get(&st->batch[i].held) || block_up(st->batch[i].to_lsn) <= lsn;", "is = true;",
     "a batch begins in a block that somebody who is stopped will write when he goes on", "log_stopped",
     "nothing_begins_where_the_stopped_may_write")

# A batch that is written again, because its writer is stopped.
unit("D19", "not-written-again", "twz/src/log_stuck.c",
     "err = twz__log_write(&l->ring, twz__log_pos(&l->ring, copy.from_lsn), buf,\n\t\t\t     twz__log_batch_len(&copy));", "err = 0;",
     "the batch of a process that is stopped counts as done, and was not written", "log_stopped")
unit("D19", "again-not-held", "twz/src/log_stuck.c",
     "seg_set(&b->held, 1); /* before a byte of it is written again */", "",
     "the blocks of a batch whose writer is stopped are used again one lap later", "log_stopped")
unit("D19", "again-let-go", "twz/src/log_stuck.c",
     "any = !twz__log_batch_let_go(b) || any;", "",
     "the same, while who writes it again is stopped", "log_stopped")
unit("D19", "place-of-the-held", "twz/src/log_group.c",
     "free_i < 0 &&\n\t\t\t   twz__log_batch_let_go(&st->batch[k])) {", "free_i < 0) {",
     "the place of a batch that is held is another batch's: nobody knows any more which blocks to spare", "log_stopped")

# --- D20: reading only ---

crash("D20", "no-private-pages", "twz/src/store.c",
      "rc = twz__private_media(s->media, &image);\n\tif (rc)\n\t\treturn rc;\n\ts->media = image;", "(void)image;",
      "a read-only opening of an unclean store has no pages of its own", "run engine.commit core.object --limit 300 --seed 1")
crash("D20", "not-rolled-back-for-a-reader", "twz/src/store.c",
      "int rc = twz__rt(s)->sole ? twz__tx_recover(s, true) : twz__reap(s);", "int rc = s->read_only ? 0 : twz__rt(s)->sole ? twz__tx_recover(s, true) : twz__reap(s);",
      "who only reads sees half of an undo transaction: it is not rolled back in the private pages", "run tx.commit --limit 300 --seed 1")
unit("D20", "readers-not-waited-for", "twz/src/store.c",
     "if (!rc && rt->sole)\n\t\trc = twz__privates_wait(s->media);", "",
     "whoever opens to write alone does not wait for those who read the file", "readonly")
# A reader that may not write pins its snapshot, and who reuses space asks for pins (watch.c).
unit("D20", "pins-not-asked-for", "engine/src/watch.c",
     "__atomic_thread_fence(__ATOMIC_SEQ_CST);\n\treturn twz_pin_min(db->s, group(db), min);", "return min;",
     "who reuses space does not ask for pinned snapshots", "engine_readonly", "store_in_use_is_watched_without_permission")
unit("D20", "asked-before-promised", "engine/src/watch.c",
     "if (min > ld64(&db->sh->probe))\n\t\t__atomic_store_n(&db->sh->probe, min, __ATOMIC_SEQ_CST);\n\t__atomic_thread_fence(__ATOMIC_SEQ_CST);\n\treturn twz_pin_min(db->s, group(db), min);",
     "uint64_t least = twz_pin_min(db->s, group(db), min);\n\n\tif (min > ld64(&db->sh->probe))\n\t\t__atomic_store_n(&db->sh->probe, min, __ATOMIC_SEQ_CST);\n\treturn least;",
     "who reuses space promises it after it asked for pins: one that comes in between is missed by both", "engine_readonly", "nobody_pins_what_was_promised_away")
unit("D20", "promise-not-looked-at", "engine/src/watch.c",
     "if (__atomic_load_n(&db->sh->probe, __ATOMIC_SEQ_CST) <= *ts)\n\t\t\treturn 0;", "return 0;",
     "who pins a snapshot does not look whether it was promised away meanwhile", "engine_readonly", "nobody_pins_what_was_promised_away")
