/* SPDX-License-Identifier: MIT
 * sim.c -- see sim.h
 *
 * Three views of the image: the file, which the code under test maps where it likes; `img`, our
 * own mapping of the whole file; and `shadow`, the image as the log describes it. A store is
 * recorded when img and shadow differ where it was announced; a store of equal bytes changes no
 * legal image and is dropped. sim_audit() finds differences nobody announced.
 */
#include "sim_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "internal.h"
#include "resident.h"
#include "sim_tab.h"

struct sim_state sim = {.fd = -1};
int sim_on;

/* --- the log --- */

struct sim_ev *sim_append(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len)
{
	struct sim_ev hdr = {.type = type, .len = (uint32_t)len, .off = off}, *ev;
	uint64_t size = sim_ev_size(&hdr);

	if (sim.paused)
		return NULL;
	if (!sim.log || sim.log->used + size > sim.log->cap) {
		if (sim.log)
			sim.log->overflow = 1;
		return NULL;
	}
	ev = (void *)(sim.log->buf + sim.log->used);
	*ev = hdr;
	if (sim_ev_has_data(ev))
		memcpy(ev->data, data, len);
	sim.log->used += size;
	sim.log->cnt++;
	return ev;
}

extern void *__libc_stack_end;

/*
 * Return addresses of the callers. All code is compiled with frame pointers; the chain ends when
 * it leaves the stack.
 */
static void backtrace_to(uint64_t pc[SIM_PC_CNT], void **frame)
{
	for (int i = 0; i < SIM_PC_CNT; i++) {
		void **up = frame[0];

		pc[i] = (uint64_t)(uintptr_t)frame[1];
		if (up <= frame || (void *)(up + 2) > __libc_stack_end)
			break;
		frame = up;
	}
}

void sim_append_bt(enum sim_ev_type type, uint64_t off, const void *data, uint64_t len)
{
	struct sim_ev *ev = sim_append(type, off, data, len);

	if (ev)
		backtrace_to(ev->pc, sim.frame);
}

bool sim_records(void)
{
	return sim_on && !sim.killing && !sim.paused;
}

bool sim_recording(void)
{
	return sim_records() && !sim.mortal;
}

/* --- kill mode --- */

void sim_kill_point(void)
{
	if (!(sim.killing || sim.mortal) || !sim.started)
		return;
	if (++sim.log->points != sim.kill_at)
		return;
	if (sim_records())
		sim_settle(); /* the last store has happened, the next one not */
	kill(getpid(), SIGKILL);
}

/* Will the next sim_kill_point() be the last? */
bool sim_dies_next(void)
{
	return (sim.killing || sim.mortal) && sim.started && sim.log->points + 1 == sim.kill_at;
}

void sim_kill_at(struct sim_log *log, uint64_t n, bool record)
{
	sim.killing = !record;
	sim.mortal = record;
	sim.log = log;
	sim.kill_at = n;
	sim.owner = pthread_self();
	sim_on = 1;
}

void sim_pause(void)
{
	sim.paused = true;
}

void sim_shadow_copy(int fd)
{
	for (uint64_t from = 0, to; image_data(fd, sim.len, &from, &to); from = to)
		memcpy(sim.shadow + from, sim.img + from, to - from);
}

/* Another process may have grown it. */
int sim_image_len(uint64_t *len)
{
	struct stat st;

	if (fstat(sim.fd, &st))
		return -errno;
	sim.len = *len = (uint64_t)st.st_size;
	return 0;
}

void sim_resume(void)
{
	uint64_t len;

	sim.paused = false;
	sim.seg_cnt = 0;
	if (!(sim.open[0] || sim.open[1]) || sim_image_len(&len))
		return;
	sim.len = len;
	sim_shadow_copy(sim.fd);
	sim.started = true;
	sim_append(EV_DEATH, 0, NULL, 0);
}

void sim_kill_scan(const char *dir)
{
	if (sim.killing || sim.mortal)
		sim_foreign_scan(dir);
}

/* --- stores --- */

static void record(uint64_t off, uint64_t len, uint64_t pc)
{
	struct sim_ev *ev;

	if (!memcmp(sim.img + off, sim.shadow + off, len))
		return;
	memcpy(sim.shadow + off, sim.img + off, len);
	ev = sim_append(EV_STORE, off, sim.img + off, len);
	if (ev && sim.atomic)
		backtrace_to(ev->pc, sim.frame);
	else if (ev)
		ev->pc[0] = pc;
}

