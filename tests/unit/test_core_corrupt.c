/* SPDX-License-Identifier: MIT
 * test_core_corrupt.c -- twz/core on damaged and on hostile images: an error or a finding, or
 * provably no harm; never a crash
 *
 * Damaged: one byte of metadata is changed. Then either opening says so, or twzc_check does, or
 * nothing is different. Hostile: the byte is changed and the checksum made right again, as an
 * attacker would. Then anything may be refused or found, but nothing may crash, hang or reach
 * outside the image (the sanitizer builds watch this test).
 */
#include <xxhash.h>
#include "t.h"
#include "core_scene.h"

#define KIB ((u64)1 << 10)

static u64 seed_of(const struct core_image *ci)
{
	return ci->c.super.uuid[0] ^ ci->c.super.uuid[1];
}

/* Use everything there is to use. Results do not matter here, only that they come. */
static void exercise(struct core_image *ci)
{
	struct twzc_extent x[64];
	struct twzc_info info;
	struct twzc_obj o;
	u64 cursor = 0, id[2];
	u32 cnt, steps = 0;

	while (!twzc_obj_next(&ci->c, &cursor, false, &o) && steps++ < 1000)
		for (u32 first = 0;
		     !twzc_obj_extents(&ci->c, o.id, first, x, 64, &cnt) && cnt == 64;)
			first += cnt;
	(void)!twzc_info(&ci->c, &info);
	(void)!ci_create(ci, 35, 40 * KIB, true);
	(void)!ci_create(ci, 36, 4 * KIB, false);
	for (u64 n = 1; n < 8; n++) {
		(void)!cs_resize(ci, n, 64 * KIB);
		(void)!cs_resize(ci, n, 4 * KIB);
		ci_id(n, id);
		(void)!twzc_obj_fot_grow(&ci->c, id, 3);
		(void)!twzc_obj_delete(&ci->c, id);
		(void)!twzc_obj_reclaim(&ci->c, id);
	}
	(void)!twzc_checkpoint(&ci->c);
}

static void silent(void *ctx, const char *where, const char *what, u64 a, u64 b)
{
	(void)ctx;
	(void)where;
	(void)what;
	(void)a;
	(void)b;
}

static u64 findings(struct core_image *ci)
{
	u64 found = 0;
	int err = twzc_check(&ci->c, silent, NULL, &found);

	return found + (err != 0);
}

static bool is_clear(int err)
{
	switch (err) {
	case TWZ_E_CORRUPT:
	case TWZ_E_NOTSTORE:
	case TWZ_E_VERSION:
	case TWZ_E_FEATURE:
	case TWZ_E_READONLY:
	case TWZ_E_TRUNCATED:
		return true;
	}
	return false;
}

/* One damaged byte. TORN: the state a torn last record leaves is right too. */
static void damaged(struct core_image *ci, u64 off, u64 summary, u64 torn)
{
	int err = ci_open(ci, NULL);
	u64 sum;

	if (err) {
		if (!T_TRUE(is_clear(err)))
			fprintf(stderr, "  byte %" PRIu64 ": error %d\n", off, err);
		return;
	}
	if (findings(ci))
		return;
	sum = ci_summary(ci, CS_OBJS);
	if (!T_TRUE(sum == summary || sum == torn))
		fprintf(stderr,
			"  byte %" PRIu64 " (page %" PRIu64 "): different, and nobody noticed\n",
			off, off / 4096);
	T_TRUE(ci_data_tagged(ci, 1, 12 * KIB));
}

static bool is_metadata(const struct core_image *ci, u64 page)
{
	return page < 3 + ci->c.super.journal_page_cnt + 2 || ci->touched[page];
}

/*
 * Pages of the image that are written to and are not objects' data: those with tags are left out,
 * they belong to the user.
 */
static bool is_data(const struct core_image *ci, u64 page)
{
	u64 t;

	memcpy(&t, ci->img + page * 4096, 8);
	return page > 16 && t >> 32 && t >> 32 < 64 && (u32)t < 64;
}

typedef void (*damage_fn)(struct core_image *ci, u64 off);

static void flip(struct core_image *ci, u64 off)
{
	ci->img[off] ^= (u8)(1 + t_rand_below(255));
	ci->touched[off / 4096] = 1;
}

/* Sum of the metadata cell around OFF, of whatever kind it is by its magic and place. */
static void reseal(struct core_image *ci, u64 off)
{
	static const u32 lens[] = {64, 128, 256, 512};
	u64 sum;

	for (u32 i = 0; i < 4; i++) {
		u64 at = off / lens[i] * lens[i];

		/*
		 * It was a cell of this length if its old sum, which flip_sealed() kept, says so.
		 */
		memcpy(&sum, ci->img + at, 8);
		if (sum != ci->a)
			continue;
		sum = XXH64(ci->img + at + 8, lens[i] - 8, seed_of(ci) + at);
		memcpy(ci->img + at, &sum, 8);
		return;
	}
}

