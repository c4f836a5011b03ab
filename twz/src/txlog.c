/* SPDX-License-Identifier: MIT
 * txlog.c -- the undo log on media: opening, closing, retiring and sweeping a log
 * (format_tx.h, docs/durability.md D8)
 */
#include "txlog_int.h"

/* --- handles --- */

void twz__txlog_reset(struct twz__txlog *l)
{
	l->seq = 0;
	l->tail_off = TWZ_TXLOG_ENT_OFF;
	l->sum = twz__txent_seed(l->segs[0].id, l->generation);
	l->undo_cnt = 0;
	l->buf_len = 0;
	l->open_ent = NO_ENT;
}

static int log_new(struct twz_store *s, struct twz__txlog **out)
{
	struct twz__txlog *l = calloc(1, sizeof(*l));

	*out = NULL;
	if (l) {
		l->store = s;
		l->unit = s->granularity == TWZ_GRAN_PAGE ? TWZ_PAGE_SIZE : TWZ_TXLOG_ALIGN;
		l->segs = calloc(4, sizeof(*l->segs));
		l->seg_cap = 4;
		l->page = aligned_alloc(TWZ_PAGE_SIZE, TWZ_PAGE_SIZE);
		l->buf = aligned_alloc(TWZ_PAGE_SIZE, BUF_SMALL);
		l->buf_cap = BUF_SMALL;
	}
	if (!l || !l->segs || !l->page || !l->buf) {
		if (l)
			twz__txlog_close(l);
		return twz__err(TWZ_E_NOMEM, "%s: no memory for an undo log", s->path);
	}
	*out = l;
	return 0;
}

void twz__txlog_close(struct twz__txlog *l)
{
	if (!l)
		return;
	while (l->seg_cnt > 1 && l->seq)
		twz__txseg_close(
			&l->segs[--l->seg_cnt]); /* not retired: its rollback will need them */
	while (l->seg_cnt > 1)
		twz__txseg_delete(l->store, &l->segs[--l->seg_cnt]);
	twz__txseg_delete(l->store, &l->spare);
	if (l->seg_cnt)
		twz__txseg_close(&l->segs[0]);
	free(l->segs);
	free(l->undo);
	free(l->buf);
	free(l->page);
	free(l);
}

int twz__txlog_make(struct twz_store *s, uint32_t k)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .len = TWZ__TXLOG_HEAD_LEN,
				      .flags = TWZ_OBJ_TXLOG | TWZ_OBJ_CONTIGUOUS,
				      .kind = TWZ_TXLOG_HEAD,
				      .id = twz__txlog_id(s, k)};
	int err = twz_obj_create(s, &opt, NULL, NULL);

	return err == TWZ_E_EXIST ? 0 : err;
}

int twz__txlog_sweep(struct twz_store *s, twz_oid head)
{
	struct twz_obj_stat st = {.size = sizeof(st)};
	uint32_t missing = 0;
	int err, rc = 0;

	for (uint32_t m = 1; missing < TWZ_TXLOG_GAP; m++) {
		twz_oid id = twz__txlog_overflow_id(head, m);

		err = twz_obj_stat_id(s, id, &st);
		if (!err) {
			missing = 0;
			err = twz__obj_delete(s, id);
		} else {
			missing++;
		}
		if (err && err != TWZ_E_NOENT)
			rc = err;
	}
	return rc;
}

/* A header that was never written has no entries behind it: anything else was damaged. */
static int header_make(struct twz__txlog *l)
{
	struct twz__txseg *head = &l->segs[0];
	struct twz_txent_pm e;
	char id[TWZ_OID_STR_LEN];
	int err = twz__txseg_read(l->store, head, TWZ_TXLOG_ENT_OFF, &e, sizeof(e));

	if (!err && e.magic == TWZ_TXENT_MAGIC)
		err = twz__corrupt(l->store->path, "header of undo log %s does not hold",
				   twz_oid_str(head->id, id));
	if (err)
		return err;
	memset(l->page, 0, TWZ_PAGE_SIZE);
	twz__txseg_header((struct twz_txlog_pm *)l->page, head->id, TWZ_TXLOG_HEAD);
	err = twz__txseg_write(l->store, head, 0, l->page, TWZ_PAGE_SIZE);
	twz_fence(l->store);
	return err;
}

