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

#endif
