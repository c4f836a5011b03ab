/* SPDX-License-Identifier: MIT
 * engine_group.h -- databases for transactions over several of them: in one store, or each in its own
 */
#ifndef TWZ_ENGINE_GROUP_H
#define TWZ_ENGINE_GROUP_H

#include "../../engine/src/group.h"
#include "engine_t.h"

#include <unistd.h>

#define DBS 3

/* Databases of a test: in one store, or each in its own. */
struct scene {
	enum et_media m;
	bool apart;
	char path[DBS][256];
	const char *name[DBS];
	struct twzdb *db[DBS];
};

static struct scene sc;

static int open_one(struct scene *s, unsigned i)
{
	struct twzdb_options o = {
		.size = sizeof(o), .flags = TWZDB_CREATE, .name = s->name[i], .log_len = 256 << 10};

	t_err_name = twzdb_err_name;
	t_err_msg = twzdb_errmsg;
	return twzdb_open(s->path[i], &o, &s->db[i]);
}

static int open_all(struct scene *s)
{
	int err = 0;

	for (unsigned i = 0; i < DBS && !err; i++)
		err = open_one(s, i);
	return err;
}

static int close_all(struct scene *s)
{
	int err = 0, ret;

	for (unsigned i = 0; i < DBS; i++) {
		ret = twzdb_close(s->db[i]);
		s->db[i] = NULL;
		err = err ? err : ret;
	}
	return err;
}

/* By ascending ID, so that db[0] is the coordinator of groups it is in. */
static int scene_open(enum et_media m, bool apart)
{
	static const char *const names[] = {"one", "two", "three"};
	int err;

	memset(&sc, 0, sizeof(sc));
	sc.m = m;
	sc.apart = apart;
	for (unsigned i = 0; i < DBS; i++) {
		char file[32];

		snprintf(file, sizeof(file), "g%u.twz", apart ? i : 0);
		snprintf(sc.path[i], sizeof(sc.path[i]), "%s", et_path(m, file));
		sc.name[i] = names[i];
		unlink(sc.path[i]);
	}
	err = open_all(&sc);
	for (unsigned i = 0; i < DBS && !err; i++)
		for (unsigned k = 0; k < i; k++)
			if (memcmp(sc.db[i]->id, sc.db[k]->id, 16) < 0) {
				struct twzdb *d = sc.db[i];
				const char *n = sc.name[i];
				char p[256];

				memcpy(p, sc.path[i], sizeof(p));
				memcpy(sc.path[i], sc.path[k], sizeof(p));
				memcpy(sc.path[k], p, sizeof(p));
				sc.db[i] = sc.db[k];
				sc.db[k] = d;
				sc.name[i] = sc.name[k];
				sc.name[k] = n;
			}
	return err;
}

static void scene_close(void)
{
	T_OK(close_all(&sc));
	for (unsigned i = 0; i < DBS; i++)
		unlink(sc.path[i]);
}

static int put_row(struct twzdb_txn *tx, uint64_t k, size_t len)
{
	struct twzdb_table t;
	int err = twzdb_table_open(tx, "t", TWZDB_TABLE_CREATE, &t);

	return err ? err : twzdb_put(tx, t, et_key(k), et_val(k, len), 0);
}

static void all_clean(void)
{
	for (unsigned i = 0; i < DBS; i++)
		T_TRUE(et_clean(sc.db[i]));
}

#endif
