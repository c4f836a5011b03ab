/* SPDX-License-Identifier: MIT
 * ptr.c -- twzbench ptr: nanoseconds a persistent pointer adds to a dependent chain of dereferences
 *
 * Paper, "pointer resolution": intra 0.4, cached 3.2, uncached 27.9 ns. See README.md for what each
 * row measures.
 */
#include "ptr_chain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "twz/twz.h"

#define NODES_LEN (NODE_CNT * sizeof(struct node))
#define WALKS_MAX 32

static struct twz_store *store;
static struct twz_obj *objs[OBJ_CNT], *hub_obj, *self_obj;
static const struct twz_slot *hub_slot;
static char *bases[OBJ_CNT], *hub, *self;
static double added[WALKS_MAX][2];

int bench_failed(const char *what)
{
	fprintf(stderr, "twzbench: %s: %s\n", what, twz_errmsg());
	return 1;
}

static inline twz_pptr pptr(const struct node *n)
{
	return (twz_pptr){n->pptr};
}

CHAIN_WALK(walk_raw, p->raw)
CHAIN_WALK(walk_intra, (struct node *)twz_lea_intra(p, pptr(p)))
CHAIN_WALK(walk_lea, (struct node *)twz_lea(p, pptr(p)))
HUB_WALK(hub_raw, p->raw)
HUB_WALK(hub_lea, (struct node *)twz_lea(p, pptr(p)))
HUB_WALK(hub_tab, (struct node *)twz_lea_tab(hub_slot, pptr(p)))

static int point(struct node *n, struct node *to)
{
	n->raw = to;
	return twz_ptr_store((twz_pptr *)&n->pptr, to, TWZ_READ | TWZ_WRITE);
}

static int link_chain(struct chain *c, int obj_cnt, bool alternate)
{
	int err = 0;

	chain_place(c->at, NODE_CNT, bases, obj_cnt);
	chain_shuffle(c->at, NODE_CNT, alternate);
	for (int i = 0; i < NODE_CNT && !err; i++)
		err = point(c->at[i], c->at[(i + 1) % NODE_CNT]);
	return err;
}

/* All in one object that has a FOT entry, 1, for itself: every pointer is a cross-object one. */
static int link_self(struct chain *c)
{
	chain_place(c->at, NODE_CNT, &self, 1);
	chain_shuffle(c->at, NODE_CNT, false);
	for (int i = 0; i < NODE_CNT; i++) {
		struct node *to = c->at[(i + 1) % NODE_CNT];

		c->at[i]->raw = to;
		c->at[i]->pptr = twz_pptr_make(1, (uintptr_t)to & TWZ_SLOT_MASK).v;
	}
	return 0;
}

static int link_hub(struct chain *c, int obj_cnt)
{
	int half = NODE_CNT / 2, err = 0;

	chain_place(c->at, (size_t)half, &hub, 1);
	chain_place(c->at + half, (size_t)half, bases, obj_cnt);
	chain_shuffle(c->at, (size_t)half, false);
	chain_shuffle(c->at + half, (size_t)half, obj_cnt > 1);
	for (int i = 0; i < half && !err; i++) {
		err = point(c->at[i], c->at[half + i]);
		c->at[half + i]->raw = c->at[(i + 1) % half];
	}
	return err;
}

static int link_intra(struct chain *c)
{
	return link_chain(c, 1, false);
}
static int link_mesh(struct chain *c)
{
	return link_chain(c, OBJ_CNT, true);
}
static int link_mixed(struct chain *c)
{
	return link_chain(c, OBJ_CNT, false);
}
static int link_hub1(struct chain *c)
{
	return link_hub(c, 1);
}
static int link_hub8(struct chain *c)
{
	return link_hub(c, OBJ_CNT);
}

enum {
	RAW,
	INTRA,
	LEA,
	SELF_RAW,
	SELF,
	HUB_RAW,
	HUB1,
	TAB1,
	MESH_RAW,
	MESH,
	HUB8_RAW,
	HUB8,
	TAB8,
	MIXED_RAW,
	MIXED,
	TWZ_WALKS
};

static struct walk walks[WALKS_MAX] = {
	[RAW] = {"twz.raw", "raw pointers, one object", link_intra, walk_raw, NODE_CNT, RAW},
	[INTRA] = {"twz.intra", "twz_lea_intra (typed form), intra-object", link_intra, walk_intra,
		   NODE_CNT, RAW, 0.4},
	[LEA] = {"twz.lea", "twz_lea (general form), intra-object", link_intra, walk_lea, NODE_CNT,
		 RAW, 0.6},
	[SELF_RAW] = {"twz.one.raw", "raw pointers, one target", link_self, walk_raw, NODE_CNT,
		      SELF_RAW},
	[SELF] = {"twz.one", "twz_lea, cross-object cached, one target, pure chain", link_self,
		  walk_lea, NODE_CNT, SELF_RAW, 1.0},
	[HUB_RAW] = {"twz.hub.raw", "raw pointers, from one object to another", link_hub1, hub_raw,
		     NODE_CNT / 2, HUB_RAW},
	[HUB1] = {"twz.hub1", "twz_lea, cross-object cached, one target, from another object",
		  link_hub1, hub_lea, NODE_CNT / 2, HUB_RAW, 1.0},
	[TAB1] = {"twz.tab1", "twz_lea_tab, the same", link_hub1, hub_tab, NODE_CNT / 2, HUB_RAW},
	[MESH_RAW] = {"twz.mesh.raw", "raw pointers, chain through 8 objects", link_mesh, walk_raw,
		      NODE_CNT, MESH_RAW},
	[MESH] = {"twz.mesh8", "twz_lea, cached, chain through 8 objects at random", link_mesh,
		  walk_lea, NODE_CNT, MESH_RAW, 3.2},
	[HUB8_RAW] = {"twz.hub8.raw", "raw pointers, from one object to 8", link_hub8, hub_raw,
		      NODE_CNT / 2, HUB8_RAW},
	[HUB8] = {"twz.hub8", "twz_lea, cached, from one object to 8 at random", link_hub8, hub_lea,
		  NODE_CNT / 2, HUB8_RAW, 3.2},
	[TAB8] = {"twz.tab8", "twz_lea_tab, the same", link_hub8, hub_tab, NODE_CNT / 2, HUB8_RAW},
	[MIXED_RAW] = {"twz.mixed.raw", "raw pointers, 8 objects, 1 in 8 intra-object", link_mixed,
		       walk_raw, NODE_CNT, MIXED_RAW},
	[MIXED] = {"twz.mixed", "twz_lea, the same (intra or cross is mispredicted)", link_mixed,
		   walk_lea, NODE_CNT, MIXED_RAW},
};

