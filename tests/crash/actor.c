/* SPDX-License-Identifier: MIT
 * actor.c -- see actor.h
 */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Who does not listen any more is dead, which waitpid will tell. */
void actor_tell(int fd)
{
	if (write(fd, "x", 1) != 1)
		return;
}

bool actor_hear(int fd)
{
	char c;

	return read(fd, &c, 1) == 1;
}

void actor_because(const struct scene *sc, const struct crash *c)
{
	if (!sc->said[0])
		snprintf(sc->said, SAID_LEN, "%s", c->why);
}

struct crash actor_stage(const struct scene *sc, bool recovering)
{
	alarm(sc->opt->timeout * 4);
	return (struct crash){.w = sc->w,
			      .media = sc->opt->media,
			      .path = crash_image_path(),
			      .backend = &sim_backend,
			      .recovering = recovering};
}

/* Makes the store, reaches state 0, runs the operations until it is killed. */
int actor_victim(const struct scene *sc, int ready, int go)
{
	struct crash c = actor_stage(sc, false);
	int rc;

	rc = sc->w->kind->open(&c);
	if (!rc && sc->w->setup)
		rc = sc->w->setup(&c);
	if (rc)
		actor_because(sc, &c);
	actor_tell(ready);
	if (rc || !actor_hear(go))
		return 94;
	if (!crash_operations(&c))
		return 0;
	actor_because(sc, &c);
	return 93;
}

bool actor_start(struct actor *a, const struct scene *sc, actor_fn fn)
{
	int ready[2], go[2];

	if (pipe(ready) || pipe(go))
		return false;
	a->pid = crash_fork();
	if (a->pid == 0) {
		crash_dir_adopt();
		close(ready[0]);
		close(go[1]);
		_exit(fn(sc, ready[1], go[0]));
	}
	close(ready[1]);
	close(go[0]);
	a->ready = ready[0];
	a->go = go[1];
	return actor_hear(a->ready);
}

int actor_finish(struct actor *a)
{
	int status = 0;

	actor_tell(a->go);
	waitpid(a->pid, &status, 0);
	close(a->ready);
	close(a->go);
	return status;
}

int actor_complain(const struct scene *sc, char *why, size_t len, const char *who, int status)
{
	snprintf(why, len, "%s %s %d: %s", who,
		 WIFSIGNALED(status) ? "died of signal" : "ended with status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), sc->said);
	return 1;
}

bool actor_died(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

bool actor_failed(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL;
}

bool scene_init(struct scene *sc)
{
	sc->said = mmap(NULL, SAID_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGPIPE, SIG_IGN);
	return sc->said != MAP_FAILED;
}

void scene_reset(struct scene *sc)
{
	struct sim_log *log = sc->log;
	uint8_t *bytes;
	uint64_t len;

	log->points = log->progress_floor = log->progress_top = 0;
	log->used = log->cnt = log->unseen = log->overflow = 0;
	for (int i = 0; i < 2; i++)
		if (sc->heir[i])
			sc->heir[i]->points = 0;
	sc->said[0] = 0;
	crash_dir_clear();
	if (crash_first_image(sc->w, &bytes, &len))
		abort();
	free(bytes);
}

void scene_free(struct scene *sc)
{
	if (sc->said && sc->said != MAP_FAILED)
		munmap(sc->said, SAID_LEN);
}

void scene_keep(const struct scene *sc)
{
	const uint8_t *image = MAP_FAILED;
	struct stat st = {0};
	int fd;

	if (!sc->keep)
		return;
	fd = open(crash_image_path(), O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &st) && st.st_size)
		image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (image != MAP_FAILED) {
		crash_keep(sc->keep, image, (uint64_t)st.st_size, sc->rec);
		munmap((void *)(uintptr_t)image, (size_t)st.st_size);
	}
	if (fd >= 0)
		close(fd);
}

void scene_kept(const struct scene *sc, const char *file)
{
	const struct sim_log *log = sc->log;

	printf("  what the dead left, in caches: %s repro %s --media %s --image %s --floor %llu --top %llu\n",
	       program_invocation_name, sc->w->name,
	       sc->opt->media == SIM_MEDIA_LINE ? "line" : "page", file,
	       (unsigned long long)log->progress_floor, (unsigned long long)log->progress_top);
}
