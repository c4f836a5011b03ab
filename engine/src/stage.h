/* SPDX-License-Identifier: MIT
 * stage.h -- page media: commits that are not in the homes yet, as the next writer sees them (stage.c; included by internal.h only)
 */
#ifndef TWZDB_STAGE_H
#define TWZDB_STAGE_H

/*
 * What the records staged in the log make of nodes and root words: a copy of this handle's own, of use to
 * the owner of the writer lock only. Empty on cache-line media.
 */
struct twzdb__stage {
	struct u64map nodes; /* pptr -> struct pnode *, its seq = the last record that touched it */
	struct u64map words; /* pptr -> value */
	uint64_t seen;	     /* records looked at */
	uint64_t ts;	     /* of the last commit among them */
	struct u64vec fifo;  /* pairs {pptr, | 1: a word's; record}, oldest first ... */
	size_t fifo_from;    /* ... from here on */
	struct u64vec spare; /* struct pnode * */
	uint64_t nr;	     /* of the record being looked at */
};

/* Who looks at staged records, node by node (stage.c for the next writer, view.c for readers). */
struct twzdb__look {
	struct twzdb *db;
	/* The copy of a node, to be changed; FRESH: whatever it was. NULL: no memory. */
	struct pnode *(*node)(struct twzdb__look *to, uint64_t p, bool fresh);
	int (*word)(struct twzdb__look *to, uint64_t where, uint64_t value); /* 0 or -ENOMEM */
};

/*
 * What readers see of commits that are not in the homes yet: an image at one commit (view.c). It does not change
 * once a reader has it.
 */
struct twzdb__view {
	uint32_t refs;	       /* under twzdb__views.mutex */
	uint64_t nr, ts;       /* of the last record it has */
	struct u64map nodes;   /* pptr -> struct vnode * */
	struct u64map words;   /* pptr -> value */
	struct u64map word_nr; /* pptr -> record that gave it */
};

struct twzdb__views {
	pthread_mutex_t mutex;
	struct twzdb__view *now; /* the newest, to be built upon; NULL */
	void *buf;		 /* for a record */
};

/* A thread of this opening that works while others do not (helper.c). */
#define TWZDB_HELPERS 4
struct twzdb__helper {
	struct twzdb *db;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_t thread;
	uint32_t asked; /* enum twzdb__helper_job, read without the mutex too */
	uint32_t stop;	/* likewise */
	bool started;
};

#endif
