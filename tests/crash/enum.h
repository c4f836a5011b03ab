/* SPDX-License-Identifier: MIT
 * enum.h -- record a workload, walk its crash points, reopen the legal images
 */
#ifndef CRASH_ENUM_H
#define CRASH_ENUM_H

#include <sys/types.h>

#include "count.h"
#include "legal.h"
#include "workload.h"

/* Call sites met while recording, in memory shared with the workers; mutate.c. */
struct crash_site {
	struct mutation mut;
	struct sim_ev ev; /* of the first call: only the callers count */
	uint32_t cnt;
};
#define CRASH_SITE_MAX 2048u
struct crash_sites {
	uint32_t cnt;
	struct crash_site site[CRASH_SITE_MAX];
};
/* Add those of LOG after its EV_START. */
void crash_sites_add(struct crash_sites *s, const struct sim_log *log);

struct crash_options {
	enum sim_media media;
	uint64_t limit; /* distinct images to reopen, about */
	uint64_t seed;
	uint32_t
		/* of so many images one is crashed a second time, during its recovery; 0 = none */
		second;
	uint32_t second_limit; /* images of such a second crash */
	uint32_t third;	       /* of so many images of a second crash one is crashed a third time */
	uint32_t depth;	       /* crashes before this recording: 0, 1 or 2 */
	struct crash_counts *counts; /* over all runs, or NULL */
	unsigned int timeout;	     /* seconds for one image */
	struct mutation mut;
	bool here;    /* in the process that opens the images, which ends if anything is wrong */
	bool settled; /* the last crash: no new operations (`again`) after its recovery */
	struct crash_sites *sites; /* where second crashes add theirs, or NULL */
	bool after_death;	   /* crash points begin at EV_DEATH */
	bool quiet;		   /* no report: mutations are meant to fail */
	const char *keep_dir;	   /* where images that fail are kept */
	uint32_t seconds;	   /* of thrice: give up after so many; 0: never */
	uint64_t kill_first, kill_heir,
		kill_next; /* process death: only at this point; 0: at all */
	bool kill_restart; /* and nobody else had the store open */
	/* Told of each recovery that was recorded, with its log, instead of crashing it: flushes.c. Or NULL. */
	void (*recovered)(const struct crash_workload *w, enum sim_media media,
			  const struct sim_log *log);
	struct thrice *thrice; /* every point of three crashes (thrice.h), or NULL */
};

enum crash_second {
	SECOND_NONE,
	SECOND_RECORD, /* while a recovery was recorded for a second crash, or of that recording as a whole */
	SECOND_CRASH, /* after it: WHY is complete */
};

struct crash_result {
	uint64_t events, points, points_all; /* points looked at, points there are */
	uint64_t points_void;		     /* of these: before there is a name, or a state */
	uint64_t images, distinct, reopened,
		second;	     /* candidates; different ones; opened; of second crashes */
	uint64_t exhaustive; /* points whose images were all enumerated */
	uint64_t killed, heirs, late,
		next; /* processes: victims; heirs; of these beyond the first stores (kill.c); theirs */
	uint64_t really; /* processes killed for real, in a turn of twzcampaign */
	double seconds;
	int second_failed; /* enum crash_second: where the failure was */
	int failed;	   /* 1: an image failed; -1: the workload or the harness did */
	char why[2048];
};

/* The recorded run of a workload. */
struct crash_record {
	struct sim_log *log;
	char **state; /* texts of state 0.. */
	uint32_t state_cnt;
	uint8_t *start; /* image before the first event */
	uint64_t start_len;
	uint32_t floor, top,
		states_known; /* before the first event; all 0 for a recorded workload */
};

/* Recorded workloads close the store at the end; flushes.c wants that, crashes need it not. */
extern bool crash_record_closes;
int crash_record(const struct crash_workload *w, enum sim_media media, uint64_t seed,
		 struct crash_record *rec, char *why, size_t why_len);
/*
 * Record what opening the image REC->start, the operations after a crash (`again`) and closing
 * do; FLOOR..TOP are the states it may show. Sets REC->log, and REC->state to those known and
 * those new; crash_record_again_free() ends it.
 */
