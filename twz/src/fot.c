/* SPDX-License-Identifier: MIT
 * fot.c -- foreign object tables: finding, claiming and checking entries
 *
 * An entry is in use iff its sum is not 0; that word is stored last (core/format.h), so an
 * interrupted claim leaves a free entry. Entries are never changed or freed once in use: a pointer
 * anywhere in the object may rely on them.
 *
 * Claiming, under the store's metadata lock, which is robust and excludes other processes:
 *
 *	settle	meta.fot_claim names the entry of a claimer that died before its sync: sync it (D8)
 *	learn	add the entries other processes have published to this process's index
 *	claim	fot_claim = idx; target, kind, perm; then {resolver, sum}: THE ENTRY IS IN USE
 *	sync	durable, before any pointer with this index can be: nobody learns of it earlier
 *	done	fot_claim = 0
 *
 * An entry alone changes nothing, so no journal: a crash leaves at most an entry no pointer uses,
 * and the next claim of the same target finds it again.
 */
#include "dump.h"
#include "ptr_rt.h"

/*
 * Volatile index of an object's FOT: hash of (target, kind, perm) -> entry. Read without a lock:
 * cells only fill up, a full table is replaced, the old one freed with the object. Written under
 * the metadata lock.
 */
struct twz__fot_index {
	uint32_t mask, cnt;
	struct twz__fot_index *old;
	uint32_t cell[]; /* entry, 0 = empty */
};

#define PERM_KNOWN ((uint32_t)(TWZ_READ | TWZ_WRITE | TWZ_EXEC | TWZ_USE | TWZ_DEL))
#define NAME_SHORT 15 /* bytes of a name that fit in the entry */

const char *twz__obj_where(const struct twz_obj *o)
{
	char id[TWZ_OID_STR_LEN], *buf = twz__where_buf();

	snprintf(buf, MSG_WHERE_LEN, "%s: object %s", o->store->path, twz_oid_str(o->id, id));
	return buf;
}

/* The word that makes an entry used; acquire, so that the rest of the entry is there when it is. */
static inline uint32_t sum_of(const struct twz_fot_pm *e)
{
	return __atomic_load_n(&e->sum, __ATOMIC_ACQUIRE);
}

static bool same(const struct twz_fot_pm *a, const struct twz_fot_pm *b)
{
	return a->target[0] == b->target[0] && a->target[1] == b->target[1] && a->kind == b->kind &&
	       a->perm == b->perm && a->resolver == b->resolver;
}

/* Entries that exist as mapped here: 1 .. capacity - 1. */
static uint64_t capacity(const struct twz_obj *o)
{
	uint32_t pages = __atomic_load_n(&o->fot_pages, __ATOMIC_ACQUIRE);

	return TWZC_FOT_META_CNT + (uint64_t)pages * TWZC_FOT_PAGE_CNT;
}

int twz__fot_read(struct twz_obj *o, uint64_t idx, struct twz_fot_pm *out)
{
	const struct twz_fot_pm *e = twz__fot_at(o, idx);
	int err;

	if (!e && idx < TWZC_FOT_MAX && idx) {
		err = twz_obj_refresh(o);
		if (err)
			return err;
		e = twz__fot_at(o, idx);
	}
	if (!e || !sum_of(e))
		return twz__err(TWZ_E_NOENT,
				"%s: FOT entry %llu is not in use: "
				"the pointer is not one stored by twz_ptr_store",
				twz__obj_where(o), (unsigned long long)idx);
	memcpy(out, e, sizeof(*out));
	if (out->sum != twz__fot_sum(out))
		return twz__corrupt(twz__obj_where(o), "FOT entry %llu: wrong checksum",
				    (unsigned long long)idx);
	if (out->kind < TWZC_FOT_ID || out->kind > TWZC_FOT_LOCAL || out->perm & ~PERM_KNOWN)
		return twz__corrupt(twz__obj_where(o), "FOT entry %llu: kind %u, permissions %#x",
				    (unsigned long long)idx, out->kind, out->perm);
	return 0;
}

/* --- the volatile index --- */

static uint64_t place(const struct twz_fot_pm *e)
{
	uint64_t x = e->target[0] ^ (e->target[1] << 1) ^ ((uint64_t)e->perm << 8 | e->kind);

	return (x * 0x9e3779b97f4a7c15u) >> 32;
}

