/* SPDX-License-Identifier: MIT
 * test_dump.c -- twz_dump: a store with every kind of object, line by line; damaged stores
 */
#include "rt_env.h"

#include "format.h"

#include <sys/uio.h>
#include <xxhash.h>

#define TARGET "05000000000000000600000000000000"

static char *dump(struct twz_store *s, uint32_t flags)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	T_OK(twz_dump(s, flags, f));
	fclose(f);
	return text;
}

/* --- a store with one of everything --- */

struct scene {
	struct twz_store *s;
	struct twz_obj *o; /* FOT and arena */
	struct twz_log *log;
};

static int no_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	(void)ctx, (void)lsn, (void)rec, (void)len, (void)restart;
	return 0;
}

static int no_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	(void)ctx, (void)lsn, (void)rec, (void)len;
	return 0;
}

static const struct twz_log_user no_user = {.version = 1, .apply = no_apply, .flush = no_flush};

/* Two short records and one that is too long for its ring of 64 KiB. */
static bool make_log(struct scene *sc)
{
	static char body[40000];
	struct iovec iov = {body, 100};
	int restart;
	twz_oid id;

	if (T_OK(twz_log_create(sc->s, 64 << 10, &id)) ||
	    T_OK(twz_log_open(sc->s, id, &no_user, &sc->log, &restart)) ||
	    T_OK(twz_log_recover(sc->log, true)))
		return false;
	for (int i = 0; i < 3; i++) {
		uint64_t lsn;

		iov.iov_len = i < 2 ? 100 : sizeof(body);
		if (T_OK(twz_log_append(sc->log, &iov, 1, &lsn)))
			return false;
		twz_log_applied(sc->log, lsn);
	}
	return true;
}

/* Blocks of 100 and 200 bytes, the first freed again. */
static bool make_arena(struct twz_obj *o)
{
	twz_pptr *owner = twz_obj_data(o);

	return !T_OK(twz_arena_create(o, TWZ_DATA_OFF + 64)) &&
	       !T_OK(twz_alloc(o, 100, &owner[0], NULL)) &&
	       !T_OK(twz_alloc(o, 200, &owner[1], NULL)) && !T_OK(twz_free(o, &owner[0]));
}

static bool make_scene(struct scene *sc)
{
	struct twz_obj_options opt = {
		.size = sizeof(opt), .len = 8192, .kind = 3, .id = {{0x11, 0x22}}};

	memset(sc, 0, sizeof(*sc));
	sc->s = env_store(env_path());
	if (!sc->s || T_OK(twz_obj_create(sc->s, &opt, NULL, &sc->o)))
		return false;
	return !T_OK(twz_fot_set_local(sc->o, 1, 42, TWZ_READ)) &&
	       !T_OK(twz_fot_set(sc->o, 2, (twz_oid){{5, 6}}, TWZ_READ | TWZ_WRITE)) &&
	       make_arena(sc->o) && make_log(sc) &&
	       !T_OK(twz_name_set(sc->s, "app/root", (twz_oid){{5, 6}}, 0));
}

static void end_scene(struct scene *sc)
{
	twz_log_close(sc->log);
	twz_obj_close(sc->o);
	if (sc->s)
		env_close(sc->s);
}

/* --- what it says --- */

static void every_structure_is_shown(void)
{
	static const char *const lines[] = {
		"superblock 0\n  uuid ",
		"superblock 1\n  uuid ",
		"  version 0\n  compat 0 ro_compat 0 incompat 0\n  seq ",
		"\nroot\n  pages ",
		"\n  pending 0 00000000000000000000000000000000\n  sum ",
		"\nlayout\n  map pages ",
		"\njournal\n  tail lsn ",
		"\n  record lsn ",
		"\n    item off 8192 len 128\n",
		"\nchunk 0 kind paged refs 0 used ",
		" pages 0-",
		"\nbucket 0 page ",
		" id 11000000000000002200000000000000 state live len 8192 kind 3 flags 0 layout 0 extents 2 ",
		"\n    extent slot page 1 count 2 file page ",
		"\nobject 11000000000000002200000000000000 len 8192 kind 3 flags - extents 2 fot 2 ",
		"\n  extent slot page 262143 count 1 file page ",
		"\n  meta magic 41544d54 version 0 id 11000000000000002200000000000000 sum ",
		"\n  fot 1 local 42 perm 0x1 resolver 0 sum ",
		"\n  fot 2 object " TARGET " perm 0x3 resolver 0 sum ",
		"\n  arena magic 414e455241585754 version 0 compat 0 ro_compat 0 incompat 0 start 260 ",
		" used units 14 blocks 1\n    bin 8 first 316\n",
		"\n    block at 316 size 8 prev_size 0 state free sum ",
		"\n    block at 324 size 14 prev_size 8 state used sum ",
		" state end sum ",
		"\n  txlog magic 474f4c5844555754 version 0 compat 0 ro_compat 0 incompat 0 kind head id ",
		"\n    retired generation ",
		"\n  log magic 474f4c525f5a5754 version 0 compat 0 ro_compat 0 incompat 0x1 ring 65536 id ",
		" kind data len 100 total ",
		" kind spill len 64 total ",
		"\n      body object ",
		" len 40000 sum ",
		"\nnames magic 53454d414e585754 version 0 compat 0 ro_compat 0 incompat 0 bucket_log 6 count 1 ",
		"\n  name app/root id " TARGET " len 8 bucket ",
	};
	struct scene sc;
	char *text;

	if (make_scene(&sc)) {
		text = dump(sc.s, TWZ_DUMP_ALL);
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			T_HAS(text, lines[i]);
		T_TRUE(!strstr(text, "damaged"));
		free(text);
	}
	end_scene(&sc);
}
BOTH(every_structure_is_shown)