static bool find_cell(struct core_image *ci, u64 off)
{
	static const u32 lens[] = {64, 128, 256, 512};

	for (u32 i = 0; i < 4; i++) {
		u64 at = off / lens[i] * lens[i], sum;

		memcpy(&sum, ci->img + at, 8);
		if (sum == XXH64(ci->img + at + 8, lens[i] - 8, seed_of(ci) + at)) {
			ci->a = sum;
			return true;
		}
	}
	return false;
}

static void super_reseal(struct core_image *ci)
{
	for (u64 p = 0; p < 2; p++) {
		u64 sum = XXH64(ci->img + p * 4096, 504, 0);

		memcpy(ci->img + p * 4096 + 504, &sum, 8);
	}
}

static void flip_sealed(struct core_image *ci, u64 off)
{
	static const u8 nasty[] = {0, 1, 0x7f, 0x80, 0xff};
	u8 v = t_rand() & 1 ? nasty[t_rand_below(5)] : (u8)t_rand();

	if (off < 8192) {
		ci->img[off % 4096] = v;
		ci->img[4096 + off % 4096] = v;
		super_reseal(ci);
		return;
	}
	if (!find_cell(ci, off))
		return;
	ci->img[off] = v;
	reseal(ci, off);
}

struct known {
	u64 now;  /* ci_summary() */
	u64 torn; /* without the last record */
};

/* What power loss leaves: the changes are in the journal only. */
static struct core_image *scene(struct known *k)
{
	struct core_image *ci = cs_prepare(0, 0, false, CS_RING_LONG);

	T_OK(cs_on(ci, twzc_obj_delete, 2));
	k->torn = ci_summary(ci, CS_OBJS);
	T_OK(ci_create(ci, 9, 0, false));
	k->now = ci_summary(ci, CS_OBJS);
	ci_crash(ci, 0);
	return ci;
}

static bool in_ring(const struct core_image *ci, u64 page)
{
	return page > TWZC_JOURNAL_PAGE && page < TWZC_JOURNAL_PAGE + ci->c.super.journal_page_cnt;
}

/*
 * Bytes of every metadata page, all of those that hold headers, on a store with records in its
 * journal and on one without.
 */
static void any_damaged_byte(void)
{
	struct known k;
	struct core_image *from = scene(&k), *ci = ci_clone(from);
	u64 tried = 0;

	for (u32 clean = 0; clean < 2; clean++) {
		for (u64 p = 0; p * 4096 < from->len; p++) {
			u64 dense = in_ring(from, p) ? 0 : 640, step = in_ring(from, p) ? 61 : 7;

			if (!is_metadata(from, p) || is_data(from, p) ||
			    (clean && in_ring(from, p)))
				continue;
			for (u64 o = t_rand_below(3); o < 4096; o += o < dense ? 1 : step) {
				ci_copy(ci, from);
				flip(ci, p * 4096 + o);
				damaged(ci, p * 4096 + o, k.now, clean ? k.now : k.torn);
				tried++;
			}
		}
		T_OK(ci_open(from, NULL));
	}
	T_TRUE(tried > 10000);
	ci_free(ci);
	ci_free(from);
}

static void any_hostile_byte(void)
{
	struct known k;
	struct core_image *from = scene(&k), *ci = ci_clone(from);

	T_OK(ci_open(from, NULL));
	for (u64 p = 0; p * 4096 < from->len; p++) {
		if (!is_metadata(from, p) || is_data(from, p) || in_ring(from, p))
			continue;
		for (u64 o = 0; o < 4096; o += 1 + t_rand_below(o < 640 ? 2 : 12)) {
			ci_copy(ci, from);
			flip_sealed(ci, p * 4096 + o);
			if (t_rand() & 1)
				flip_sealed(ci, p * 4096 + t_rand_below(4096));
			if (ci_open(ci, NULL))
				continue;
			findings(ci);
			exercise(ci);
			findings(ci);
		}
	}
	ci_free(ci);
	ci_free(from);
}

/* The CNT-th record from the tail on, NULL if there are fewer. */
static struct twz_jrec_pm *record(struct core_image *ci, u64 tail, u64 cnt)
{
	u64 ring = CS_RING_LONG - 4096, lsn = tail;

	for (;; cnt--) {
		struct twz_jrec_pm *r =
			(void *)(ci->img + (TWZC_JOURNAL_PAGE + 1) * 4096 + lsn % ring);

		if (r->magic != TWZC_REC_MAGIC || r->lsn != lsn || r->len <= 64)
			return NULL;
		if (!cnt)
			return r;
		lsn += r->total;
	}
}

/* A record with a right checksum whose header or items are nonsense. */
static void hostile_records(void)
{
	struct known k;
	struct core_image *from = scene(&k), *ci = ci_clone(from);
	u64 opened = 0;

	for (u32 i = 0; i < 3000; i++) {
		struct twz_jrec_pm *r;
		u32 len;

		ci_copy(ci, from);
		r = record(ci, from->sh.tail, t_rand_below(60));
		if (!r)
			continue;
		len = r->len;
		for (u64 n = 1 + t_rand_below(3); n > 0; n--)
			((u8 *)r)[32 + t_rand_below(t_rand() & 1 ? 48 : len - 32)] = (u8)t_rand();
		if (r->len < 64 || r->len > 4096)
			r->len = len;
		r->sum = 0;
		r->sum = XXH64(r, r->len, r->prev_sum);
		if (ci_open(ci, NULL))
			continue;
		opened++;
		findings(ci);
		exercise(ci);
	}
	T_TRUE(opened > 10);
	ci_free(ci);
	ci_free(from);
}

