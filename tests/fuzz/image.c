/* SPDX-License-Identifier: MIT
 * image.c -- store images as inputs: most of a store is zero, which is left out
 */
#include "image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define PAGE  ((size_t)4096)
#define HEAD  ((size_t)16)
#define ENTRY (PAGE + 8)

static const char magic[8] = {'T', 'W', 'Z', 'P', 'A', 'G', 'E', 'S'};
static const uint8_t zero[PAGE];

static bool is_packed(const uint8_t *data, size_t len)
{
	return len >= HEAD && !memcmp(data, magic, sizeof(magic));
}

static size_t length(const uint8_t *data)
{
	uint64_t len;

	memcpy(&len, data + 8, sizeof(len));
	return len < IMAGE_MAX ? (size_t)len : IMAGE_MAX;
}

/* The page at *AT of an input: where it belongs to, and how many bytes of it there are. False: no more. */
static bool next_page(const uint8_t *data, size_t len, size_t *at, size_t *off, size_t *n)
{
	size_t image_len = length(data);
	uint64_t nr;

	while (*at + 8 < len) {
		memcpy(&nr, data + *at, sizeof(nr));
		*n = len - *at - 8 < PAGE ? len - *at - 8 : PAGE;
		*at += ENTRY;
		if (nr >= (image_len + PAGE - 1) / PAGE)
			continue;
		*off = (size_t)nr * PAGE;
		if (*n > image_len - *off)
			*n = image_len - *off;
		return true;
	}
	return false;
}

size_t image_unpack(const uint8_t *data, size_t len, uint8_t *out)
{
	size_t at = HEAD, off, n, image_len;

	if (!is_packed(data, len)) {
		image_len = len < IMAGE_MAX ? len : IMAGE_MAX;
		memcpy(out, data, image_len);
		return image_len;
	}
	image_len = length(data);
	memset(out, 0, image_len);
	while (next_page(data, len, &at, &off, &n))
		memcpy(out + off, data + at - PAGE, n);
	return image_len;
}

size_t image_pack(const uint8_t *image, size_t len, uint8_t *out, size_t max)
{
	size_t at = HEAD;

	if (max < HEAD)
		return 0;
	memcpy(out, magic, sizeof(magic));
	memcpy(out + 8, &(uint64_t){len}, 8);
	for (size_t off = 0; off < len; off += PAGE) {
		size_t n = len - off < PAGE ? len - off : PAGE;

		if (!memcmp(image + off, zero, n))
			continue;
		if (max - at < ENTRY)
			return 0;
		memcpy(out + at, &(uint64_t){off / PAGE}, 8);
		memcpy(out + at + 8, image + off, n);
		memset(out + at + 8 + n, 0, PAGE - n);
		at += ENTRY;
	}
	return at;
}

static int put(int fd, const uint8_t *data, size_t len, size_t off)
{
	return len && pwrite(fd, data, len, (off_t)off) != (ssize_t)len ? -1 : 0;
}

int image_write(const char *path, const uint8_t *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t at = HEAD, off, n;
	int err = fd < 0 ? -1 : 0;

	if (!err && !is_packed(data, len)) {
		err = put(fd, data, len, 0);
	} else if (!err) {
		err = ftruncate(fd, (off_t)length(data));
		while (!err && next_page(data, len, &at, &off, &n))
			err = put(fd, data + at - PAGE, n, off);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

uint32_t surround(const uint8_t *data, size_t len)
{
	uint64_t how = XXH3_64bits(data, len);

	media_set(how & 1);
	setenv("TWZDB_ACCEL", how >> 1 & 7 ? "0" : "1", 1);
	return (uint32_t)(how >> 32);
}

void media_set(bool line)
{
	if (line)
		setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
	else
		unsetenv("PMEM2_FORCE_GRANULARITY");
}
