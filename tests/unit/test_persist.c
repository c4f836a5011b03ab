/* SPDX-License-Identifier: MIT
 * test_persist.c -- flush, fence, publish and sync do what the medium needs and no more; codes have
 * names and texts; IDs have a text form
 */
#include "rt_env.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "persist_line.h"

static bool line_media(struct twz_store *s)
{
	return twz_store_granularity(s) != TWZ_GRAN_PAGE;
}

static struct twz_persist_stats stats_of(struct twz_store *s)
{
	struct twz_persist_stats st;

	twz_persist_stats(s, &st);
	return st;
}

/* --- what reaches the medium --- */

static void flush_covers_every_line_it_touches(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, 8192, NULL) : NULL;
	static const struct {
		size_t off, len, lines;
	} cases[] = {{0, 0, 0},	 {0, 1, 1},  {63, 1, 1},     {63, 2, 2},
		     {0, 64, 1}, {1, 64, 2}, {10, 4096, 65}, {4095, 2, 2}};

	if (!o)
		return;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct twz_persist_stats a = stats_of(s), b;

		twz_flush(s, (char *)twz_obj_data(o) + cases[i].off, cases[i].len);
		b = stats_of(s);
		T_EQ(b.flushed_lines - a.flushed_lines, line_media(s) ? cases[i].lines : 0);
		T_EQ(b.fences - a.fences, 0);
	}
	twz_obj_close(o);
	env_close(s);
}
BOTH(flush_covers_every_line_it_touches)

static void each_primitive_costs_what_it_says(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, 8192, NULL) : NULL;
	struct twz_persist_stats a, b;
	uint64_t *word, line;

	if (!o)
		return;
	line = line_media(s);
	word = twz_obj_data(o);
	a = stats_of(s);
	twz_publish64(s, word, 0x1122334455667788);
	b = stats_of(s);
	T_EQ(*word, 0x1122334455667788);
	T_TRUE(b.flushed_lines - a.flushed_lines == line && b.fences - a.fences == line);
	T_EQ(b.syncs - a.syncs, 0);
	twz_copy_nt(s, word + 100, "non-temporal", 13);
	a = stats_of(s);
	T_STR((char *)(word + 100), "non-temporal");
	T_EQ(a.nt_bytes - b.nt_bytes, line ? 13 : 0);
	T_EQ(a.fences - b.fences, 0);
	T_OK(twz_sync(s, word, 5000));
	b = stats_of(s);
	T_EQ(b.fences - a.fences, line);
	T_TRUE(b.syncs - a.syncs == !line && b.sync_bytes - a.sync_bytes == (line ? 0 : 5000));
	T_OK(twz_sync(s, word, 0));
	a = stats_of(s);
	T_TRUE(a.syncs == b.syncs && a.fences == b.fences);
	T_OK(twz_sync_all(s));
	b = stats_of(s);
	T_TRUE(b.fences - a.fences == line && b.syncs - a.syncs == !line);
	twz_obj_close(o);
	env_close(s);
}
BOTH(each_primitive_costs_what_it_says)

struct writer {
	const char *path;
	twz_oid id;
};

static int write_and_die(void *arg)
{
	struct writer *w = arg;
	struct twz_store *s;
	struct twz_obj *o;
	char *p;

	if (twz_store_open(w->path, NULL, &s) || twz_obj_open(s, w->id, TWZ_READ | TWZ_WRITE, &o))
		return 1;
	p = twz_obj_data(o);
	strcpy(p, "persisted");
	twz_persist(s, p, 10);
	twz_copy_nt(s, p + 4096, "copied", 7);
	twz_fence(s);
	twz_publish64(s, (uint64_t *)(void *)(p + 8192), 77);
	if (twz_sync_all(s))
		return 2;
	kill(getpid(), SIGKILL);
	return 3;
}

static void what_was_synced_outlives_its_process(void)
{
	struct writer w = {.path = env_path()};
	struct twz_store *s = env_store(w.path);
	struct twz_obj *o = s ? env_obj(s, 12288, &w.id) : NULL;

	if (!o)
		return;
	twz_obj_close(o);
	env_close(s);
	T_TRUE(WIFSIGNALED(t_fork(write_and_die, &w)));
	T_REQ(twz_store_open(w.path, NULL, &s));
	T_REQ(twz_obj_open(s, w.id, TWZ_READ, &o));
	T_STR((char *)twz_obj_data(o), "persisted");
	T_STR((char *)twz_obj_data(o) + 4096, "copied");
	T_EQ(*(uint64_t *)(void *)((char *)twz_obj_data(o) + 8192), 77);
	twz_obj_close(o);
	env_close(s);
}
BOTH(what_was_synced_outlives_its_process)