static int make_object(struct twz_obj **o, char **base)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = NODES_LEN};
	int err = twz_obj_create(store, &opt, NULL, o);

	if (!err)
		*base = twz_obj_data(*o);
	return err;
}

static int make_objects(void)
{
	int err = make_object(&hub_obj, &hub);

	for (int i = 0; i < OBJ_CNT && !err; i++)
		err = make_object(&objs[i], &bases[i]);
	if (!err)
		err = make_object(&self_obj, &self);
	if (err)
		return err;
	hub_slot = twz_slot_of(hub);
	return twz_fot_set(self_obj, 1, twz_obj_id(self_obj), TWZ_READ | TWZ_WRITE);
}

/* --- report --- */

static double median_of(const char *key, int cnt)
{
	for (int i = 0; i < cnt; i++)
		if (!strcmp(walks[i].key, key))
			return added[i][0];
	return 0;
}

static void report_walks(int first, int end)
{
	for (int i = first; i < end; i++) {
		if (walks[i].raw == i)
			report_row(walks[i].key, walks[i].what, added[i][0], "ns", 0);
		else
			report_row(walks[i].key, walks[i].what, added[i][0], "ns added",
				   walks[i].bar);
	}
}

/* Our alternating figures against pmemobj_direct's in the same shape and the same run. */
static void compare(int cnt)
{
	static const char *const pairs[][3] = {
		{"twz.mesh8", "pmemobj.mesh8", "chain through 8: twz_lea below pmemobj_direct"},
		{"twz.hub8", "pmemobj.hub8", "from one to 8: twz_lea below pmemobj_direct"},
	};
	char key[64];

	report_section("Alternating at random between 8 targets, against libpmemobj");
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		double ours = median_of(pairs[i][0], cnt), theirs = median_of(pairs[i][1], cnt);

		snprintf(key, sizeof(key), "%s.vs", pairs[i][0]);
		report_claim(key, pairs[i][2], ours, "ns added", theirs, ours < theirs);
	}
}

static void medians(int cnt, int rounds)
{
	for (int i = 0; i < cnt; i++)
		added[i][0] = bench_median(walks[i].added, (size_t)rounds);
}

static int bench_chains(const struct bench_opt *opt)
{
	int cnt = TWZ_WALKS, err;

#ifdef HAVE_PMEMOBJ
	int more = pmemobj_walks(opt->dir, walks + TWZ_WALKS, TWZ_WALKS, WALKS_MAX - TWZ_WALKS);

	if (more < 0)
		return 1;
	cnt += more;
#endif
	for (int i = 0; i < cnt; i++) {
		walks[i].added = calloc((size_t)opt->rounds, sizeof(double));
		if (!walks[i].added)
			return bench_failed("no memory");
	}
	err = walk_all(walks, cnt, opt->rounds);
	if (err)
		return bench_failed("linking a chain");
	medians(cnt, opt->rounds);
	report_section("Dependent chains of %d nodes in the first-level cache; medians; "
		       "\"added\": over raw pointers in the same round",
		       NODE_CNT);
	report_walks(0, TWZ_WALKS);
	if (cnt == TWZ_WALKS) {
		report_section("libpmemobj is not installed: nothing to compare with");
		return 0;
	}
	report_section("libpmemobj, the same chains");
	report_walks(TWZ_WALKS, cnt);
	compare(cnt);
	return 0;
}

static const char *granularity_name(int g)
{
	return g == TWZ_GRAN_PAGE   ? "page granularity"
	       : g == TWZ_GRAN_BYTE ? "byte granularity"
				    : "cache-line granularity";
}

#define ROUNDS 2000

int bench_ptr(const struct bench_opt *given)
{
	struct bench_opt with_rounds = *given;
	const struct bench_opt *opt = &with_rounds;
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = TWZ_STORE_CREATE | TWZ_STORE_EXCL};
	char path[300], lock[320];
	int rc;

	if (!with_rounds.rounds)
		with_rounds.rounds = ROUNDS;
	snprintf(path, sizeof(path), "%s/twzbench-%d.twz", opt->dir, (int)getpid());
	snprintf(lock, sizeof(lock), "%s-lock", path);
	if (twz_store_open(path, &so, &store))
		return bench_failed(path);
	report_begin(opt, "twzbench ptr: what a persistent pointer adds to a raw one",
		     granularity_name(twz_store_granularity(store)));
	rc = make_objects() ? bench_failed("objects") : bench_chains(opt);
	if (!rc)
		rc = bench_first_use(store, opt->rounds);
	if (!rc)
		rc = bench_first_touch(store, path);
	twz_store_close(store);
	unlink(path);
	unlink(lock);
#ifdef HAVE_PMEMOBJ
	pmemobj_done();
#endif
	return rc ? rc : report_end();
}
