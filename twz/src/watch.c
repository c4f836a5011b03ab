/* SPDX-License-Identifier: MIT
 * watch.c -- reading a store others have open, without permission to write it
 *
 * A watcher stores nothing anywhere: file and companion are mapped to be read. So it has no number among the processes, no
 * entry of the open-object array, no lock. What others do by stores it does by read locks on bytes far behind the end of the file,
 * for which permission to read is enough, and which the kernel drops when it dies:
 *
 *	private	  held while it reads, as by who reads an image of his own: an opener that is alone would begin
 *		  another life of the store, and waits
 *	pins	  a number others must not pass (twz_pin): the snapshot of a transaction
 *
 * The metadata it reads without their lock. The journal's head is raised before a change is applied to the homes, and
 * `applied` after it, so between two looks at which both are the same number nothing changed. If they stay apart, a process
 * died between the two, and whoever may write finishes its work: this one gets TWZ_E_BUSY (D13).
 */
#include "rt.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_MS 2000

/* --- metadata --- */

static uint64_t get(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

int twz__watch_begin(struct twz_store *s)
{
	const struct twzc_shared *sh = s->core.sh;
	const struct timespec ms = {0, 1000000};

	for (int i = 0; i < WAIT_MS; i++) {
		uint64_t applied = get(&sh->applied);

		if (__atomic_load_n(&sh->ready, __ATOMIC_ACQUIRE) && get(&sh->head) == applied) {
			twz__rt(s)->watch_lsn = applied;
			twz__rt(s)->err_cnt = twz__err_cnt();
			return 0;
		}
		nanosleep(&ms, NULL);
	}
	return twz__err(
		TWZ_E_BUSY,
		"%s: a process died while it changed it, and this one may not write it: let another open or use it",
		s->path);
}

bool twz__watch_moved(struct twz_store *s)
{
	if (!s->watch)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return get(&s->core.sh->head) != twz__rt(s)->watch_lsn ||
	       !__atomic_load_n(&s->core.sh->ready, __ATOMIC_ACQUIRE); /* a takeover is at it */
}

/* --- held while it is read --- */

/* Is the companion still the one its name leads to? */
static bool same_companion(struct twz_store *s)
{
	struct stat a, b;

	return !fstat(s->comp->fd, &a) && !stat(s->comp->path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino && (uint64_t)a.st_size >= COMP_FIXED_LEN;
}

static int hold(struct twz_store *s)
{
	bool any = false;
	int rc = twz__privates_share(s->media);

	if (rc && rc != -EAGAIN)
		return rc;
	if (!rc)
		rc = twz__holders_any(s->media, &any);
	if (!rc && any && same_companion(s))
		return 0;
	twz__privates_drop(s->media);
	return rc && rc != -EAGAIN
		       ? rc
		       : twz__err(TWZ_E_STALE,
				  "%s: those who had it open have closed it: open it again",
				  s->path);
}

int twz__watch_hold(struct twz_store *s)
{
	struct twz__rt *rt = twz__rt(s);
	int rc = 0;

	pthread_mutex_lock(&rt->watch_mutex);
	if (!rt->watch_holds)
		rc = hold(s);
	if (!rc)
		rt->watch_holds++;
	pthread_mutex_unlock(&rt->watch_mutex);
	return rc;
}

void twz__watch_let(struct twz_store *s)
{
	struct twz__rt *rt = twz__rt(s);

	pthread_mutex_lock(&rt->watch_mutex);
	if (rt->watch_holds && !--rt->watch_holds)
		twz__privates_drop(s->media);
	pthread_mutex_unlock(&rt->watch_mutex);
}

/* --- pins --- */

static uint64_t pin_off(uint32_t group, uint64_t value)
{
	return COMP_LOCK_PINS + (uint64_t)(group % COMP_PIN_GROUPS) * COMP_PIN_MAX + value;
}

static struct twz__pin *pin_find(struct twz__rt *rt, uint64_t off)
{
	for (size_t i = 0; i < rt->pin_cnt; i++)
		if (rt->pins[i].off == off)
			return &rt->pins[i];
	return NULL;
}

static int pin_add(struct twz_store *s, uint64_t off)
{
	struct twz__rt *rt = twz__rt(s);
	struct twz__pin *p = realloc(rt->pins, (rt->pin_cnt + 1) * sizeof(*p));
	struct flock fl;
	int rc;

	if (!p)
		return twz__err(TWZ_E_NOMEM, "%s: out of memory", s->path);
	rt->pins = p;
	rc = twz__ofd(s->media->fd, F_OFD_SETLK, F_RDLCK, off, &fl);
	if (rc)
		return twz__lock_failed(s->path, rc);
	rt->pins[rt->pin_cnt++] = (struct twz__pin){off, 1};
	return 0;
}

/* The locks of one handle are one: so two pins of one number are counted here. */
int twz_pin(struct twz_store *s, uint32_t group, uint64_t value)
{
	int rc = twz__store_enter(s);
	struct twz__rt *rt;
	struct twz__pin *p;

	if (rc)
		return rc;
	if (s->media->fd < 0 || value >= COMP_PIN_MAX)
		return twz__err(TWZ_E_INVAL, "%s: nothing to pin, or too large", s->path);
	rt = twz__rt(s);
	pthread_mutex_lock(&rt->watch_mutex);
	p = pin_find(rt, pin_off(group, value));
	if (p)
		p->cnt++;
	else
		rc = pin_add(s, pin_off(group, value));
	pthread_mutex_unlock(&rt->watch_mutex);
	return rc;
}

void twz_unpin(struct twz_store *s, uint32_t group, uint64_t value)
{
	struct twz__rt *rt = twz__rt(s);
	struct twz__pin *p;
	struct flock fl;

	if (twz__store_enter(s))
		return;
	pthread_mutex_lock(&rt->watch_mutex);
	p = pin_find(rt, pin_off(group, value));
	if (p && !--p->cnt) {
		twz__ofd(s->media->fd, F_OFD_SETLK, F_UNLCK, p->off, &fl);
		*p = rt->pins[--rt->pin_cnt];
	}
	pthread_mutex_unlock(&rt->watch_mutex);
}

/* The kernel tells one lock of a range, not the first: so again with what lies before it. */
uint64_t twz_pin_min(struct twz_store *s, uint32_t group, uint64_t below)
{
	uint64_t base = pin_off(group, 0), min = below < COMP_PIN_MAX ? below : COMP_PIN_MAX;
	struct flock fl;

	if (twz__is_lonely(s->media))
		return below;
	while (min) {
		memset(&fl, 0, sizeof(fl));
		fl.l_type = F_WRLCK;
		fl.l_whence = SEEK_SET;
		fl.l_start = (off_t)base;
		fl.l_len = (off_t)min;
		if (fcntl(s->media->fd, F_OFD_GETLK, &fl))
			return 0; /* not known: as if all were pinned */
		if (fl.l_type == F_UNLCK)
			break;
		min = (uint64_t)fl.l_start > base ? (uint64_t)fl.l_start - base : 0;
	}
	return min < below && min < COMP_PIN_MAX ? min : below;
}

/* --- open --- */

int twz__watch_open(struct twz_store *s)
{
	struct twzc_shared private = {0};
	int rc;

	s->watch = true;
	rc = twz__store_attach(s, &private);
	if (!rc)
		rc = twz__comp_watch(s->media, s->core.super.uuid, &s->comp);
	if (!rc)
		rc = twz__store_attach(s, &s->comp->head->shared);
	return rc ? rc : twz__watch_hold(s);
}