/* --- the instructions themselves: nothing here can lose a cache, so they are counted --- */

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum step {
	FLUSH,
	FLUSH_EACH,
	FENCE,
	COPY,
	COPY_LINES,
	COPY_LONG,
	FENCE_LINES,
	/* of the medium, for whoever has no better way */
	OPS_FLUSH,
	OPS_FENCE,
	OPS_COPY,
	OPS_SYNC_RANGE,
	OPS_SYNC_ALL
};

/* clwb or what stands for it, sfence, and stores that go past the cache. */
struct counted {
	uint64_t flushes, fences, streams;
};

static void count_one(const uint8_t *at, struct counted *n)
{
	bool p66 = false;

	if (at[0] == 0xc4 || at[0] == 0xc5 || at[0] == 0x62) { /* VEX, EVEX: vmovntdq */
		n->streams += at[at[0] == 0xc5 ? 2 : at[0] == 0xc4 ? 3 : 4] == 0xe7;
		return;
	}
	for (; *at == 0x66 || *at == 0xf2 || *at == 0xf3 || (*at & 0xf0) == 0x40; at++)
		p66 |= *at == 0x66;
	if (at[0] != 0x0f)
		return;
	if (at[1] == 0xae && at[2] == 0xf8)
		n->fences++;
	else if (at[1] == 0xae && at[2] < 0xc0)
		n->flushes += (at[2] >> 3 & 7) == 7 || (p66 && (at[2] >> 3 & 7) == 6);
	else
		n->streams += at[1] == 0xc3 || (p66 && at[1] == 0xe7);
}

static _Alignas(64) char source[2048];

static int traced(const char *path, twz_oid id, enum step step)
{
	struct twz_store *s;
	struct twz_obj *o;
	char *p;

	if (twz_store_open(path, NULL, &s) || twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &o))
		return 1;
	p = twz_obj_data(o);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return 77;
	raise(SIGSTOP);
	switch (step) {
	case FLUSH:
		twz_flush(s, p + 60, 140); /* four lines */
		break;
	case FLUSH_EACH:
		twz_flush_each(s, p, 8, 128, 5);
		break;
	case FENCE:
		twz_fence(s);
		break;
	case COPY:
		twz_copy_nt(s, p, source, 512);
		break;
	case COPY_LINES:
		twz__copy_lines(s, p, source, 512);
		break;
	case COPY_LONG:
		twz__copy_lines(s, p, source, 2048);
		break;
	case FENCE_LINES:
		twz__fence_lines(s);
		break;
	case OPS_FLUSH:
		s->media->ops->flush(s->media, p + 60, 140);
		break;
	case OPS_FENCE:
		s->media->ops->fence(s->media);
		break;
	case OPS_COPY:
		s->media->ops->copy_nt(s->media, p, source, 512);
		break;
	case OPS_SYNC_RANGE:
		return s->media->ops->sync_range(s->media, p + 60, 140) || raise(SIGSTOP);
	case OPS_SYNC_ALL:
		return s->media->ops->sync_all(s->media) || raise(SIGSTOP);
	}
	raise(SIGSTOP);
	return 0;
}

/* Runs a step, an instruction at a time, and says what it is made of. False: that is forbidden here. */
static bool count(const char *path, twz_oid id, enum step step, struct counted *n)
{
	int status = 0;
	pid_t pid;

	*n = (struct counted){0, 0, 0};
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(traced(path, id, step));
	T_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		T_EQ(WEXITSTATUS(status), 77);
		return false;
	}
	for (int i = 0; i < 100000 && WIFSTOPPED(status); i++) {
		struct user_regs_struct regs;
		long code[2];

		if (i && WSTOPSIG(status) == SIGSTOP)
			break;
		if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
			break;
		for (int k = 0; k < 2; k++)
			code[k] = ptrace(PTRACE_PEEKTEXT, pid,
					 (void *)(uintptr_t)(regs.rip + 8 * (unsigned)k), NULL);
		count_one((const uint8_t *)code, n);
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid)
			break;
	}
	T_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return true;
}

