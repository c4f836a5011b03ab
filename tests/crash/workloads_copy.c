/* SPDX-License-Identifier: MIT
 * workloads_copy.c -- a copy of a store in use, and a store that gets another name: two stores, and a directory (sim.h)
 *
 * Under its name the copy is whole, or there is none; what lies under the name it has until then is nobody's.
 */
#include "workloads.h"

#include <string.h>

#include "twzdb.h"

static const char *second(const struct crash *c, const char *end)
{
	static char path[2][300];
	static int i;

	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s%s%s", c->path, SIM_SECOND, end);
	return path[i];
}

/* --- twzdb_backup() --- */

/*
 * It opens its source as any other program does, without a back end of its own; so does the workload, since handles of one
 * store with different back ends are no relatives.
 */
static const struct twz__backend *usual;

int __real_twz_store_open(const char *path, const struct twz_store_options *opt,
			  struct twz_store **out);
int __wrap_twz_store_open(const char *path, const struct twz_store_options *opt,
			  struct twz_store **out);
int __wrap_twz_store_open(const char *path, const struct twz_store_options *opt,
			  struct twz_store **out)
{
	struct twz_store_options o;

	if (!usual || !opt || opt->backend)
		return __real_twz_store_open(path, opt, out);
	o = *opt;
	o.backend = usual;
	return __real_twz_store_open(path, &o, out);
}

static int copy_open(struct crash *c)
{
	int rc;

	usual = c->backend;
	c->backend = NULL;
	rc = db_open(c);
	c->backend = usual;
	return rc;
}

static int copy_close(struct crash *c)
{
	int rc = db_close(c);

	usual = NULL;
	return rc;
}

static int backup(struct crash *c)
{
	struct twz_store_options so = {.size = sizeof(so),
				       .flags = TWZ_STORE_CREATE,
				       .initial_len = TWZ_KIND_LEN,
				       .journal_len = 16 << 10};
	struct twzdb_backup_options opt = {.size = sizeof(opt), .store_options = &so};

	return twzdb_backup(c->path, second(c, ""), &opt);
}

static int setup_backup(struct crash *c)
{
	CRASH_DO(c, db_rows(c, "t", 0, 20, 2, 30, 1));
	CRASH_DO(c, db_rows(c, "u", 0, 3, 2, 700, 1));
	return 0;
}

static int run_backup(struct crash *c)
{
	CRASH_OP(c, db_rows(c, "t", 3, 2, 2, 40, 5));
	CRASH_OP(c, backup(c));
	CRASH_OP(c, db_rows(c, "t", 4, 2, 2, 50, 6));
	return 0;
}

static int show_copy(struct crash *c)
{
	struct crash copy;
	struct twz_store_options so = {.size = sizeof(so), .backend = c->backend};
	struct twzdb_options opt = {.size = sizeof(opt), .store_options = &so};
	struct twzdb *db = NULL;
	int rc = db_show(c);

	if (rc)
		return rc;
	rc = twzdb_open(second(c, ""), &opt, &db);
	if (rc == TWZ_E_NOENT || rc == TWZDB_E_NOTFOUND) {
		crash_say(c, "no copy\n");
		return 0;
	}
	CRASH_DO(c, rc);
	copy = *c;
	copy.db = db;
	copy.store = twzdb_store(db);
	crash_say(&copy, "copy: ");
	rc = db_check(&copy) ? -1 : db_show(&copy);
	c->text = copy.text;
	c->text_len = copy.text_len;
	c->text_cap = copy.text_cap;
	if (rc)
		memcpy(c->why, copy.why, sizeof(c->why));
	CRASH_DO(c, twzdb_close(db));
	return rc;
}

static const struct crash_kind copy_kind = {copy_open, db_check, copy_close, db_probe,
					    db_inside, false,	 db_settle};

const struct crash_workload wl_db_backup = {
	.name = "engine.backup",
	.what = "a copy of a store in use",
	.media = CRASH_ALL,
	.share = 10,
	.pair = true,
	.plain = true, /* a name others saw is durable when the call returns */
	.kind = &copy_kind,
	.setup = setup_backup,
	.run = run_backup,
	.show = show_copy};

/* --- twz_store_move() --- */

static int open_second(struct crash *c, const char *end, uint32_t flags, struct twz_store **out)
{
	struct twz_store_options opt = {.size = sizeof(opt),
					.flags = flags,
					.initial_len = TWZ_KIND_LEN,
					.journal_len = 16 << 10,
					.backend = c->backend};

	return twz_store_open(second(c, end), &opt, out);
}

static int setup_move(struct crash *c)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 4096, .id = wl_id(1)};
	struct twz_store *s;
	struct twz_obj *o;
	uint64_t *w;

	CRASH_DO(c, open_second(c, SIM_PART, TWZ_STORE_CREATE, &s));
	CRASH_DO(c, twz_obj_create(s, &opt, NULL, &o));
	w = twz_obj_data(o);
	for (uint64_t i = 0; i < opt.len / sizeof(*w); i++)
		w[i] = i * 0x9e3779b97f4a7c15;
	CRASH_DO(c, twz_sync(s, w, opt.len));
	twz_obj_close(o);
	CRASH_DO(c, twz_store_close(s));
	return 0;
}

static int run_move(struct crash *c)
{
	CRASH_OP(c, twz_store_move(second(c, SIM_PART), second(c, "")));
	return 0;
}

/* The store that is moved: checked, its object with the contents. */
static int show_moved(struct crash *c, struct twz_store *s)
{
	struct crash moved = *c;
	struct twz_obj_stat st = {.size = sizeof(st)};
	struct twz_obj *o;

	moved.store = s;
	if (twz_kind_check(&moved))
		return crash_why(c, "of the store that is moved: %.900s", moved.why);
	CRASH_DO(c, twz_obj_stat_id(s, wl_id(1), &st));
	CRASH_DO(c, twz_obj_open(s, wl_id(1), TWZ_READ, &o));
	crash_say(c, "%llu bytes, %llx\n", (unsigned long long)st.len,
		  (unsigned long long)wl_sum(twz_obj_data(o), st.len));
	twz_obj_close(o);
	return 0;
}

static int show_move(struct crash *c)
{
	static const char *const end[] = {"", SIM_PART};

	for (int i = 0; i < 2; i++) {
		struct twz_store *s;
		int rc = open_second(c, end[i], 0, &s);

		if (rc == TWZ_E_NOENT)
			continue;
		CRASH_DO(c, rc);
		crash_say(c, "under '%s': ", end[i]);
		rc = show_moved(c, s);
		CRASH_DO(c, twz_store_close(s));
		if (rc)
			return rc;
	}
	return 0;
}

static const struct crash_kind move_kind = {twz_kind_open, twz_kind_check, twz_kind_close,
					    twz_kind_probe};

const struct crash_workload wl_move = {
	.name = "core.move",
	.what = "a store gets another name",
	.media = CRASH_ALL,
	.share = 10,
	.pair = true,
	.plain = true, /* a name others saw is durable when the call returns */
	.kind = &move_kind,
	.setup = setup_move,
	.run = run_move,
	.show = show_move};