void sim_settle(void)
{
	for (unsigned int i = 0; i < sim.seg_cnt; i++)
		record(sim.seg[i].off, sim.seg[i].len, sim.pc);
	sim.seg_cnt = 0;
}

static void other_thread(uint64_t pc)
{
	fprintf(stderr,
		"crash: store to the image by a second thread (pc %#lx): recorded workloads have one\n",
		(unsigned long)pc);
	abort();
}

/* On a full disk it would have been SIGBUS (D11). */
static void hollow(uint64_t off, uint64_t pc)
{
	fprintf(stderr,
		"crash: store to %#llx of the image, which was given back and not taken (pc %#lx)\n",
		(unsigned long long)off, (unsigned long)pc);
	abort();
}

void sim_before(const void *addr, size_t len, uint64_t pc)
{
	uintptr_t at = (uintptr_t)addr;
	bool hit = false, image = false;

	if (sim.seg_cnt)
		sim_settle();
	while (len) {
		uint64_t n = SIM_PAGE - (at & (SIM_PAGE - 1));
		uint64_t off = sim_tab_off((void *)at);

		n = n < len ? n : len;
		image |= off != UINT64_MAX;
		hit |= image || ((sim.killing || sim.mortal) && sim_foreign_has(at));
		if (off != UINT64_MAX && !sim.killing) {
			if (!pthread_equal(pthread_self(), sim.owner))
				other_thread(pc);
			if (sim.seg_cnt ==
			    SEG_MAX) /* a copy of over 1 MiB: the audit finds its tail */
				break;
			if (sim.holes && off / SIM_PAGE < sizeof(sim.hole) &&
			    sim.hole[off / SIM_PAGE])
				hollow(off, pc);
			sim.seg[sim.seg_cnt++] = (struct seg){off, (uint32_t)n};
		}
		at += n;
		len -= n;
	}
	sim.pc = pc;
	if (sim_covers && !sim.paused)
		sim_cover(pc, !image	    ? SIM_COVER_RAN
			      : sim.started ? SIM_COVER_IMAGE
					    : SIM_COVER_BEFORE);
	if (hit)
		sim_kill_point();
}

void sim_after(const void *addr, size_t len, uint64_t pc)
{
	sim_before(addr, len, pc);
	sim_settle();
}

void sim_after_atomic(const void *addr, size_t len, void **frame)
{
	sim_before(addr, len, (uint64_t)(uintptr_t)frame[1]);
	sim.frame = frame;
	sim.atomic = true;
	sim_settle();
	sim.atomic = false;
}

static void unseen(uint64_t page)
{
	for (uint64_t o = page; o < page + SIM_PAGE; o += 8) {
		if (!memcmp(sim.img + o, sim.shadow + o, 8))
			continue;
		if (sim.log->unseen == 0)
			fprintf(stderr,
				"crash: bytes at %#llx of the image changed without a hook\n",
				(unsigned long long)o);
		sim.log->unseen += 8;
		record(o, 8, 0);
	}
}

void sim_audit(void)
{
	if (!sim_records() || !(sim.open[0] || sim.open[1]))
		return;
	sim_settle();
	for (uint64_t from = 0, to; image_data(sim.fd, sim.len, &from, &to); from = to)
		for (uint64_t p = from; p < to; p += SIM_PAGE)
			if (memcmp(sim.img + p, sim.shadow + p, SIM_PAGE))
				unseen(p);
}

void sim_mark_at(enum sim_ev_type type, uint64_t off)
{
	sim_append(type, off, NULL, 0);
}

void sim_mark(enum sim_ev_type type, const void *data, uint32_t len)
{
	if (!sim.log)
		return;
	if (sim_records()) {
		sim_audit();
		sim_append(type, 0, data, len);
	}
	switch (type) {
	case EV_START:
		sim.started = true;
		break;
	case EV_BEGIN:
		sim.log->progress_top++;
		break;
	case EV_ACK:
		sim.log->progress_floor = sim.log->progress_top;
		break;
	default:
		break;
	}
}

void sim_mode(enum sim_media media, struct sim_log *log)
{
	sim.media = media;
	sim.log = log;
	sim.killing = sim.mortal = sim.paused = false;
	sim.during = NULL;
	sim.fault = SIM_FAULT_NONE;
	sim.sync_lost = false;
	memset(sim.hole, 0, sizeof(sim.hole));
	sim.holes = 0;
	sim.owner = pthread_self();
	sim_on = log != NULL;
}