static uint32_t index_find(struct twz_obj *o, const struct twz_fot_pm *want)
{
	struct twz__fot_index *ix = __atomic_load_n(&twz__slot_rts[o->slot].fot, __ATOMIC_ACQUIRE);
	const struct twz_fot_pm *e;
	uint32_t idx;

	if (!ix)
		return 0;
	for (uint64_t i = place(want);; i++) {
		idx = __atomic_load_n(&ix->cell[i & ix->mask], __ATOMIC_ACQUIRE);
		if (!idx)
			return 0;
		e = twz__fot_at(o, idx);
		if (e && same(e, want))
			return idx;
	}
}

static void cell_add(struct twz__fot_index *ix, const struct twz_fot_pm *e, uint32_t idx)
{
	uint64_t i = place(e);

	while (ix->cell[i & ix->mask])
		i++;
	__atomic_store_n(&ix->cell[i & ix->mask], idx, __ATOMIC_RELEASE);
	ix->cnt++;
}

/* An index with room for one more. */
static int index_room(struct twz_obj *o)
{
	struct twz__slot_rt *rt = &twz__slot_rts[o->slot];
	struct twz__fot_index *old = rt->fot, *ix;
	uint32_t cells = old ? (old->mask + 1) * 4 : 64;

	if (old && (old->cnt + 1) * 2 <= old->mask + 1)
		return 0;
	ix = calloc(1, sizeof(*ix) + cells * sizeof(ix->cell[0]));
	if (!ix)
		return twz__err(TWZ_E_NOMEM, "%s: no memory for the index of its FOT",
				twz__obj_where(o));
	ix->mask = cells - 1;
	ix->old = old;
	for (uint32_t i = 0; old && i <= old->mask; i++)
		if (old->cell[i])
			cell_add(ix, twz__fot_at(o, old->cell[i]), old->cell[i]);
	__atomic_store_n(&rt->fot, ix, __ATOMIC_RELEASE);
	return 0;
}

void twz__fot_drop(struct twz__slot_rt *rt)
{
	struct twz__fot_index *old;

	while (rt->fot) {
		old = rt->fot->old;
		free(rt->fot);
		rt->fot = old;
	}
	rt->fot_seen = 0;
}

/* --- the meta page --- */

static uint64_t meta_sum(const struct twz_meta_pm *m)
{
	return XXH64(m, offsetof(struct twz_meta_pm, sum), 0);
}

static int meta_verify(struct twz_obj *o)
{
	const struct twz_meta_pm *m = o->meta;

	if (m->magic != TWZC_META_MAGIC || m->version || m->sum != meta_sum(m))
		return twz__corrupt(twz__obj_where(o), "meta page: magic, version or checksum");
	if (m->id[0] != o->id.w[0] || m->id[1] != o->id.w[1])
		return twz__corrupt(twz__obj_where(o), "meta page belongs to another object");
	return 0;
}

/*
 * Metadata lock held. A virgin meta page gets its header; the word with the magic last, so that a
 * crash leaves it virgin.
 */
static int meta_ready(struct twz_obj *o)
{
	struct twz_meta_pm *m = o->meta, head = {.magic = TWZC_META_MAGIC};
	uint64_t first;
	int err;

	memcpy(&first, &head, sizeof(first));
	if (m->magic) {
		/*
		 * Until an entry was claimed behind it, whoever made it may have died before it was durable
		 * (D13), or its sync failed: then the page counts as clean, so it is stored again (D17).
		 */
		err = meta_verify(o);
		if (err || m->fot_next > 1)
			return err;
		memcpy(&first, m, sizeof(first));
	} else {
		head.id[0] = m->id[0] = o->id.w[0];
		head.id[1] = m->id[1] = o->id.w[1];
		m->sum = meta_sum(&head);
		m->fot_next = 1;
		m->fot_claim = 0;
	}
	__atomic_store_n((uint64_t *)m, first, __ATOMIC_RELEASE);
	return twz_sync(o->store, m, offsetof(struct twz_meta_pm, user));
}

/* --- claiming, metadata lock held --- */

