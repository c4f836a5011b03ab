/* SPDX-License-Identifier: MIT
 * test_engine_simd.c -- all variants of the comparisons give the same answers; TWZ_CPU chooses one or says why not
 */
#include "engine_t.h"

#include "../../engine/src/internal.h"

/* Every variant this processor can run. */
static unsigned usable(const struct twzdb__simd *out[8])
{
	unsigned n = 0;

	for (int i = 0; twzdb__simds[i]; i++)
		if (twzdb__simds[i]->usable())
			out[n++] = twzdb__simds[i];
	return n;
}

static void same_heads(const uint64_t *head, uint64_t kh)
{
	const struct twzdb__simd *v[8];
	unsigned n = usable(v);
	uint32_t below = 0, eq = 0;

	for (unsigned i = 0; i < TWZDB_FANOUT; i++) {
		below += head[i] < kh;
		eq |= (uint32_t)(head[i] == kh) << i;
	}
	for (unsigned i = 0; i < n; i++) {
		struct headmask m = v[i]->heads(head, kh);

		if (m.below != below || m.eq != eq) {
			fprintf(stderr, "%s: key head %016" PRIx64 "\n", v[i]->name, kh);
			T_EQ(m.below, below);
			T_EQ(m.eq, eq);
		}
	}
	T_TRUE(n > 0);
}

static uint64_t edge(void)
{
	static const uint64_t e[] = {0,
				     1,
				     INT64_MAX,
				     (uint64_t)INT64_MAX + 1,
				     (uint64_t)INT64_MAX + 2,
				     UINT64_MAX - 1,
				     UINT64_MAX,
				     0xff00000000000000,
				     0x00000000ffffffff,
				     0xffffffff00000000};

	return e[t_rand_below(sizeof(e) / sizeof(e[0]))];
}

static void heads_agree_on_random_nodes(void)
{
	struct node_pm n;

	for (int round = 0; round < 2000; round++) {
		memset(&n, 0x5a, sizeof(n)); /* what lies behind the heads must not count */
		for (unsigned i = 0; i < TWZDB_FANOUT; i++)
			n.head[i] = round & 1 ? t_rand() : t_rand() & 0xff00000000000003;
		for (int k = 0; k < 8; k++)
			same_heads(n.head, t_rand());
		for (unsigned i = 0; i < TWZDB_FANOUT; i++)
			same_heads(n.head, n.head[i] + t_rand_below(3) - 1);
		same_heads(n.head, 0x5a5a5a5a5a5a5a5a);
	}
}

static void heads_agree_at_the_edges(void)
{
	uint64_t head[TWZDB_FANOUT];

	for (int round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < TWZDB_FANOUT; i++)
			head[i] = edge();
		same_heads(head, edge());
	}
	for (unsigned i = 0; i < TWZDB_FANOUT; i++) { /* each place counts for itself */
		memset(head, 0xff, sizeof(head));
		head[i] = 7;
		same_heads(head, 7);
		same_heads(head, 8);
		same_heads(head, UINT64_MAX);
	}
}

static void words_agree(void)
{
	uint64_t line[8] __attribute__((aligned(64)));
	const struct twzdb__simd *v[8];
	unsigned n = usable(v);

	for (int round = 0; round < 20000; round++) {
		uint64_t mask = round % 3 ? ~(uint64_t)0 << t_rand_below(64) : edge();
		uint64_t want = t_rand_below(2) ? t_rand() : edge();
		unsigned expect = 0;

		for (unsigned i = 0; i < 8; i++) {
			line[i] = t_rand_below(2) ? (want & mask) | (t_rand() & ~mask) : t_rand();
			line[i] = t_rand_below(8) ? line[i] : 0;
			expect |= (unsigned)!((line[i] ^ want) & mask) << i;
		}
		for (unsigned i = 0; i < n; i++)
			T_EQ(v[i]->words(line, mask, want), expect);
	}
}

/* --- twzdb_get(), of which each variant has its own --- */

#define LEN_MAX 40

