/* SPDX-License-Identifier: MIT
 * test_legal.c -- the model of the medium, against sets counted by hand and against a second, naive model
 */
#include "t.h"

#include "enum.h"

#define IMG_LEN (4 * SIM_PAGE)

/* A set of images. */
struct set {
	struct legal *l;
	const struct sim_ev *inflight;
	uint8_t base[IMG_LEN]; /* kept equal to the model's durable image */
	uint8_t (*img)[IMG_LEN];
	uint64_t len[4096];
	unsigned int cnt;
};

static void on_base(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	memcpy(((struct set *)ctx)->base + off, bytes, len);
}

static uint8_t work_img[IMG_LEN];

static void patch(void *ctx, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	(void)ctx;
	memcpy(work_img + off, bytes, len);
}

static void gather(void *ctx, const struct candidate *c)
{
	struct set *s = ctx;

	memcpy(work_img, s->base, IMG_LEN);
	legal_patches(s->l, c, s->inflight, patch, NULL);
	for (unsigned int i = 0; i < s->cnt; i++)
		if (s->len[i] == c->len && !memcmp(s->img[i], work_img, IMG_LEN))
			return;
	if (s->cnt == 4096)
		return;
	memcpy(s->img[s->cnt], work_img, IMG_LEN);
	s->len[s->cnt++] = c->len;
}

static struct set *set_new(enum sim_media media)
{
	struct set *s = calloc(1, sizeof(*s));

	s->img = calloc(4096, IMG_LEN);
	s->l = legal_new(media, s->base, IMG_LEN, NULL);
	legal_on_base(s->l, on_base, s);
	return s;
}

static void set_free(struct set *s)
{
	legal_free(s->l);
	free(s->img);
	free(s);
}

static unsigned int count(struct set *s, uint32_t only, const struct sim_ev *inflight)
{
	uint64_t rng = t_rand();
	struct legal_query q = {
		.only = only, .inflight = inflight, .cap = 2000, .exhaust = 4000, .rng = &rng};

	s->cnt = 0;
	s->inflight = inflight;
	legal_states(s->l, &q, gather, s);
	return s->cnt;
}

static struct sim_ev *ev(uint32_t type, uint64_t off, uint32_t len, uint8_t fill)
{
	static union {
		struct sim_ev e;
		uint8_t room[sizeof(struct sim_ev) + SIM_PAGE];
	} buf;

	memset(&buf, 0, sizeof(buf));
	buf.e.type = type;
	buf.e.off = off;
	buf.e.len = len;
	memset(buf.e.data, fill, len <= SIM_PAGE ? len : 0);
	return &buf.e;
}

static void feed(struct set *s, uint32_t type, uint64_t off, uint32_t len, uint8_t fill)
{
	legal_feed(s->l, ev(type, off, len, fill));
}

static void lines_are_independent_and_prefixes(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_STORE, 8, 8, 2);
	feed(s, EV_STORE, 64, 8, 3);
	T_EQ(count(s, LEGAL_NONE, NULL), 3 * 2);
	T_EQ(count(s, 1, NULL), 3); /* all with the store to line 1 */
	set_free(s);
}

static void flush_alone_promises_nothing(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_FLUSH, 0, 64, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 2);
	feed(s, EV_STORE, 0, 8, 2); /* after the flush: not covered by it */
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 2);
	T_EQ(s->base[0], 1);
	set_free(s);
}

static void fence_alone_promises_nothing(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 2);
	feed(s, EV_FLUSH, 0, 8, 0);
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 1);
	T_EQ(s->base[0], 1);
	set_free(s);
}

/* D13: the fence of who goes on does not cover them, nor stores past the cache. */
static void a_death_takes_its_flushes_along(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_FLUSH, 0, 64, 0);
	feed(s, EV_NTSTORE, 64, 8, 2);
	feed(s, EV_DEATH, 0, 0, 0);
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 2 * 2);
	T_EQ(s->base[0] + s->base[64], 0);
	feed(s, EV_FLUSH, 0, 128, 0);
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 1);
	T_EQ(s->base[0] + s->base[64], 3);
	set_free(s);
}

static void stores_tear_at_words(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_STORE, 4, 16, 1); /* words 0, 1, 2 */
	T_EQ(count(s, LEGAL_NONE, NULL), 4);
	set_free(s);
}

static void stores_past_the_cache_have_no_order(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);

	feed(s, EV_NTSTORE, 0, 16, 1);
	T_EQ(count(s, LEGAL_NONE, NULL), 4); /* none, first, last, both */
	feed(s, EV_FENCE, 0, 0, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 1);
	set_free(s);
}

static void pages_are_moments_or_torn(void)
{
	struct set *s = set_new(SIM_MEDIA_PAGE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_STORE, 8, 8, 2);
	T_EQ(count(s, LEGAL_NONE, NULL), 3); /* one sector: the order holds */
	feed(s, EV_STORE, SIM_SECTOR, 8, 3);
	T_EQ(count(s, LEGAL_NONE, NULL),
	     3 + 1 + 2); /* all three; torn: the last alone, or with the first */
	feed(s, EV_SYNC, 0, SIM_PAGE, 0);
	T_EQ(count(s, LEGAL_NONE, NULL), 1);
	set_free(s);
}