/* An entry a dead process published may not be durable yet. */
static int settle(struct twz_obj *o)
{
	struct twz_meta_pm *m = o->meta;
	struct twz_fot_pm *e;
	uint64_t *word;
	int err = 0;

	if (twz__likely(!m->fot_claim))
		return 0;
	e = twz__fot_at(o, m->fot_claim);
	if (e) {
		/*
		 * Stored again: if it was the sync that failed, the page counts as clean now (D17).
		 */
		word = (uint64_t *)&e->resolver;
		__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED), __ATOMIC_RELEASE);
		err = twz_sync(o->store, e, sizeof(*e));
	}
	if (!err)
		m->fot_claim = 0;
	return err;
}

/* Index the entries below fot_next that this process has not seen. */
static int learn(struct twz_obj *o)
{
	struct twz__slot_rt *rt = &twz__slot_rts[o->slot];
	struct twz_meta_pm *m = o->meta;
	uint64_t end = m->fot_next < capacity(o) ? m->fot_next : capacity(o);
	const struct twz_fot_pm *e;
	int err;

	if (!rt->fot) {
		rt->fot_seen = 1;
		end = capacity(o); /* once all of it: twz_fot_set may have used any */
		err = index_room(o);
		if (err)
			return err;
	}
	for (; rt->fot_seen < end; rt->fot_seen++) {
		e = twz__fot_at(o, rt->fot_seen);
		if (!sum_of(e) || index_find(o, e))
			continue;
		err = index_room(o);
		if (err)
			return err;
		cell_add(rt->fot, e, rt->fot_seen);
	}
	if (rt->fot_seen > m->fot_next && m->fot_next)
		rt->fot_seen = (uint32_t)m->fot_next; /* others will fill it from there on */
	return 0;
}

static uint64_t first_free(struct twz_obj *o, uint64_t from)
{
	uint64_t idx;

	for (idx = from; idx < capacity(o); idx++)
		if (!sum_of(twz__fot_at(o, idx)))
			break;
	return idx;
}

static int claim(struct twz_obj *o, uint64_t idx, const struct twz_fot_pm *want)
{
	struct twz_fot_pm *e = twz__fot_at(o, idx), full = *want;
	struct twz_meta_pm *m = o->meta;
	uint64_t last;
	int err;

	full.sum = twz__fot_sum(&full);
	__atomic_store_n(&m->fot_claim, idx, __ATOMIC_RELEASE);
	e->target[0] = full.target[0];
	e->target[1] = full.target[1];
	e->kind = full.kind;
	e->perm = full.perm;
	memcpy(&last, &full.resolver, sizeof(last));
	/*
	 * In use from here on (core/format.h). D8: durable before any pointer that names it, see
	 * the top.
	 */
	__atomic_store_n((uint64_t *)&e->resolver, last, __ATOMIC_RELEASE);
	err = twz_sync(o->store, e, sizeof(*e));
	if (err)
		return err;
	if (m->fot_next == idx)
		m->fot_next = idx + 1;
	m->fot_claim = 0;
	return 0;
}

/*
 * One try under the lock. *IDX: the entry, or the first index for which the FOT has to grow, with
 * -EAGAIN.
 */
static int need_locked(struct twz_obj *o, const struct twz_fot_pm *want, uint64_t *idx)
{
	struct twz_meta_pm *m = o->meta;
	int err = meta_ready(o);

	if (!err)
		err = settle(o);
	if (!err)
		err = learn(o);
	if (err)
		return err;
	*idx = index_find(o, want);
	if (*idx)
		return 0;
	*idx = first_free(o, m->fot_next && m->fot_next < capacity(o) ? m->fot_next : 1);
	if (*idx == capacity(o))
		return -EAGAIN;
	m->fot_next = *idx;
	err = index_room(o);
	if (!err)
		err = claim(o, *idx, want);
	if (!err)
		cell_add(twz__slot_rts[o->slot].fot, want, (uint32_t)*idx);
	return err;
}

static int may_write(struct twz_obj *o)
{
	int err = twz__store_enter_write(o->store, "a pointer into another object");

	if (!err && !(o->perm & TWZ_WRITE))
		err = twz__err(TWZ_E_READONLY,
			       "%s: opened for reading: its FOT cannot get an entry",
			       twz__obj_where(o));
	return err;
}

/* Room for entry IDX: FOT pages others added, or new ones. */
static int grow(struct twz_obj *o, uint64_t idx)
{
	if (idx >= TWZC_FOT_MAX)
		return twz__err(TWZ_E_NOSPC,
				"%s: its FOT has all %u entries in use: "
				"spread the pointers over more objects",
				twz__obj_where(o), TWZC_FOT_MAX - 1);
	return twz__fot_reserve(o, idx);
}