static struct twzdb_slice key_of(uint8_t buf[LEN_MAX], unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		buf[i] = (uint8_t)('a' + i);
	return (struct twzdb_slice){buf, len};
}

static void all_lengths(struct twzdb_txn *tx, struct twzdb_table t, const char *name)
{
	struct twzdb_slice key, val;
	uint8_t buf[LEN_MAX];

	for (unsigned len = 1; len <= LEN_MAX; len++) {
		key = key_of(buf, len);
		if (T_OK(twzdb_get(tx, t, key, &val)) || !T_TRUE(val.len == len * 3))
			fprintf(stderr, "%s: key of %u bytes\n", name, len);
		for (unsigned i = 0; i < len; i++) { /* each byte counts */
			buf[i] ^= 0x80;
			T_EQ(twzdb_get(tx, t, key, &val), TWZDB_E_NOTFOUND);
			buf[i] ^= 0x80;
		}
	}
}

static void get_agrees_for_every_length(void)
{
	const struct twzdb__simd *v[8], *before;
	unsigned n = usable(v);
	uint8_t buf[LEN_MAX], value[LEN_MAX * 3] = {0};
	struct twzdb_table t;
	struct twzdb_txn *tx;
	struct twzdb *db;

	T_REQ(et_open(et_path(ET_LINE, "get.twz"), &db));
	before = twzdb__simd;
	T_REQ(twzdb_begin(db, 0, &tx));
	T_REQ(twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t));
	for (unsigned len = 1; len <= LEN_MAX; len++)
		T_REQ(twzdb_put(tx, t, key_of(buf, len), (struct twzdb_slice){value, len * 3}, 0));
	T_REQ(twzdb_commit(tx));
	T_REQ(twzdb_begin(db, TWZDB_RDONLY, &tx));
	for (unsigned i = 0; i < 3 * n;
	     i++) { /* from the tree, and each from what another put there */
		twzdb__simd = v[i % n];
		all_lengths(tx, t, v[i % n]->name);
	}
	T_ERR(v[0]->get(tx, t.h, t.tag, NULL, 23, &(struct twzdb_slice){NULL, 0}), TWZDB_E_INVAL);
	T_ERR(v[0]->get(tx, t.h, t.tag, buf, 23, NULL), TWZDB_E_INVAL);
	T_ERR(v[0]->get(tx, 0, t.tag, buf, 23, &(struct twzdb_slice){NULL, 0}), TWZDB_E_INVAL);
	twzdb__simd = before;
	twzdb_abort(tx);
	T_OK(twzdb_close(db));
}

static const struct twzdb__simd *by_name(const char *name)
{
	for (int i = 0; twzdb__simds[i]; i++)
		if (!strcmp(twzdb__simds[i]->name, name))
			return twzdb__simds[i];
	return NULL;
}

static int open_with(const char *cpu)
{
	struct twzdb *db;
	int err;

	setenv("TWZ_CPU", cpu, 1);
	err = et_open(et_path(ET_LINE, "cpu.twz"), &db);
	unsetenv("TWZ_CPU");
	return err ? err : twzdb_close(db);
}

static void twz_cpu_chooses_or_says_why_not(void)
{
	static const char *const names[] = {"scalar", "avx2", "avx512"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct twzdb__simd *s = by_name(names[i]);

		if (s && s->usable()) {
			T_OK(open_with(names[i]));
			T_TRUE(twzdb__simd == s);
			continue;
		}
		T_ERR(open_with(names[i]), TWZDB_E_INVAL);
		T_HAS(twzdb_errmsg(), "scalar");
	}
	T_ERR(open_with("mmx"), TWZDB_E_INVAL);
	T_HAS(twzdb_errmsg(), "TWZ_CPU=mmx");
	T_OK(open_with(""));
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(heads_agree_on_random_nodes),
		T_CASE(heads_agree_at_the_edges),
		T_CASE(words_agree),
		T_CASE(get_agrees_for_every_length),
		T_CASE(twz_cpu_chooses_or_says_why_not),
		T_END,
	};

	return t_main("engine_simd", cases, argc, argv);
}
