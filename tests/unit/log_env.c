/* SPDX-License-Identifier: MIT
 * log_env.c -- see log_env.h
 */
#include "log_env.h"

/* --- records --- */

static uint8_t body_byte(uint64_t n, size_t i)
{
	return (uint8_t)((n * 0x9E3779B97F4A7C15ULL + i * 0xC2B2AE3D27D4EB4FULL) >> 56);
}

void body_make(uint8_t *buf, uint64_t n, size_t len)
{
	uint64_t head[2] = {n, len};

	for (size_t i = 0; i < len; i++)
		buf[i] = body_byte(n, i);
	memcpy(buf, head, sizeof(head));
}

bool body_is(const uint8_t *buf, uint64_t n, size_t len)
{
	uint64_t head[2];

	memcpy(head, buf, sizeof(head));
	if (head[0] != n || head[1] != len)
		return false;
	for (size_t i = sizeof(head); i < len; i++)
		if (buf[i] != body_byte(n, i))
			return false;
	return true;
}

static uint64_t rec_number(const void *rec)
{
	uint64_t n;

	memcpy(&n, rec, sizeof(n));
	return n;
}

int seen_apply(void *ctx, uint64_t lsn, const void *rec, size_t len, bool restart)
{
	struct seen *s = ctx;
	uint64_t n = rec_number(rec);

	(void)lsn;
	if (s->fail_apply && n == s->fail_at)
		return s->fail_apply;
	if (!s->applied)
		s->first = s->next = n;
	s->bad |= n != s->next || !body_is(rec, n, len);
	s->unhardened |= !s->flushed || s->last_flushed != n;
	s->next = n + 1;
	s->applied++;
	s->restart = restart;
	return 0;
}

int seen_flush(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct seen *s = ctx;

	(void)lsn;
	s->bad |= !body_is(rec, rec_number(rec), len);
	s->last_flushed = rec_number(rec);
	s->flushed++;
	return 0;
}

int seen_whole(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct seen *s = ctx;

	(void)lsn;
	s->bad |= !body_is(rec, rec_number(rec), len);
	s->asked++;
	return !s->blocks_lost;
}

int walk_count(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	struct seen *s = ctx;

	(void)lsn;
	s->bad |= !body_is(rec, rec_number(rec), len);
	s->walked++;
	return 0;
}

static void set_medium(bool cl)
{
	if (cl)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
}

int env_open_store(struct env *e, uint32_t flags)
{
	struct twz_store_options opt = {.size = sizeof(opt), .flags = flags, .backend = e->backend};

	set_medium(e->cl);
	return twz_store_open(e->path, &opt, &e->s);
}

int env_open_log(struct env *e, int *restart)
{
	memset(&e->seen, 0, sizeof(e->seen));
	e->user = (struct twz_log_user){1, &e->seen, seen_apply, seen_flush, seen_whole};
	return twz_log_open(e->s, e->id, &e->user, &e->l, restart);
}

const char *env_path(bool cl, const char *name)
{
	return t_path(cl ? t_shm_dir() : t_dir(), name);
}

bool env_new(struct env *e, bool cl, uint64_t ring_len, const void *backend)
{
	static int serial;
	char name[32];
	int restart;

	memset(e, 0, sizeof(*e));
	e->cl = cl;
	e->backend = backend;
	snprintf(name, sizeof(name), "log%d.twz", serial++);
	snprintf(e->path, sizeof(e->path), "%s", env_path(cl, name));
	if (T_OK(env_open_store(e, TWZ_STORE_CREATE | TWZ_STORE_EXCL)))
		return false;
	if (T_OK(twz_log_create(e->s, ring_len, &e->id)) || T_OK(env_open_log(e, &restart)))
		return false;
	T_EQ(restart, 1);
	return !T_OK(twz_log_recover(e->l, true));
}

void env_close(struct env *e)
{
	twz_log_close(e->l);
	T_OK(twz_store_close(e->s));
	e->l = NULL;
	e->s = NULL;
}

void env_end(struct env *e)
{
	env_close(e);
	unlink(e->path);
}

bool env_reopen(struct env *e, bool raw)
{
	int restart = 0;

	if (T_OK(env_open_store(e, 0)) || T_OK(env_open_log(e, &restart)))
		return false;
	T_EQ(restart, 1);
	return raw || !T_OK(twz_log_recover(e->l, true));
}

int append_to(struct env *e, size_t len, uint64_t *lsn)
{
	static uint8_t buf[REC_MAX];
	size_t cut = len / 3;
	struct iovec iov[3] = {{buf, cut}, {NULL, 0}, {buf + cut, len - cut}};
	int err;

	body_make(buf, e->next, len);
	err = twz_log_append(e->l, iov, 3, lsn);
	e->next += !err;
	return err;
}

/* Append the next record and mark it applied. */
int put(struct env *e, size_t len)
{
	uint64_t lsn;
	int err = append_to(e, len, &lsn);

	if (!err)
		twz_log_applied(e->l, lsn);
	return err;
}

uint64_t walked(struct env *e)
{
	e->seen.walked = 0;
	T_OK(twz_log_walk(e->l, walk_count, &e->seen));
	T_TRUE(!e->seen.bad);
	return e->seen.walked;
}

struct twz_log_info info_of(struct env *e)
{
	struct twz_log_info i;

	T_OK(twz_log_info(e->l, &i));
	return i;
}

uint64_t object_count(struct env *e)
{
	struct twz_store_info i = {.size = sizeof(i)};

	T_OK(twz_store_info(e->s, &i));
	return i.obj_cnt;
}

bool copy_image(const char *from, const char *to)
{
	char cmd[1200];

	snprintf(cmd, sizeof(cmd), "cp --sparse=never '%s' '%s'", from, to);
	return T_TRUE(system(cmd) == 0);
}

void poke(struct env *e, uint64_t off, const void *buf, uint64_t len)
{
	struct twz__log_ring *r = &e->l->ring;

	if (r->map)
		memcpy(r->map + off, buf, len);
	else
		T_OK(r->store->media->ops->write_sync(r->store->media, buf, r->file_off + off,
						      len));
}

void peek(struct env *e, uint64_t off, void *buf, uint64_t len)
{
	T_OK(twz__log_read(&e->l->ring, off, buf, len));
}

void flip(struct env *e, uint64_t off, uint8_t bits)
{
	uint8_t b;

	peek(e, off, &b, 1);
	b ^= bits;
	poke(e, off, &b, 1);
}