static void what_is_no_store_is_refused(void)
{
	struct core_image *ci = ci_new(256 * KIB, 256 * KIB, 16 * KIB, 1, true);
	struct twz_super_pm *s[2] = {(void *)ci->img, (void *)(ci->img + 4096)};
	u64 len = ci->len;

	ci->len = 64 * KIB;
	T_ERR(ci_open(ci, NULL), TWZ_E_TRUNCATED);
	ci->len = len - 4096;
	T_ERR(ci_open(ci, NULL), TWZ_E_TRUNCATED);
	ci->len = len;
	s[0]->sum ^= 1; /* one copy is enough */
	T_REQ(ci_open(ci, NULL));
	T_EQ(ci_check(ci), 0);
	for (u32 i = 0; i < 2; i++)
		s[i]->incompat = 1;
	super_reseal(ci);
	T_ERR(ci_open(ci, NULL), TWZ_E_FEATURE);
	for (u32 i = 0; i < 2; i++) {
		s[i]->incompat = 0;
		s[i]->ro_compat = 1;
	}
	super_reseal(ci);
	T_REQ(ci_open(ci, NULL));
	T_EQ(ci->c.read_only, 1);
	T_ERR(ci_create(ci, 1, 4096, false), TWZ_E_READONLY);
	for (u32 i = 0; i < 2; i++)
		s[i]->version = 77;
	T_ERR(ci_open(ci, NULL), TWZ_E_VERSION);
	for (u32 i = 0; i < 2; i++) {
		s[i]->version = 0;
		s[i]->sum ^= 1;
	}
	T_ERR(ci_open(ci, NULL), TWZ_E_CORRUPT);
	T_HAS(ci->where, "superblock");
	for (u32 i = 0; i < 2; i++)
		s[i]->magic[0] = 'x';
	T_ERR(ci_open(ci, NULL), TWZ_E_NOTSTORE);
	ci->len = 4;
	T_ERR(ci_open(ci, NULL), TWZ_E_NOTSTORE);
	ci->len = len;
	ci_free(ci);
}

/* A record in the middle is damaged, later ones are whole: that is no torn end. */
static void damage_before_valid_records_is_found(void)
{
	struct known k;
	struct core_image *ci = scene(&k);

	ci->img[4 * 4096 + ci->sh.tail % (CS_RING_LONG - 4096) + 70] ^= 4;
	T_ERR(ci_open(ci, NULL), TWZ_E_CORRUPT);
	T_HAS(ci->where, "journal");
	T_HAS(ci->why, "damaged");
	ci_free(ci);
}

/* Image offset of the entry of object N. */
static u64 entry_at(const struct core_image *ci, u64 n)
{
	u64 id[2];

	ci_id(n, id);
	for (u64 off = 4 * 4096; off < ci->len; off += 256)
		if (off % 4096 && ci->touched[off / 4096] && !memcmp(ci->img + off + 8, id, 16))
			return off;
	T_TRUE(!"the entry is in the image");
	return 0;
}

static int find(struct core_image *ci, u64 n)
{
	struct twzc_obj o;
	u64 id[2];

	ci_id(n, id);
	return twzc_obj_find(&ci->c, id, &o);
}

/*
 * Three entries of one bucket, the one in the middle damaged at byte AT. Who asks for another one
 * gets it; who asks for the damaged one, or for one that is not there, learns of the damage: the
 * damaged one might be it.
 */
static void damaged_neighbour(u64 at)
{
	struct core_image *ci = ci_new(128 * KIB, 1024 * KIB, 16 * KIB, 1, true);

	T_REQ(ci_open(ci, NULL));
	for (u64 n = 1; n <= 3; n++)
		T_REQ(ci_create(ci, n, 4 * KIB, false));
	T_REQ(twzc_checkpoint(&ci->c));
	ci->img[entry_at(ci, 2) + at] ^= 0x40;
	T_OK(find(ci, 1));
	T_OK(find(ci, 3));
	T_ERR(find(ci, 2), TWZ_E_CORRUPT);
	T_ERR(find(ci, 4), TWZ_E_CORRUPT);
	T_ERR(ci_create(ci, 4, 4 * KIB, false), TWZ_E_CORRUPT);
	ci_free(ci);
}

static void damaged_entry_hides_only_itself(void)
{
	for (u64 at = 0; at < 256; at += 8)
		damaged_neighbour(at);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(what_is_no_store_is_refused),
		T_CASE(damage_before_valid_records_is_found),
		T_CASE(damaged_entry_hides_only_itself),
		T_CASE(any_damaged_byte),
		T_CASE(any_hostile_byte),
		T_CASE(hostile_records),
		T_END,
	};

	return t_main("core_corrupt", cases, argc, argv);
}