/* Looking changes nothing, so two looks see the same. */
static void two_dumps_are_equal(void)
{
	struct scene sc;
	char *a, *b;

	if (make_scene(&sc)) {
		free(dump(sc.s, TWZ_DUMP_ALL));
		a = dump(sc.s, TWZ_DUMP_ALL);
		b = dump(sc.s, TWZ_DUMP_ALL);
		T_STR(a, b);
		free(a);
		free(b);
	}
	end_scene(&sc);
}
BOTH(two_dumps_are_equal)

static void flags_choose_what_is_shown(void)
{
	static const struct {
		uint32_t flag;
		const char *mark;
	} parts[] = {
		{TWZ_DUMP_OBJECTS, "\nobject "},     {TWZ_DUMP_EXTENTS, "\n  extent "},
		{TWZ_DUMP_FOT, "\n  fot 1 "},	     {TWZ_DUMP_JOURNAL, "\njournal\n"},
		{TWZ_DUMP_SPACE, "\nchunk 0 "},	     {TWZ_DUMP_TABLE, "\nbucket 0 "},
		{TWZ_DUMP_TXLOG, "\n  txlog magic"}, {TWZ_DUMP_LOG, "\n  log magic "},
		{TWZ_DUMP_ARENA, "\n  arena magic"}, {TWZ_DUMP_NAMES, "\nnames magic"},
	};
	const size_t n = sizeof(parts) / sizeof(parts[0]);
	struct scene sc;
	char *text;

	for (size_t i = 0; make_scene(&sc) && i < n; i++) {
		text = dump(sc.s, parts[i].flag);
		for (size_t k = 1; k < n; k++) /* any part of objects brings their lines */
			T_EQ(!!strstr(text, parts[k].mark), k == i);
		T_HAS(text, parts[i].mark);
		free(text);
		end_scene(&sc);
	}
	end_scene(&sc);
}
BOTH(flags_choose_what_is_shown)

static void transaction_in_progress_is_shown(void)
{
	struct scene sc;
	struct twz_tx *tx;
	char *text, want[200];
	unsigned char *p;

	if (make_scene(&sc) && !T_OK(twz_tx_begin(sc.s, &tx))) {
		p = twz_obj_data(sc.o);
		T_OK(twz_tx_record(tx, p + 4096, 24));
		T_OK(twz_tx_record(tx, p + 6000, 8));
		text = dump(sc.s, TWZ_DUMP_TXLOG);
		snprintf(
			want, sizeof(want),
			"\n    entry 1 data 11000000000000002200000000000000 off %d len 24 at 4096 ",
			4096 + 4096);
		T_HAS(text, want);
		T_HAS(text, "\n    entry 2 data 11000000000000002200000000000000 off 10096 len 8 ");
		free(text);
		T_OK(twz_tx_commit(tx));
		text = dump(sc.s, TWZ_DUMP_TXLOG);
		T_TRUE(!strstr(text, "\n    entry "));
		free(text);
	}
	end_scene(&sc);
}
BOTH(transaction_in_progress_is_shown)

/* --- damage --- */