static void primitives_are_made_of_instructions(void)
{
	struct twz_store *s;
	struct counted n;
	const char *path;
	struct twz_obj *o;
	twz_oid id;

	env_media(1);
	path = env_path();
	s = env_store(path);
	o = s ? env_obj(s, 8192, &id) : NULL;
	if (!o)
		return;
	twz_obj_close(o);
	env_close(s);
	if (!count(path, id, FLUSH, &n)) {
		printf("no tracing here: not tested\n");
		return;
	}
	T_EQ(n.flushes, 4);
	T_EQ(n.fences, 0);
	count(path, id, FENCE, &n);
	T_EQ(n.fences, 1);
	count(path, id, COPY, &n);
	T_TRUE(n.streams >= 512 / 64 || n.flushes >= 512 / 64);
	count(path, id, COPY_LINES, &n);
	T_TRUE(n.streams >= 512 / 16);
	count(path, id, COPY_LONG, &n); /* words, then wider */
	T_TRUE(n.streams >= 2048 / 16);
	count(path, id, FENCE_LINES, &n);
	T_EQ(n.fences, 1);
	count(path, id, FLUSH_EACH, &n);
	T_EQ(n.flushes, 5);
	count(path, id, OPS_FLUSH, &n);
	T_EQ(n.flushes, 4);
	count(path, id, OPS_FENCE, &n);
	T_TRUE(n.fences >= 1);
	count(path, id, OPS_COPY, &n);
	T_TRUE(n.streams >= 512 / 64 || n.flushes >= 512 / 64);
	count(path, id, OPS_SYNC_RANGE, &n);
	T_TRUE(n.flushes >= 4 && n.fences >= 1);
	count(path, id, OPS_SYNC_ALL, &n);
	T_TRUE(n.fences >= 1);
}
#else
static void primitives_are_made_of_instructions(void)
{
}
#endif

static void forked_handles_sync_nothing(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, 4096, NULL) : NULL;
	int status;
	pid_t pid;

	if (!o)
		return;
	pid = fork();
	if (!pid)
		_exit(twz_sync(s, twz_obj_data(o), 8) != TWZ_E_FORKED ||
		      twz_sync_all(s) != TWZ_E_FORKED);
	T_TRUE(waitpid(pid, &status, 0) == pid && KID_OK(status));
	twz_obj_close(o);
	env_close(s);
}
BOTH(forked_handles_sync_nothing)

/* --- codes and IDs --- */

static void every_code_has_its_name_and_text(void)
{
#define SAME(name, value, text)                                                                    \
	T_EQ(TWZ_E_##name, value);                                                                 \
	T_STR(twz_err_name(value), "TWZ_E_" #name);                                                \
	T_STR(twz_err_text(value), text);
	TWZ_ERR_MAP(SAME)
#undef SAME
	T_STR(twz_err_name(0), "OK");
	T_STR(twz_err_name(-ENOENT), "ENOENT");
	T_STR(twz_err_text(-ENOENT), strerror(ENOENT));
	T_STR(twz_err_name(-19999), "unknown error");
	T_STR(twz_err_text(12345), "unknown error");
}

static void ids_survive_their_text(void)
{
	static const char *const bad[] = {"",
					  "12",
					  "0123456789abcdef0123456789abcde",
					  "0123456789abcdef0123456789abcdef0",
					  "0123456789abcdef0123456789abcdeg",
					  " 123456789abcdef0123456789abcdef"};
	char text[TWZ_OID_STR_LEN];
	twz_oid id, back;

	for (int i = 0; i < 1000; i++) {
		id = (twz_oid){{t_rand(), t_rand()}};
		T_OK(twz_oid_parse(twz_oid_str(id, text), &back));
		T_TRUE(twz_oid_eq(id, back));
	}
	T_OK(twz_oid_parse("0123456789ABCDEF0123456789abcdef", &id));
	T_STR(twz_oid_str(id, text), "0123456789abcdef0123456789abcdef");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		id = (twz_oid){{1, 2}};
		T_ERR(twz_oid_parse(bad[i], &id), TWZ_E_INVAL);
		T_HAS(twz_errmsg(), bad[i]);
		T_TRUE(twz_oid_is_null(id));
	}
}

/* --- what the dump says about pointers --- */

static void dump_names_the_targets(void)
{
	struct twz_store *s = env_store(env_path());
	struct twz_obj *o = s ? env_obj(s, 4096, NULL) : NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f;

	if (!o)
		return;
	T_OK(twz_fot_set_local(o, 1, 42, TWZ_READ));
	T_OK(twz_fot_set(o, 2, (twz_oid){{5, 6}}, TWZ_READ | TWZ_WRITE));
	f = open_memstream(&text, &len);
	T_OK(twz_dump(s, TWZ_DUMP_FOT, f));
	fclose(f);
	T_HAS(text, "  fot 1 local 42 perm 0x1 ");
	T_HAS(text, "  fot 2 object 05000000000000000600000000000000 perm 0x3 ");
	free(text);
	twz_obj_close(o);
	env_close(s);
}
BOTH(dump_names_the_targets)

static const struct t_case cases[] = {
	BOTH_CASES(flush_covers_every_line_it_touches),
	BOTH_CASES(each_primitive_costs_what_it_says),
	BOTH_CASES(what_was_synced_outlives_its_process),
	BOTH_CASES(forked_handles_sync_nothing),
	T_CASE(primitives_are_made_of_instructions),
	T_CASE(every_code_has_its_name_and_text),
	T_CASE(ids_survive_their_text),
	BOTH_CASES(dump_names_the_targets),
	T_END,
};

int main(int argc, char **argv)
{
	env_media(0);
	return t_main("persist", cases, argc, argv);
}