int crash_record_recovery(const struct crash_workload *w, const struct crash_options *opt,
			  struct crash_record *rec, uint32_t floor, uint32_t top, char *why,
			  size_t why_len);
void crash_record_again_free(struct crash_record *rec);
void crash_record_free(struct crash_record *rec);

/* Enumerate the crashes of a recorded run. */
void crash_enumerate(const struct crash_workload *w, const struct crash_record *rec,
		     const struct crash_options *opt, struct crash_result *res);

/* Record and enumerate; prints one line, and a report when an image fails. Returns 0, or 1. */
int crash_run(const struct crash_workload *w, const struct crash_options *opt,
	      struct crash_result *res);

/* Process death (kill.c); process death, then power failure while another takes over (death.c). */
int crash_death(const struct crash_workload *w, const struct crash_options *opt,
		struct crash_result *res);
int crash_kill(const struct crash_workload *w, const struct crash_options *opt,
	       struct crash_result *res);

/* From state 0 on: mark it and run the operations. */
int crash_operations(struct crash *c);

/* The state among FLOOR..TOP that an open store shows, or -1 and C->why. */
int crash_state(struct crash *c, const struct crash_record *rec, uint32_t floor, uint32_t top);
/* Check an open store, compare with the states FLOOR..TOP. 0, or -1 and C->why. */
int crash_verify_open(struct crash *c, const struct crash_record *rec, uint32_t floor,
		      uint32_t top);
enum crash_how {
	CRASH_TWICE = 1, /* change something, open it once more: the same */
	/* open it to be read only first: it must show the same, and not a byte of the file change */
	CRASH_READ_FIRST = 2,
	CRASH_COPIED = 4, /* in another file than it was made in: for who puts it there */
};
/* Open the image at C->path, check it, compare with the states FLOOR..TOP. 0, or -1 and C->why. */
int crash_verify(struct crash *c, const struct crash_record *rec, uint32_t floor, uint32_t top,
		 unsigned int how);

/* The file a workload begins with: none, an empty one, or a pair's. Its bytes, to be freed, or NULL. */
int crash_first_image(const struct crash_workload *w, uint8_t **bytes, uint64_t *len);
int crash_write_image(const char *path, const uint8_t *bytes, uint64_t len);
/* Kept images: FILE and FILE.states. */
int crash_keep(const char *file, const uint8_t *image, uint64_t len,
	       const struct crash_record *rec);
struct crash_kept {
	const char *file;
	uint32_t floor, top;
	const char *
		how; /* plain, twice, read or copy: how it is to be opened; NULL: twice, and read first */
	uint64_t random; /* of random numbers and clocks; 0: real ones */
	uint32_t
		crash; /* the Nth crash left it: record the recovery as for the next one, too; 0: do not */
};
/* Look at it again. 0: right, 1: wrong, 2: there is no such image. */
int crash_repro(const struct crash_workload *w, const struct crash_options *opt,
		const struct crash_kept *k);
/* The command that does, behind "again: ". HOW: enum crash_how. */
void crash_repro_command(const struct crash_workload *w, enum sim_media media,
			 const struct crash_kept *k, unsigned int how, char *buf, size_t len);

/* --- work directories in shared memory, one per process that needs one --- */
const char *crash_dir(void);	    /* made on first use */
const char *crash_image_path(void); /* crash_dir()/img */
const char *crash_copy_path(void);  /* crash_dir()/copy */
void crash_dir_clear(void);	    /* everything but the two images */
void crash_dir_remove(void);	    /* of this process */
void crash_dir_adopt(void);	    /* a child: go on in the parent's */
void crash_dirs_sweep(void);	    /* of processes that were killed */

/* fork(); when there can be no process, this one ends too, with a message and status 2: no result is not a good one. */
pid_t crash_fork(void);

/* FUNCTION (FILE:LINE) of a code address. */
const char *crash_where(uint64_t pc);
extern bool crash_where_paths; /* whole paths of files, from the first question on */
/*
 * The chain of callers of an event, innermost first, without the simulator and the persistence
 * wrappers.
 */
void crash_chain(const struct sim_ev *ev, char *buf, size_t len);
/* How many of its return addresses lead to the last of so many CALLERS of that chain. */
unsigned int crash_depth(const struct sim_ev *ev, unsigned int callers);

#endif