static void writes_tear_at_sectors(void)
{
	struct set *s = set_new(SIM_MEDIA_PAGE);

	T_EQ(count(s, LEGAL_NONE, ev(EV_WRITE, SIM_SECTOR, 3 * SIM_SECTOR, 7)),
	     8 - 1); /* the empty subset is the point before */
	feed(s, EV_WRITE, SIM_SECTOR, 3 * SIM_SECTOR, 7);
	T_EQ(count(s, LEGAL_NONE, NULL), 1);
	T_EQ(s->base[4 * SIM_SECTOR - 1], 7);
	T_EQ(s->base[4 * SIM_SECTOR], 0);
	set_free(s);
}

static void write_covers_what_was_cached_beneath(void)
{
	struct set *s = set_new(SIM_MEDIA_PAGE);

	feed(s, EV_STORE, 0, 8, 1);
	feed(s, EV_STORE, SIM_SECTOR, 8, 2);
	feed(s, EV_WRITE, 0, SIM_SECTOR, 9);
	T_EQ(count(s, LEGAL_NONE, NULL), 2); /* only the store beside it is open */
	T_EQ(s->base[0], 9);
	set_free(s);
}

static void growth_may_be_cut_short(void)
{
	struct set *s = set_new(SIM_MEDIA_PAGE);
	struct sim_ev *g = ev(EV_GROW, IMG_LEN, 2 * SIM_PAGE, 0);

	T_EQ(count(s, LEGAL_NONE, g), 1);
	T_EQ(s->len[0], IMG_LEN + SIM_PAGE);
	legal_feed(s->l, g);
	T_EQ(legal_len(s->l), IMG_LEN + 2 * SIM_PAGE);
	set_free(s);
}

static void hash_tells_images_apart(void)
{
	struct set *s = set_new(SIM_MEDIA_LINE);
	struct pick p = {.unit = 0, .a = 1};
	struct candidate none = {.len = IMG_LEN}, one = {.pick = &p, .pick_cnt = 1, .len = IMG_LEN};
	struct hash128 a, b;

	feed(s, EV_STORE, 0, 8, 1);
	a = legal_hash(s->l, &none, NULL);
	b = legal_hash(s->l, &one, NULL);
	T_TRUE(a.w[0] != b.w[0]);
	feed(s, EV_FLUSH, 0, 8, 0);
	feed(s, EV_FENCE, 0, 0, 0);
	a = legal_hash(s->l, &none, NULL); /* the same image, reached another way */
	T_TRUE(a.w[0] == b.w[0] && a.w[1] == b.w[1]);
	set_free(s);
}

/* --- the naive model: per line, all stores ever, and how many of them must be there --- */

struct naive {
	uint8_t byte[3]
		    /* every store writes one word of its line with this value; word = value % 8 */
		    [16];
	unsigned int cnt[3], flushed[3], durable[3];
};

static unsigned int naive_count(const struct naive *n)
{
	unsigned int product = 1;

	for (int i = 0; i < 3; i++) {
		uint8_t seen[17][8];
		unsigned int distinct = 0;

		for (unsigned int k = n->durable[i]; k <= n->cnt[i]; k++) {
			uint8_t w[8] = {0};
			bool known = false;

			for (unsigned int j = 0; j < k; j++)
				w[n->byte[i][j] % 8] = n->byte[i][j];
			for (unsigned int d = 0; d < distinct; d++)
				known |= !memcmp(seen[d], w, 8);
			if (!known)
				memcpy(seen[distinct++], w, 8);
		}
		product *= distinct;
	}
	return product;
}

static void naive_model_agrees(void)
{
	for (int round = 0; round < 60; round++) {
		struct set *s = set_new(SIM_MEDIA_LINE);
		struct naive n = {0};

		for (int step = 0; step < 30; step++) {
			unsigned int i = (unsigned int)t_rand_below(3),
				     dice = (unsigned int)t_rand_below(6);

			if (dice < 3 && n.cnt[i] < 12) {
				uint8_t v = (uint8_t)(1 + t_rand_below(200));

				feed(s, EV_STORE, i * 64 + v % 8 * 8, 8, v);
				n.byte[i][n.cnt[i]++] = v;
			} else if (dice < 5) {
				feed(s, EV_FLUSH, i * 64, 64, 0);
				n.flushed[i] = n.cnt[i];
			} else {
				feed(s, EV_FENCE, 0, 0, 0);
				memcpy(n.durable, n.flushed, sizeof(n.durable));
			}
		}
		if (naive_count(&n) < 1000)
			T_EQ(count(s, LEGAL_NONE, NULL), naive_count(&n));
		set_free(s);
	}
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(lines_are_independent_and_prefixes),
		T_CASE(flush_alone_promises_nothing),
		T_CASE(fence_alone_promises_nothing),
		T_CASE(a_death_takes_its_flushes_along),
		T_CASE(stores_tear_at_words),
		T_CASE(stores_past_the_cache_have_no_order),
		T_CASE(pages_are_moments_or_torn),
		T_CASE(writes_tear_at_sectors),
		T_CASE(write_covers_what_was_cached_beneath),
		T_CASE(growth_may_be_cut_short),
		T_CASE(hash_tells_images_apart),
		T_CASE(naive_model_agrees),
		T_END,
	};

	return t_main("crash.legal", cases, argc, argv);
}
