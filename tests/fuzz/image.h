/* SPDX-License-Identifier: MIT
 * image.h -- store images as inputs: most of a store is zero, which is left out
 *
 *	OFFSET	SIZE	MEANING
 *	0	8	"TWZPAGES"
 *	8	8	bytes of the image
 *	16	...	each page that is not zero: u64 its number in the image, 4096 bytes
 *
 * Anything else is an image as it is. What is cut short, or out of range, means what can be had of it.
 */
#ifndef TWZ_FUZZ_IMAGE_H
#define TWZ_FUZZ_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX ((size_t)16 << 20) /* bytes of an image */

/* Into OUT (IMAGE_MAX bytes): the image that the input DATA means. Returns its length. */
size_t image_unpack(const uint8_t *data, size_t len, uint8_t *out);
/* IMAGE as an input of at most MAX bytes; 0: it is longer. */
size_t image_pack(const uint8_t *image, size_t len, uint8_t *out, size_t max);
/* The image that DATA means, as the file PATH. */
int image_write(const char *path, const uint8_t *data, size_t len);

/* From now on stores lie on that medium in this process: cache-line media, or page media. */
void media_set(bool line);
/*
 * What is no part of an input, but the same every time, since it depends on all bytes of it: half of the inputs meet one medium; one of eight
 * an accelerator (it takes much longer). Returns further bits for decisions.
 */
uint32_t surround(const uint8_t *data, size_t len);

#endif