int twz__fot_need(struct twz_obj *o, const struct twz_fot_pm *want, uint64_t *idx)
{
	int err;

	*idx = index_find(o, want);
	if (*idx)
		return 0;
	err = may_write(o);
	if (err)
		return err;
	do {
		err = twz__meta_lock(o->store);
		if (err)
			return err;
		err = need_locked(o, want, idx);
		twz__meta_unlock(o->store);
		if (err != -EAGAIN)
			break;
		err = grow(o, *idx);
	} while (!err);
	if (err)
		*idx = 0;
	return err;
}

/* --- by index --- */

static int set_locked(struct twz_obj *o, uint64_t idx, const struct twz_fot_pm *want)
{
	struct twz_fot_pm *e = twz__fot_at(o, idx), now;
	int err = meta_ready(o);

	if (!err)
		err = settle(o);
	if (err)
		return err;
	if (sum_of(e)) {
		err = twz__fot_read(o, idx, &now);
		if (err || same(&now, want))
			return err;
		return twz__err(TWZ_E_EXIST, "%s: FOT entry %llu is used for another target",
				twz__obj_where(o), (unsigned long long)idx);
	}
	if (twz__slot_rts[o->slot].fot)
		err = index_room(o);
	if (!err)
		err = claim(o, idx, want);
	if (!err && twz__slot_rts[o->slot].fot)
		cell_add(twz__slot_rts[o->slot].fot, want, (uint32_t)idx);
	return err;
}

static int set_entry(struct twz_obj *o, uint64_t idx, const struct twz_fot_pm *want)
{
	int err = may_write(o);

	if (err)
		return err;
	if (!idx || idx >= TWZC_FOT_MAX || !(want->perm & PERM_KNOWN) || want->perm & ~PERM_KNOWN)
		return twz__err(TWZ_E_INVAL,
				"%s: FOT entry %llu with permissions %#x: "
				"index 1 .. %u, permissions of enum twz_perm",
				twz__obj_where(o), (unsigned long long)idx, want->perm,
				TWZC_FOT_MAX - 1);
	if (!twz__fot_at(o, idx)) {
		err = grow(o, idx);
		if (err)
			return err;
	}
	err = twz__meta_lock(o->store);
	if (err)
		return err;
	err = set_locked(o, idx, want);
	twz__meta_unlock(o->store);
	return err;
}

int twz_fot_set(struct twz_obj *o, uint64_t idx, twz_oid target, uint32_t perm)
{
	struct twz_fot_pm want = {
		.target = {target.w[0], target.w[1]}, .kind = TWZC_FOT_ID, .perm = perm};

	if (!o || twz_oid_is_null(target))
		return twz__err(TWZ_E_INVAL, "twz_fot_set: no object or a null target");
	return set_entry(o, idx, &want);
}

int twz_fot_set_local(struct twz_obj *o, uint64_t idx, uint64_t n, uint32_t perm)
{
	struct twz_fot_pm want = {.target = {n, 0}, .kind = TWZC_FOT_LOCAL, .perm = perm};

	if (!o)
		return twz__err(TWZ_E_INVAL, "twz_fot_set_local: no object");
	return set_entry(o, idx, &want);
}

int twz_fot_get(struct twz_obj *o, uint64_t idx, struct twz_fot_info *out)
{
	struct twz_fot_pm e;
	int err;

	memset(out, 0, sizeof(*out));
	err = twz__store_enter(o->store);
	if (!err)
		err = twz__fot_read(o, idx, &e);
	if (err)
		return err;
	out->kind = e.kind;
	out->perm = e.perm;
	if (e.kind == TWZC_FOT_ID)
		out->id = (twz_oid){{e.target[0], e.target[1]}};
	else if (e.kind == TWZC_FOT_LOCAL)
		out->id = (twz_oid){{o->id.w[0], e.target[0]}};
	else if (((const char *)e.target)[NAME_SHORT] == 0)
		memcpy(out->name, e.target, NAME_SHORT);
	else
		memcpy(out->name, "...", 4);
	return 0;
}

/* --- check --- */