/* Read header and retirement word of the head; a header that was never finished is written. */
static int log_load(struct twz__txlog *l)
{
	struct twz_store *s = l->store;
	struct twz__txseg *head = &l->segs[0];
	struct twz_txretire_pm word;
	uint64_t retired;
	uint32_t kind;
	int err;

	err = twz__txseg_read(s, head, 0, l->page, TWZ_PAGE_SIZE);
	if (err)
		return err;
	memcpy(&word, l->page + TWZ_TXLOG_RETIRE_OFF, sizeof(word));
	err = twz__txseg_verify(s, (const struct twz_txlog_pm *)l->page, word.word, head->id,
				&kind);
	if (err)
		return err;
	if (kind == TWZ_TXLOG_OVERFLOW)
		return twz__corrupt(s->path, "undo log registered as a head is an overflow object");
	if (!twz__txretire_generation(head->id, word.word, &retired) || retired > TWZ_TXLOG_GEN_MAX)
		return twz__corrupt(s->path, "retirement word %016llx of an undo log is damaged",
				    (unsigned long long)word.word);
	if (!kind)
		err = header_make(l);
	l->generation = retired + 1;
	twz__txlog_reset(l);
	return err;
}

int twz__txlog_open(struct twz_store *s, twz_oid id, struct twz__txlog **out)
{
	struct twz__txlog *l;
	int err = log_new(s, &l);

	*out = NULL;
	if (err)
		return err;
	err = twz__txseg_open(s, id, &l->segs[0]);
	if (!err) {
		l->seg_cnt = 1;
		err = log_load(l);
	}
	if (err) {
		twz__txlog_close(l);
		return err;
	}
	/*
	 * D13: whoever stored header or retirement word may have died before the fence. We
	 * believe them, so they must be durable before a new entry stands behind the one and
	 * overwrites those the other voids. (Page media: twz__txlog_take().)
	 */
	if (l->segs[0].addr)
		twz_persist(s, l->segs[0].addr, TWZ_TXLOG_RETIRE_OFF + sizeof(uint64_t));
	*out = l;
	return 0;
}

int twz__txlog_take(struct twz__txlog *l)
{
	return l->segs[0].addr ? 0
			       : twz__txseg_write(l->store, &l->segs[0], 0, l->page, TWZ_PAGE_SIZE);
}

/* --- retiring --- */

/*
 * Overflow objects of an ended transaction: delete from the last on, so that no gap arises; keep
 * the first if of moderate size.
 */
static void drop_overflow(struct twz__txlog *l)
{
	while (l->seg_cnt > 1) {
		struct twz__txseg *seg = tail_seg(l);

		if (l->seg_cnt == 2 && !l->spare.obj && seg->len <= TWZ__TXLOG_SPARE_MAX) {
			l->spare = *seg;
			*seg = (struct twz__txseg){0};
		} else {
			twz__txseg_delete(l->store, seg);
		}
		l->seg_cnt--;
	}
}

int twz__txlog_retire(struct twz__txlog *l, bool force)
{
	struct twz__txseg *head = &l->segs[0];
	uint64_t word = twz__txretire_word(head->id, l->generation);
	int err = 0;

	if (!l->seq && !force)
		return 0;
	/*
	 * COMMIT POINT (D8): from the moment this word is on the medium, every entry of the
	 * transaction is void.
	 */
	if (head->addr) {
		twz_publish64(l->store, (uint64_t *)(head->addr + TWZ_TXLOG_RETIRE_OFF), word);
	} else {
		memcpy(l->page + TWZ_TXLOG_RETIRE_OFF, &word, sizeof(word));
		err = twz__txseg_write(l->store, head, 0, l->page, TWZ_PAGE_SIZE);
	}
	if (err)
		return err;
	drop_overflow(l);
	l->generation++;
	twz__txlog_reset(l);
	return 0;
}
