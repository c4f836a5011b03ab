/* SPDX-License-Identifier: MIT
 * ycsb_gen.c -- property files, keys and streams as YCSB's CoreWorkload defines them
 *
 * One deviation: streams are made before the clock starts, so a thread cannot know which of the
 * other threads' inserts are acknowledged by then. Of the records inserted in a round it reads
 * only its own; YCSB waits for the others' acknowledgement instead.
 */
#include "ycsb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[] = {
	[Y_READ] = "readproportion",	       [Y_UPDATE] = "updateproportion",
	[Y_INSERT] = "insertproportion",       [Y_SCAN] = "scanproportion",
	[Y_RMW] = "readmodifywriteproportion",
};

/* --- property files --- */

static int set_dist(struct ycsb_props *p, const char *v)
{
	static const char *const names[] = {"uniform", "zipfian", "latest"};

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(v, names[i]))
			continue;
		p->dist = (enum ycsb_dist)i;
		return 0;
	}
	return drv_fail("request distribution '%s' is none of uniform, zipfian, latest", v);
}

/* What is fixed here must be what the file asks for. */
static int check_fixed(const char *name, const char *v)
{
	static const char *const fixed[][2] = {
		{"readallfields", "true"},
		{"writeallfields", "false"},
		{"fieldcount", "10"},
		{"fieldlength", "100"},
		{"insertorder", "hashed"},
		{"minscanlength", "1"},
		{"scanlengthdistribution", "uniform"},
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (!strcmp(name, fixed[i][0]) && strcmp(v, fixed[i][1]))
			return drv_fail("property %s=%s: only %s is built", name, v, fixed[i][1]);
	return 0;
}

static int set_property(struct ycsb_props *p, const char *name, const char *v)
{
	for (int i = 0; i < Y_KINDS; i++) {
		if (strcmp(name, kind_names[i]))
			continue;
		p->proportion[i] = strtod(v, NULL);
		return 0;
	}
	if (!strcmp(name, "requestdistribution"))
		return set_dist(p, v);
	if (strcmp(name, "maxscanlength"))
		return check_fixed(name, v);
	p->scan_max = (uint32_t)strtoul(v, NULL, 10);
	return p->scan_max && p->scan_max <= 255 ? 0 : drv_fail("maxscanlength=%s", v);
}

int ycsb_props_read(const char *path, struct ycsb_props *p)
{
	FILE *f = fopen(path, "r");
	char line[256], *eq;
	double sum = 0;
	int err = 0;

	*p = (struct ycsb_props){.dist = Y_UNIFORM, .scan_max = 100};
	if (!f)
		return drv_fail("%s: %s", path, strerror(errno));
	while (!err && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		eq = strchr(line, '=');
		if (line[0] == '#' || !eq)
			continue;
		*eq = 0;
		err = set_property(p, line, eq + 1);
	}
	fclose(f);
	for (int i = 0; i < Y_KINDS; i++)
		sum += p->proportion[i];
	if (!err && (sum < 0.999 || sum > 1.001))
		err = drv_fail("%s: the proportions add up to %g", path, sum);
	return err;
}

/* --- records --- */

uint8_t ycsb_key(char key[24], uint32_t id)
{
	return (uint8_t)snprintf(key, 24, "user%llu", (unsigned long long)fnv64(id));
}

void ycsb_fields(struct field *f, const char *key, size_t klen, uint32_t id, uint64_t version)
{
	uint64_t word = bench_key_word(key, klen);

	for (uint32_t i = 0; i < FIELD_MAX; i++) {
		bench_filler(&f[i]);
		bench_field(&f[i], word, i, version, id);
	}
}

/* --- streams --- */

struct gen {
	const struct ycsb_props *p;
	/* KINDS is the same in all threads, so all insert equally often and leave no gaps. */
	struct rng rng, kinds;
	struct zipf zipf;
	uint32_t base, added;	      /* records before the round; inserts of this thread */
	uint32_t threads, nr, expect; /* EXPECT: CoreWorkload's guess of new keys */
};

static uint8_t pick_kind(struct gen *g)
{
	double u = rng_double(&g->kinds);
	uint8_t last = Y_READ;

	for (uint8_t i = 0; i < Y_KINDS; i++) {
		if (g->p->proportion[i] <= 0)
			continue;
		last = i;
		if (u < g->p->proportion[i])
			return i;
		u -= g->p->proportion[i];
	}
	return last;
}

/* The first record not yet there, as far as this thread knows. */
static uint32_t limit(const struct gen *g)
{
	return g->added ? g->base + (g->added - 1) * g->threads + g->nr + 1 : g->base;
}

/* Another thread's new record: take our last one before it, or the last old one. */
static uint32_t own(const struct gen *g, uint32_t id)
{
	uint32_t over;

	if (id < g->base)
		return id;
	over = (id - g->base) % g->threads;
	id -= over >= g->nr ? over - g->nr : over + g->threads - g->nr;
	return id >= g->base && id < limit(g) ? id : g->base - 1;
}

static uint32_t pick_id(struct gen *g)
{
	uint64_t max = limit(g), id;

	if (g->p->dist == Y_UNIFORM)
		return (uint32_t)rng_below(&g->rng, g->base);
	if (g->p->dist == Y_LATEST) {
		zipf_grow(&g->zipf, max);
		id = zipf_next(&g->zipf, &g->rng);
		return own(g, (uint32_t)(max - 1 - (id < max ? id : 0)));
	}
	do
		id = zipf_next_scrambled(&g->zipf, &g->rng, g->base + g->expect);
	while (id >= max);
	return own(g, (uint32_t)id);
}

static void make_op(struct gen *g, struct ycsb_op *op)
{
	op->kind = pick_kind(g);
	op->field = (uint8_t)rng_below(&g->rng, FIELD_MAX);
	op->scan_len = (uint8_t)(1 + rng_below(&g->rng, g->p->scan_max));
	if (op->kind == Y_INSERT)
		op->id = g->base + g->added++ * g->threads + g->nr;
	else
		op->id = pick_id(g);
	op->klen = ycsb_key(op->key, op->id);
}

void ycsb_generate(const struct ycsb_props *p, uint64_t seed, int threads, uint32_t cnt,
		   uint32_t *records, struct ycsb_stream *streams)
{
	uint32_t added = 0;

	for (int t = 0; t < threads; t++) {
		struct gen g = {.p = p,
				.rng = {seed * 1000003 + (uint64_t)t},
				.kinds = {seed * 999983},
				.base = *records,
				.threads = (uint32_t)threads,
				.nr = (uint32_t)t};

		g.expect = (uint32_t)(cnt * (uint32_t)threads * p->proportion[Y_INSERT] * 2);
		if (p->dist == Y_LATEST)
			zipf_init(&g.zipf, *records);
		else
			zipf_init_scrambled(&g.zipf);
		for (uint32_t i = 0; i < cnt; i++)
			make_op(&g, &streams[t].ops[i]);
		streams[t].cnt = cnt;
		streams[t].seed = seed;
		added = g.added;
	}
	*records += added * (uint32_t)threads;
}
