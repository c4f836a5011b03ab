/* SPDX-License-Identifier: MIT
 * resident.h -- what a process that opens many images keeps from one to the next
 *
 * Recovery of a small image takes less time than the page faults of mapping it. So a worker maps its
 * image files once and puts each image there by storing what differs; what the code under test unmaps stays
 * where it is until something else is mapped there, and is taken up again when the same pages are mapped
 * at the same place. Nobody can tell, but for one thing: an object that was closed can still be
 * read. An object that is open never shows more than it has, but what is mapped to be read may be writable. resident_strict() turns all of this off for a
 * while; the harness does so for a sample, and what is recorded is always mapped and unmapped for real.
 */
#ifndef CRASH_RESIDENT_H
#define CRASH_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "image.h"

/* False: begin to keep things. True: nothing is kept any more, and what was is unmapped. */
void resident_strict(bool on);

/* The file at PATH, made if there is none, and mapped (SIM_IMAGE_MAX). -1: errno. Returns its number. */
int resident_file(const char *path);
/* Its content becomes LEN bytes at BYTES, zeros in all pages but those in PAGES. -1: errno. */
int resident_put(int file, const uint8_t *bytes, uint64_t len, const struct image_pages *pages);
bool resident_same(int file, const uint8_t *bytes, uint64_t len, const struct image_pages *pages);
/* Where the file of this number is mapped, or NULL. */
uint8_t *resident_at(dev_t dev, ino_t ino);

/*
 * --- for sim.c: map LEN bytes at OFF of a file at ADDR, unmap them; -1: errno. FD is used for files that
 * are not kept. What others map there themselves is noticed (--wrap=mmap). ---
 */
struct resident_range {
	uintptr_t addr;
	uint64_t len, off;
	ino_t ino;
	bool writable;
	bool left;    /* unmapped, but still there */
	bool foreign; /* not mapped by us */
};
int resident_map(const struct resident_range *r, int fd);
int resident_unmap(void *addr, uint64_t len);

#endif
