/* SPDX-License-Identifier: MIT
 * sim.h -- store_sim: a struct twz__backend that remembers every persistent event
 *
 * The image is a file in shared memory. Every mapping handed out is registered, so that the
 * compiler hooks (hooks.c) can turn the address of a store into an offset of the image. The
 * recording process appends events to a log that the parent reads after it has ended. One
 * simulated store per process, or a pair of them.
 */
#ifndef CRASH_SIM_H
#define CRASH_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "backend.h"

#define SIM_LINE      64u
#define SIM_SECTOR    512u
#define SIM_PAGE      4096u
#define SIM_IMAGE_MAX ((uint64_t)2 << 30)
/* Images up to here are looked at as a whole, larger ones by the pages that are not holes. */
#define SIM_IMAGE_SMALL ((uint64_t)8 << 20)
#define SIM_PC_CNT	10

/*
 * Two stores in one image, so that one log has the events of both, and units of one are as independent of units of the other
 * as of each other: a page with this, then PATH, then PATH SIM_SECOND. Growth of one of them is a durable write of a word.
 */
#define SIM_SECOND     "-2"
#define SIM_PAIR_MAGIC 0x7269617070617773ull
#define SIM_PAIR_EACH  ((uint64_t)2 << 20)
#define SIM_PAIR_LEN   (SIM_PAGE + 2 * SIM_PAIR_EACH)
struct sim_pair {
	uint64_t magic;
	uint64_t len[2]; /* 0: there is none */
	/*
	 * The name of the second: a word of the directory, which renameat2() stores and fsync() of the directory makes durable.
	 * 0: PATH SIM_SECOND; 1: the same with SIM_PART behind it.
	 */
	uint64_t name;
};
#define SIM_PART ".part"

enum sim_media {
	SIM_MEDIA_LINE = 0, /* persistent memory: flush and fence */
	SIM_MEDIA_PAGE = 1, /* ordinary file: range syncs, written back by the kernel at any time */
};

enum sim_ev_type {
	EV_STORE = 1, /* off, len, bytes: plain store(s), in address order */
	/* the same past the cache: durable at the next fence, words in any order until then */
	EV_NTSTORE,
	EV_FLUSH, /* off, len: lines queued for write-back */
	EV_FENCE, /* everything queued is durable */
	/* off, len, bytes: page media, written and durable on return; torn while in flight */
	EV_WRITE,
	EV_SYNC,     /* off, len: page media, range durable */
	EV_SYNC_ALL, /* page media, everything durable */
	EV_GROW,     /* off = old length, len = growth */
	EV_RESET,    /* emptied: length 0 */
	EV_START,    /* crash points begin here */
	EV_BEGIN,    /* an operation starts: state N becomes N or N + 1 */
	EV_STATE,    /* bytes: the state as text; one more state exists */
	/*
	 * the recording process was killed, another goes on: what was flushed but not fenced
	 * counts for nothing (D13)
	 */
	EV_DEATH,
	EV_SETTLED, /* off: the one state there is from now on */
	EV_ACK,	    /* all states before the newest are gone for ever */
	EV_UNNAMED, /* the file has no name yet: a crash leaves nothing of it (D18) */
	EV_NAMED,   /* it has */
	EV_INSIDE,  /* the operation that ends now had something rare inside (crash_kind.inside) */
	EV_FAIL,    /* bytes: the workload itself failed */
};

struct sim_ev {
	uint32_t type; /* enum sim_ev_type */
	uint32_t len;
	uint64_t off;
	uint64_t pc[SIM_PC_CNT]; /* return addresses, innermost first; 0 = unknown */
	uint8_t data[];		 /* len bytes for STORE, NTSTORE, WRITE, STATE, FAIL */
};

/* Append-only log in memory shared with the parent. */
struct sim_log {
	uint64_t cap, used, cnt;
	uint64_t
		/* bytes of the image that changed without a hook: the instrumentation has a hole */
		unseen;
	uint64_t overflow;		       /* 1: the log was too small, the run is void */
	uint64_t progress_floor, progress_top; /* kill mode: states the killed process may be in */
	uint64_t points;		       /* kill mode: hooks passed since EV_START */
	uint8_t buf[];
};

struct sim_log *sim_log_new(uint64_t cap);
void sim_log_free(struct sim_log *log);
/* The event at *POS, which is advanced; NULL at the end. */
const struct sim_ev *sim_log_next(const struct sim_log *log, uint64_t *pos);
bool sim_ev_has_data(const struct sim_ev *ev);
uint64_t sim_ev_size(const struct sim_ev *ev); /* in the log */

/* The backend; opened media take mode and log from the last sim_mode() call. */
extern const struct twz__backend sim_backend;
void sim_mode(enum sim_media media, struct sim_log *log);
bool sim_recording(void);
/* Append an event that is no access: marks and texts. */
void sim_mark(enum sim_ev_type type, const void *data, uint32_t len);
void sim_mark_at(enum sim_ev_type type, uint64_t off);
/*
 * Compare the image with what the log says; differences become events of unknown origin and are
 * counted.
 */
void sim_audit(void);

/*
 * SIGKILL to this process at the Nth hook or media call after EV_START; 0: only count. RECORD:
 * events are recorded up to there. Marks keep the progress in LOG.
 */
void sim_kill_at(struct sim_log *log, uint64_t n, bool record);
/*
 * Another process records now: map and be ready, but do not record. Resume: that process is
 * dead, this one goes on with its log.
 */
void sim_pause(void);
void sim_resume(void);
/*
 * The next write of this process is on its way for as long as FN runs: what it writes can be seen, and nothing of it has been
 * synced. Page media. What FN does may be what another thread does meanwhile.
 */
void sim_during_write(void (*fn)(void *ctx), void *ctx);
/*
 * Page media: what the medium is asked for next fails, and its outcome is unknown (D17). A write: its bytes are in the page cache, where a
 * crash may leave any of them. A sync: it proves nothing, nor does one after it, for the kernel takes the pages for clean.
 * Both media: from now on the file is one that was deleted, and who asks is told so.
 */
enum sim_fault { SIM_FAULT_NONE, SIM_FAULT_WRITE, SIM_FAULT_SYNC, SIM_FAULT_GONE };
void sim_fail_next(enum sim_fault what);
/* Kill mode: hooks count stores to mappings of files below DIR as well (the companion). */
void sim_kill_scan(const char *dir);

/*
 * Coverage: which instrumented stores ran while a process recorded, a byte for each code address, in
 * memory shared by all processes forked from here on.
 */
enum sim_cover_bits {
	SIM_COVER_RAN = 1,
	SIM_COVER_IMAGE = 2,  /* it stored to the image, between two crash points */
	SIM_COVER_BEFORE = 4, /* it stored to the image, before the first crash point */
};
extern bool sim_covers;
int sim_cover_start(void);
void sim_cover(uint64_t pc, enum sim_cover_bits bits);
/* Lines "OFFSET BITS" of the addresses behind the calls of the hooks, from the start of the executable. */
void sim_cover_write(FILE *f);

/* --- called by hooks.c --- */
extern int sim_on; /* 0: hooks return at once */
/* A store to [ADDR, ADDR + LEN) is about to happen: settle the one before, remember this one. */
void sim_before(const void *addr, size_t len, uint64_t pc);
/* It has happened already (atomics, mem* functions). */
void sim_after(const void *addr, size_t len, uint64_t pc);
/* An atomic store has happened; its callers are remembered from FRAME on. */
void sim_after_atomic(const void *addr, size_t len, void **frame);
/* Look at the value of a remembered store. */
void sim_settle(void);

#endif
