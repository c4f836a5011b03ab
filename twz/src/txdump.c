/* SPDX-License-Identifier: MIT
 * txdump.c -- an undo log as text: header, retirement word, entries of the transaction in progress
 *
 * Reads only, and not through txlog.c, which finishes what a dead process left when it opens a log.
 * A log in use changes meanwhile: what does not hold any more ends the list.
 */
#include "dump.h"
#include "txlog.h"

#define LINK_MAX 4096u /* a chain longer than that is none */

/* Where the walk is, and what the next entry must match. */
struct walk {
	struct twz__dumper *d;
	struct twz_obj *o;
	uint64_t pos, generation, sum;
	uint32_t seq;
	uint8_t *body; /* TWZ_TXENT_BODY_MAX bytes */
	struct twz_txent_pm e;
};

static int peek(struct twz_obj *o, uint64_t off, void *buf, size_t len)
{
	return twz__obj_peek(o, TWZ_DATA_OFF + off, buf, len);
}

static int show_head(struct twz_obj *o, FILE *f, struct twz_txlog_pm *h)
{
	char id[TWZ_OID_STR_LEN];
	int err = peek(o, 0, h, sizeof(*h));

	if (err)
		return err;
	fprintf(f, "  txlog magic %016" PRIx64 " version %u compat %#x ro_compat %#x incompat %#x",
		h->magic, h->version, h->compat, h->ro_compat, h->incompat);
	fprintf(f, " kind %s id %s sum %016" PRIx64 "\n",
		h->kind == TWZ_TXLOG_HEAD	? "head"
		: h->kind == TWZ_TXLOG_OVERFLOW ? "overflow"
						: "?",
		twz_oid_str((twz_oid){{h->id[0], h->id[1]}}, id), h->sum);
	return 0;
}

/* 1: w->e is the next entry, its body in w->body; 0: there is none. */
static int entry_load(struct walk *w)
{
	uint64_t len = twz_obj_len(w->o);
	const char *why;
	int err;

	if (w->pos > len || len - w->pos < sizeof(w->e))
		return 0;
	err = peek(w->o, w->pos, &w->e, sizeof(w->e));
	if (err)
		return err;
	if (!twz__txent_is_placed(&w->e, twz_obj_id(w->o), w->pos, len, w->generation, w->seq + 1,
				  &why))
		return 0;
	err = peek(w->o, w->pos + sizeof(w->e), w->body, w->e.len);
	if (err)
		return err;
	return w->e.sum == twz__txent_sum(&w->e, w->body, w->sum);
}

static void show_entry(const struct walk *w)
{
	const struct twz_txent_pm *e = &w->e;
	char id[TWZ_OID_STR_LEN];

	fprintf(w->d->f, "    entry %u %s %s off %u len %u", e->seq,
		e->kind == TWZ_TXENT_LINK ? "link" : "data",
		twz_oid_str((twz_oid){{e->id[0], e->id[1]}}, id), e->off, e->len);
	fprintf(w->d->f, " at %" PRIu64 " next %u batch %u generation %" PRIu64, w->pos,
		e->next_off, e->batch, e->generation);
	fprintf(w->d->f, " head_sum %08x sum %016" PRIx64 "\n", e->head_sum, e->sum);
}

/* Go to the object a link names; the one before is closed unless it is the head, HEAD. */
static int follow(struct walk *w, struct twz_obj *head)
{
	struct twz_obj *next;
	int err = twz__obj_get(w->d->s, (twz_oid){{w->e.id[0], w->e.id[1]}}, TWZ_READ, &next);

	if (err)
		return err;
	if (w->o != head)
		twz__obj_put(w->o);
	w->o = next;
	return 0;
}

static int show_entries(struct walk *w, struct twz_obj *head)
{
	int rc = 0;

	for (uint32_t links = 0; links < LINK_MAX && (rc = entry_load(w)) > 0;) {
		show_entry(w);
		w->seq = w->e.seq;
		w->sum = w->e.sum;
		w->pos = w->e.next_off;
		if (w->e.kind != TWZ_TXENT_LINK)
			continue;
		links++;
		rc = follow(w, head);
		if (rc)
			break;
	}
	if (w->o != head)
		twz__obj_put(w->o);
	/* The objects of a transaction are deleted when it ends. */
	return rc > 0 || rc == TWZ_E_NOENT ? 0 : rc;
}

static int dump_head(struct twz_obj *o, struct twz__dumper *d)
{
	struct walk w = {.d = d, .o = o, .pos = TWZ_TXLOG_ENT_OFF};
	struct twz_txretire_pm r;
	uint64_t retired;
	int rc = peek(o, TWZ_TXLOG_RETIRE_OFF, &r, sizeof(r));

	if (rc)
		return rc;
	fprintf(d->f, "    retired generation %" PRIu64 " check %04x\n", r.word >> 16,
		(unsigned int)(r.word & 0xffff));
	if (!twz__txretire_generation(o->id, r.word, &retired)) {
		fprintf(d->f, "    damaged: the retirement word\n");
		return 0;
	}
	w.generation = retired + 1;
	w.sum = twz__txent_seed(o->id, w.generation);
	w.body = malloc(TWZ_TXENT_BODY_MAX);
	if (!w.body)
		return twz__err(TWZ_E_NOMEM, "%s: no memory to print an undo log", d->s->path);
	rc = show_entries(&w, o);
	free(w.body);
	return rc;
}

int twz__dump_txlog(struct twz_obj *o, struct twz__dumper *d)
{
	struct twz_txlog_pm h;
	uint32_t kind;
	int err;

	if (!(o->flags & TWZ_OBJ_TXLOG))
		return 0;
	if (twz_obj_len(o) < TWZ_TXLOG_LEN_MIN) {
		fprintf(d->f, "  damaged: too short for an undo log\n");
		return 0;
	}
	err = show_head(o, d->f, &h);
	if (err)
		return err;
	err = twz__txlog_kind(d->s, o->id, &kind);
	if (err)
		return err;
	return kind == TWZ_TXLOG_HEAD ? dump_head(o, d) : 0;
}
