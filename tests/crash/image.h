/* SPDX-License-Identifier: MIT
 * image.h -- images in memory: buffers, and which of their pages have something in them
 *
 * A store may have a gibibyte and use a mebibyte of it.
 */
#ifndef CRASH_IMAGE_H
#define CRASH_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Pages that may not be zero, each once. */
struct image_pages {
	uint32_t *no, cnt, cap;
	uint64_t *bit;
	uint64_t end; /* bytes: behind the last of them */
};
void image_pages_init(struct image_pages *p);
void image_pages_free(struct image_pages *p);
void image_pages_add(struct image_pages *p, uint64_t off, uint64_t len);
/* Add those of LEN bytes at BYTES that are not zero. */
void image_pages_scan(struct image_pages *p, const uint8_t *bytes, uint64_t len);
void image_pages_copy(const struct image_pages *p, uint8_t *to, const uint8_t *from);

bool image_zero(const uint8_t *bytes, uint64_t len);

/* SIM_IMAGE_MAX zeros; given back with the length that may not be zero any more. */
uint8_t *image_buffer_new(void);
void image_buffer_free(uint8_t *buf, uint64_t used);

/* The next range [*FROM, *TO) of a file of LEN bytes that is no hole, from *FROM on. False: there is none. */
bool image_data(int fd, uint64_t len, uint64_t *from, uint64_t *to);

#endif
