/* SPDX-License-Identifier: MIT
 * log_dump.c -- a redo log as text: header page, then the records from the tail on
 *
 * A log in use goes on meanwhile: what does not hold any more ends the list, as it ends the log.
 */
#include "dump.h"
#include "log_ring.h"

static int show_page(struct twz__log_ring *r, FILE *f)
{
	struct log_page_pm *p = aligned_alloc(TWZ_LOG_BLOCK_LEN, sizeof(*p));
	char id[TWZ_OID_STR_LEN];
	int err;

	if (!p)
		return twz__err(TWZ_E_NOMEM, "log %s: no memory for its header", r->name);
	err = twz__log_read(r, 0, p, sizeof(*p));
	if (!err) {
		const struct log_head_pm *h = &p->head;

		fprintf(f, "  log magic %016" PRIx64 " version %u compat %#x ro_compat %#x",
			h->magic, h->version, h->compat, h->ro_compat);
		fprintf(f, " incompat %#x ring %" PRIu64 " id %s sum %016" PRIx64 "\n", h->incompat,
			h->ring_len, twz_oid_str((twz_oid){{h->id[0], h->id[1]}}, id), h->sum);
		fprintf(f, "    generation %" PRIu64 " tail lsn %" PRIu64 "\n", p->generation.word,
			p->tail.word);
	}
	free(p);
	return err;
}

static void show_record(FILE *f, const struct twz__log_iter *it)
{
	const struct log_rec_pm *p = it->rec;
	const struct log_spill_pm *s = (const struct log_spill_pm *)(p + 1);
	bool spill = twz__log_rec_kind(p) == TWZ_LOG_REC_SPILL;
	char id[TWZ_OID_STR_LEN];

	fprintf(f, "    record lsn %" PRIu64 " kind %s len %" PRIu64 " total %" PRIu64, p->lsn,
		spill ? "spill" : "data", twz__log_rec_len(p), it->total);
	fprintf(f, " prev %08" PRIx32 " sum %016" PRIx64 "\n", p->prev, p->sum);
	if (spill)
		fprintf(f, "      body object %s len %" PRIu64 " sum %016" PRIx64 "\n",
			twz_oid_str((twz_oid){{s->id[0], s->id[1]}}, id), s->len, s->sum);
}

static int show_records(struct twz__log_ring *r, FILE *f, uint64_t generation, uint64_t tail)
{
	uint64_t expected = tail;
	struct twz__log_iter it;
	int ret;

	twz__log_iter_init(&it, r, generation, tail, tail + r->ring_len);
	while ((ret = twz__log_iter_next(&it)) > 0) {
		if (it.gap)
			fprintf(f, "    gap lsn %" PRIu64 " total %" PRIu64 "\n", expected, it.gap);
		expected += it.gap;
		if (it.lsn != expected)
			fprintf(f, "    record lsn %" PRIu64 " kind pad total %" PRIu64 "\n",
				expected, it.lsn - expected);
		expected = it.next.lsn;
		show_record(f, &it);
	}
	twz__log_iter_done(&it);
	return ret;
}

int twz__dump_log(struct twz_obj *o, struct twz__dumper *d)
{
	uint64_t generation, tail, magic = 0;
	struct twz__log_ring r;
	int ret;

	if (!(o->flags & TWZ_OBJ_LOG) || o->kind != TWZ_LOG_KIND)
		return 0;
	ret = twz__log_ring_init(&r, o);
	if (!ret)
		ret = twz__log_read(&r, 0, &magic, sizeof(magic));
	if (!ret && !magic) {
		fprintf(d->f, "  log not made yet\n");
		return 0;
	}
	if (!ret && twz_obj_len(o) >= TWZ_LOG_HEADER_LEN)
		ret = show_page(&r, d->f);
	if (!ret)
		ret = twz__log_ring_attach(&r, &generation, &tail);
	return ret ? ret : show_records(&r, d->f, generation, tail);
}
