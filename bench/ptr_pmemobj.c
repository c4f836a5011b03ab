/* SPDX-License-Identifier: MIT
 * ptr_pmemobj.c -- the chains of ptr_chain.h in libpmemobj pools: pmemobj_direct in one pool, and
 * alternating between eight
 */
#include "ptr_chain.h"

#include <libpmemobj.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_LEN (NODE_CNT * sizeof(struct node))

static PMEMobjpool *pools[OBJ_CNT];
static char paths[OBJ_CNT][256];
static char *bases[OBJ_CNT], *hub;

/*
 * By two scalars: gcc 12 would move the pair through the stack in a vector register, which costs
 * pmemobj 1.6 ns that are not its own.
 */
static inline struct node *direct(const struct node *n)
{
	uint64_t pool = n->oid[0], off = n->oid[1];

	KEEP(pool);
	KEEP(off);
	return pmemobj_direct((PMEMoid){pool, off});
}

CHAIN_WALK(walk_raw, p->raw)
CHAIN_WALK(walk_direct, direct(p))
HUB_WALK(hub_raw, p->raw)
HUB_WALK(hub_direct, direct(p))

static void point(struct node *n, struct node *to)
{
	PMEMoid oid = pmemobj_oid(to);

	n->raw = to;
	n->oid[0] = oid.pool_uuid_lo;
	n->oid[1] = oid.off;
}

static int link_chain(struct chain *c, int obj_cnt)
{
	chain_place(c->at, NODE_CNT, bases, obj_cnt);
	chain_shuffle(c->at, NODE_CNT, obj_cnt > 1);
	for (int i = 0; i < NODE_CNT; i++)
		point(c->at[i], c->at[(i + 1) % NODE_CNT]);
	return 0;
}

static int link_hub(struct chain *c, int obj_cnt)
{
	int half = NODE_CNT / 2;

	chain_place(c->at, half, &hub, 1);
	chain_place(c->at + half, half, bases, obj_cnt);
	chain_shuffle(c->at, half, false);
	chain_shuffle(c->at + half, half, obj_cnt > 1);
	for (int i = 0; i < half; i++) {
		point(c->at[i], c->at[half + i]);
		c->at[half + i]->raw = c->at[(i + 1) % half];
	}
	return 0;
}

static int link_chain1(struct chain *c)
{
	return link_chain(c, 1);
}
static int link_chain8(struct chain *c)
{
	return link_chain(c, OBJ_CNT);
}
static int link_hub1(struct chain *c)
{
	return link_hub(c, 1);
}
static int link_hub8(struct chain *c)
{
	return link_hub(c, OBJ_CNT);
}

/* Memory for the nodes of pool I, a page for each pool, so that they do not share cache sets. */
static char *room(int i, size_t len)
{
	PMEMoid oid;

	if (pmemobj_alloc(pools[i], &oid, len + 4096, 1, NULL, NULL))
		return NULL;
	return (char *)(((uintptr_t)pmemobj_direct(oid) + 4095) & ~(uintptr_t)4095);
}

static int open_pools(const char *dir)
{
	for (int i = 0; i < OBJ_CNT; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/twzbench-%d-%d.pmemobj", dir,
			 (int)getpid(), i);
		pools[i] = pmemobj_create(paths[i], "twzbench", PMEMOBJ_MIN_POOL, 0600);
		if (!pools[i])
			goto failed;
		bases[i] = room(i, NODES_LEN);
		if (!bases[i])
			goto failed;
	}
	hub = room(OBJ_CNT - 1, NODES_LEN);
	if (hub)
		return 0;
failed:
	fprintf(stderr, "twzbench: libpmemobj: %s\n", pmemobj_errormsg());
	return -1;
}

int pmemobj_walks(const char *dir, struct walk *w, int first, int room_cnt)
{
	const struct walk add[] = {
		{"pmemobj.raw", "raw pointers, one pool", link_chain1, walk_raw, NODE_CNT, 0},
		{"pmemobj.one", "pmemobj_direct, one pool", link_chain1, walk_direct, NODE_CNT, 0},
		{"pmemobj.raw8", "raw pointers, 8 pools", link_chain8, walk_raw, NODE_CNT, 2},
		{"pmemobj.mesh8", "pmemobj_direct, chain through 8 pools at random", link_chain8,
		 walk_direct, NODE_CNT, 2},
		{"pmemobj.hub.raw", "raw pointers, from one pool to another", link_hub1, hub_raw,
		 NODE_CNT / 2, 4},
		{"pmemobj.hub1", "pmemobj_direct, from one pool to another", link_hub1, hub_direct,
		 NODE_CNT / 2, 4},
		{"pmemobj.hub.raw8", "raw pointers, from one pool to 8", link_hub8, hub_raw,
		 NODE_CNT / 2, 6},
		{"pmemobj.hub8", "pmemobj_direct, from one pool to 8 at random", link_hub8,
		 hub_direct, NODE_CNT / 2, 6},
	};
	int cnt = (int)(sizeof(add) / sizeof(add[0]));

	if (cnt > room_cnt || open_pools(dir))
		return -1;
	for (int i = 0; i < cnt; i++) {
		w[i] = add[i];
		w[i].raw += first;
	}
	return cnt;
}

void pmemobj_done(void)
{
	for (int i = 0; i < OBJ_CNT; i++) {
		if (pools[i])
			pmemobj_close(pools[i]);
		if (paths[i][0])
			unlink(paths[i]);
	}
}