static uint64_t check_entry(struct twz_obj *o, uint64_t idx, struct twz__checker *c)
{
	const struct twz_fot_pm *e = twz__fot_at(o, idx);
	struct twz_fot_pm copy;

	if (!sum_of(e))
		return 0;
	memcpy(&copy, e, sizeof(copy));
	if (copy.sum != twz__fot_sum(&copy))
		twz__found(c, twz__obj_where(o), "FOT entry %llu: wrong checksum",
			   (unsigned long long)idx);
	else if (copy.kind < TWZC_FOT_ID || copy.kind > TWZC_FOT_LOCAL || copy.perm & ~PERM_KNOWN)
		twz__found(c, twz__obj_where(o), "FOT entry %llu: kind %u, permissions %#x",
			   (unsigned long long)idx, copy.kind, copy.perm);
	else if (copy.kind == TWZC_FOT_ID && !(copy.target[0] | copy.target[1]))
		twz__found(c, twz__obj_where(o), "FOT entry %llu: null target",
			   (unsigned long long)idx);
	return 1;
}

int twz__check_fot(struct twz_obj *o, struct twz__checker *c)
{
	const struct twz_meta_pm *m = o->meta;
	uint64_t used = 0;

	for (uint64_t idx = 1; idx < capacity(o); idx++)
		used += check_entry(o, idx, c);
	if (m->fot[0].sum || m->fot[0].kind)
		twz__found(c, twz__obj_where(o), "FOT entry 0, which is reserved, is in use");
	if (!m->magic && used)
		twz__found(c, twz__obj_where(o), "%llu FOT entries in a meta page without a header",
			   (unsigned long long)used);
	if (m->magic && (m->version || m->sum != meta_sum(m) || m->magic != TWZC_META_MAGIC))
		twz__found(c, twz__obj_where(o), "meta page: magic, version or checksum");
	else if (m->magic && (m->id[0] != o->id.w[0] || m->id[1] != o->id.w[1]))
		twz__found(c, twz__obj_where(o), "meta page belongs to another object");
	return 0;
}

/* --- dump --- */

static void show_target(FILE *f, const struct twz_fot_pm *e)
{
	const char *name = (const char *)e->target;
	char text[TWZ_OID_STR_LEN];
	uint32_t len;

	switch (e->kind) {
	case TWZC_FOT_ID:
		fprintf(f, "object %s", twz_oid_str((twz_oid){{e->target[0], e->target[1]}}, text));
		break;
	case TWZC_FOT_LOCAL:
		fprintf(f, "local %" PRIu64, e->target[0]);
		break;
	case TWZC_FOT_NAME:
		memcpy(&len, name + 8, sizeof(len));
		if (name[NAME_SHORT]) {
			fprintf(f, "name hash %016" PRIx64 " len %u", e->target[0], len);
		} else {
			fputs("name ", f);
			twz__dump_text(f, name, strnlen(name, NAME_SHORT));
		}
		break;
	default:
		fprintf(f, "kind %u", e->kind);
	}
}

static void show_entry(const struct twz_obj *o, uint64_t idx, FILE *f)
{
	const struct twz_fot_pm *at = twz__fot_at(o, idx);
	struct twz_fot_pm e;

	if (!at || !sum_of(at))
		return;
	memcpy(&e, at, sizeof(e));
	fprintf(f, "  fot %" PRIu64 " ", idx);
	show_target(f, &e);
	fprintf(f, " perm %#x resolver %u sum %08x%s\n", e.perm, e.resolver, e.sum,
		e.sum == twz__fot_sum(&e) ? "" : " damaged: the checksum does not hold");
}

int twz__dump_fot(struct twz_obj *o, struct twz__dumper *d)
{
	const struct twz_meta_pm *m = o->meta;
	char id[TWZ_OID_STR_LEN];

	if (m->magic || m->user[0]) {
		fprintf(d->f, "  meta magic %08x version %u id %s sum %016" PRIx64, m->magic,
			m->version, twz_oid_str((twz_oid){{m->id[0], m->id[1]}}, id), m->sum);
		fprintf(d->f, " fot_next %" PRIu64 " fot_claim %" PRIu64 " user", m->fot_next,
			m->fot_claim);
		for (size_t i = 0; i < sizeof(m->user) / sizeof(m->user[0]); i++)
			fprintf(d->f, " %" PRIx64, m->user[i]);
		fputc('\n', d->f);
	}
	for (uint64_t idx = 1; idx < capacity(o); idx++)
		show_entry(o, idx, d->f);
	return 0;
}
