/* SPDX-License-Identifier: MIT
 * test_engine_node.c -- the parts of the engine that need no store: plans, heads, ranks, size classes, containers
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

static struct bkey key(const char *s)
{
	return (struct bkey){(const uint8_t *)s, (uint32_t)strlen(s)};
}

static void heads_sort_as_keys_do(void)
{
	for (int i = 0; i < 20000; i++) {
		char a[24], b[24];
		uint32_t la = (uint32_t)t_rand_below(16), lb = (uint32_t)t_rand_below(16), pfx;
		struct bkey ka = {(uint8_t *)a, la}, kb = {(uint8_t *)b, lb};
		int c;

		for (unsigned j = 0; j < 16; j++) {
			a[j] = (char)(t_rand_below(3) * 100);
			b[j] = (char)(t_rand_below(3) * 100);
		}
		c = bkey_cmp(ka, kb);
		pfx = (uint32_t)t_rand_below(twzdb__lcp(ka, kb) + 1);
		if (twzdb__head(ka, pfx) < twzdb__head(kb, pfx))
			T_TRUE(c < 0);
		else if (twzdb__head(ka, pfx) > twzdb__head(kb, pfx))
			T_TRUE(c > 0);
	}
	T_EQ(twzdb__head(key("a"), 0), 0x6100000000000000ULL);
	T_EQ(twzdb__head(key("abc"), 2), 0x6300000000000000ULL);
	T_EQ(twzdb__head(key("abc"), 9), 0);
	T_TRUE(bkey_cmp(BKEY_INF, key("\xff\xff")) > 0 && bkey_cmp(BKEY_INF, BKEY_INF) == 0);
	T_TRUE(bkey_cmp(key("a"), key("ab")) < 0 && bkey_cmp(key(""), key("")) == 0);
}

static void rank_counts_smaller_heads(void)
{
	uint64_t head[TWZDB_FANOUT];

	for (int round = 0; round < 2000; round++) {
		uint64_t kh = t_rand_below(40), want = 0;
		unsigned used = (unsigned)t_rand_below(TWZDB_FANOUT + 1);

		for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
			head[i] = i < used ? t_rand_below(40) : UINT64_MAX;
			want += head[i] < kh;
		}
		T_EQ(twzdb__rank(head, kh), want);
		T_EQ(twzdb__rank(head, UINT64_MAX), used); /* free slots are below nothing */
	}
}

static void a_permutation_survives_inserts_and_removes(void)
{
	struct node_pm n;
	uint64_t model[TWZDB_FANOUT];
	unsigned cnt = 0;

	memset(&n, 0, sizeof(n));
	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		n.perm[i] = (uint8_t)i;
		n.head[i] = UINT64_MAX;
	}
	for (int round = 0; round < 5000; round++) {
		unsigned pos = (unsigned)t_rand_below(cnt + 1);
		uint32_t seen = 0;

		if (cnt < TWZDB_FANOUT && (cnt == 0 || t_rand_below(2))) {
			memmove(model + pos + 1, model + pos, (cnt - pos) * sizeof(model[0]));
			model[pos] = (uint64_t)round + 1;
			twzdb__node_insert(&n, pos, (uint64_t)round, model[pos]);
			cnt++;
		} else {
			pos = (unsigned)t_rand_below(cnt);
			twzdb__node_remove(&n, pos);
			memmove(model + pos, model + pos + 1, (cnt - pos - 1) * sizeof(model[0]));
			cnt--;
		}
		if (!T_EQ(n.n, cnt))
			return;
		for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
			seen |= 1U << n.perm[i];
			if (i < cnt ? n.ptr[n.perm[i]] != model[i]
				    : n.head[n.perm[i]] != UINT64_MAX) {
				T_TRUE(!"slot");
				return;
			}
		}
		T_EQ(seen, (1U << TWZDB_FANOUT) - 1);
	}
}

static void split_plans_leave_both_sides_rows(void)
{
	for (unsigned pos = 0; pos <= TWZDB_FANOUT; pos++) {
		unsigned cut = twzdb__plan_split(TWZDB_FANOUT, pos, false);

		T_TRUE(cut >= TWZDB_FANOUT / 3 && TWZDB_FANOUT + 1 - cut >= TWZDB_FANOUT / 3);
		cut = twzdb__plan_split(TWZDB_FANOUT, pos, true);
		T_TRUE(cut >= 1 && cut <= TWZDB_FANOUT);
	}
	/* appends leave full nodes */
	T_EQ(twzdb__plan_split(TWZDB_FANOUT, TWZDB_FANOUT, true), TWZDB_FANOUT);
}

static void merge_plans_fit_and_leave_room(void)
{
	for (int n = 0; n <= TWZDB_FANOUT; n++)
		for (int l = -1; l <= TWZDB_FANOUT; l++)
			for (int r = -1; r <= TWZDB_FANOUT; r++) {
				enum merge_plan p = twzdb__plan_merge(n, l, r);
				int sum = p == MERGE_RIGHT ? n + r : p == MERGE_LEFT ? n + l : 0;

				if (n > TWZDB_FANOUT / 3 && p != MERGE_NONE)
					T_TRUE(!"a node with enough rows stays");
				if ((p == MERGE_RIGHT && r < 0) || (p == MERGE_LEFT && l < 0) ||
				    sum > TWZDB_FANOUT)
					T_TRUE(!"merged with nobody, or with too much");
			}
	T_EQ(twzdb__plan_merge(0, TWZDB_FANOUT, -1), MERGE_LEFT);
	T_EQ(twzdb__plan_merge(0, -1, -1), MERGE_NONE);
	T_EQ(twzdb__plan_merge(5, 5, 5), MERGE_RIGHT);
	T_EQ(twzdb__plan_merge(5, 5, TWZDB_FANOUT), MERGE_LEFT);
}

static void every_length_has_the_smallest_class(void)
{
	for (uint64_t len = TWZDB_REC_LEN; len < 22000; len++) {
		unsigned c = twzdb__class_of(len);

		if (c == TWZDB_CLS_LARGE) {
			T_TRUE(len > 21000);
			continue;
		}
		if (twzdb__class_len(c) < len || twzdb__class_len(c) % 16 ||
		    (c > 1 && twzdb__class_len(c - 1) >= len)) {
			T_EQ(len, twzdb__class_len(c));
			return;
		}
	}
	/* SQLite pages waste little */
	T_TRUE(twzdb__class_len(twzdb__class_of(rec_len_of(4, 4096, TWZDB_ROW))) < 4400);
}

static void the_map_keeps_what_is_put(void)
{
	struct u64map m = {0};
	uint64_t v;

	T_TRUE(!u64map_get(&m, 5, &v));
	for (uint64_t i = 1; i < 20000; i++)
		T_OK(u64map_put(&m, i * 512, i));
	for (uint64_t i = 1; i < 20000; i += 3)
		T_OK(u64map_put(&m, i * 512, ~i));
	for (uint64_t i = 1; i < 20000; i++)
		T_TRUE(u64map_get(&m, i * 512, &v) && v == (i % 3 == 1 ? ~i : i));
	T_TRUE(!u64map_get(&m, 7, &v));
	u64map_free(&m);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(heads_sort_as_keys_do),
		T_CASE(rank_counts_smaller_heads),
		T_CASE(a_permutation_survives_inserts_and_removes),
		T_CASE(split_plans_leave_both_sides_rows),
		T_CASE(merge_plans_fit_and_leave_room),
		T_CASE(every_length_has_the_smallest_class),
		T_CASE(the_map_keeps_what_is_put),
		T_END,
	};

	return t_main("engine_node", cases, argc, argv);
}