static void damage_is_named_and_does_not_end_it(void)
{
	struct scene sc;
	char *text;

	if (make_scene(&sc)) {
		uint32_t *units = (uint32_t *)twz_obj_base(sc.o), old = units[316 * 4];

		units[316 * 4] = 7; /* the size of the arena's first block */
		text = dump(sc.s, TWZ_DUMP_ARENA | TWZ_DUMP_NAMES);
		T_HAS(text, "\n  damaged: ");
		T_HAS(text, "block header does not hold");
		T_HAS(text, "\n  name app/root ");
		free(text);
		units[316 * 4] = old;
	}
	end_scene(&sc);
}
BOTH(damage_is_named_and_does_not_end_it)

/* The entry of the object 0x11, 0x22 in an image, NULL: not there. */
static struct twz_entry_pm *entry_of(struct env_file *f)
{
	const uint64_t id[2] = {0x11, 0x22};

	for (size_t at = 0; at + 4096 <= f->len; at += 4096)
		for (unsigned int i = 0; i < TWZC_BUCKET_ENTRIES; i++) {
			struct twz_entry_pm *e =
				(struct twz_entry_pm *)(f->data + at + TWZC_ENTRY_OFF(i));

			if (!memcmp(f->data + at + 8, "TCKT", 4) && !memcmp(e->id, id, sizeof(id)))
				return e;
		}
	return NULL;
}

/* Checksums hold, but the entry promises pages that its extents do not have. */
static void promised_pages_are_there(void)
{
	struct twz_super_pm *super;
	struct twz_entry_pm *e;
	struct env_file f;
	struct twz_store *s;
	struct twz_obj *o;
	struct scene sc;
	char path[600], *text;

	if (!make_scene(&sc))
		return;
	snprintf(path, sizeof(path), "%s", twz_store_path(sc.s));
	end_scene(&sc);
	f = env_read(path);
	super = (struct twz_super_pm *)f.data;
	e = entry_of(&f);
	if (!T_TRUE(e && e->ext[0].cnt == 2))
		return;
	e->ext[0].cnt = 1;
	e->sum = XXH64(e->id, sizeof(*e) - sizeof(e->sum),
		       (super->uuid[0] ^ super->uuid[1]) + (uint64_t)((uint8_t *)e - f.data));
	env_write(path, &f);
	env_free(&f);
	T_REQ(twz_store_open(path, NULL, &s));
	T_ERR(twz_obj_open(s, (twz_oid){{0x11, 0x22}}, TWZ_READ, &o), TWZ_E_CORRUPT);
	text = dump(s, TWZ_DUMP_ALL);
	T_HAS(text, "\n  damaged: ");
	T_HAS(text, "its extents leave slot page 2 out");
	T_HAS(text, "\n  name app/root ");
	free(text);
	(void)twz_store_close(s);
}
BOTH(promised_pages_are_there)

/* One near bytes that say something: most of the file is zeros. */
static size_t some_byte(const struct env_file *f)
{
	size_t at;

	do
		at = t_rand_below(f->len);
	while (!f->data[at]);
	return t_rand_below(2) ? at : at ^ t_rand_below(32);
}

/* Noise anywhere: it is refused when opened, or it is shown; in no case does the dump crash. */
static void noise_does_no_harm(void)
{
	struct scene sc;
	struct env_file f, g;
	const char *path;
	int opened = 0;

	if (!make_scene(&sc)) {
		end_scene(&sc);
		return;
	}
	path = twz_store_path(sc.s);
	T_OK(twz_sync_all(sc.s));
	f = env_read(path);
	end_scene(&sc);
	path = env_path();
	g = (struct env_file){malloc(f.len), f.len};
	for (int i = 0; i < 100; i++) {
		struct twz_store *s;

		memcpy(g.data, f.data, f.len);
		for (uint64_t n = 1 + t_rand_below(4); n; n--)
			g.data[some_byte(&f)] ^= (unsigned char)(1 + t_rand_below(255));
		env_write(path, &g);
		if (twz_store_open(path, NULL, &s))
			continue;
		opened++;
		free(dump(s, TWZ_DUMP_ALL));
		(void)twz_store_close(s); /* its damage may well be met now */
	}
	T_TRUE(opened > 0);
	env_free(&f);
	env_free(&g);
}
BOTH(noise_does_no_harm)

static const struct t_case cases[] = {
	BOTH_CASES(every_structure_is_shown),
	BOTH_CASES(two_dumps_are_equal),
	BOTH_CASES(flags_choose_what_is_shown),
	BOTH_CASES(transaction_in_progress_is_shown),
	BOTH_CASES(damage_is_named_and_does_not_end_it),
	BOTH_CASES(promised_pages_are_there),
	BOTH_CASES(noise_does_no_harm),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("dump", cases, argc, argv);
}
