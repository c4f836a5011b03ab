/* SPDX-License-Identifier: MIT
 * image.c -- see image.h
 */
#include "image.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

/* --- pages --- */

void image_pages_init(struct image_pages *p)
{
	*p = (struct image_pages){.bit = calloc(SIM_IMAGE_MAX / SIM_PAGE / 64, sizeof(*p->bit))};
	if (!p->bit)
		abort();
}

void image_pages_free(struct image_pages *p)
{
	free(p->no);
	free(p->bit);
}

static void add_page(struct image_pages *p, uint64_t page)
{
	if (p->bit[page / 64] >> page % 64 & 1)
		return;
	p->bit[page / 64] |= (uint64_t)1 << page % 64;
	if (p->cnt == p->cap) {
		p->cap = p->cap * 2 + 256;
		p->no = realloc(p->no, p->cap * sizeof(*p->no));
		if (!p->no)
			abort();
	}
	p->no[p->cnt++] = (uint32_t)page;
	if (p->end < (page + 1) * SIM_PAGE)
		p->end = (page + 1) * SIM_PAGE;
}

void image_pages_add(struct image_pages *p, uint64_t off, uint64_t len)
{
	for (uint64_t page = off / SIM_PAGE; page * SIM_PAGE < off + len; page++)
		add_page(p, page);
}

bool image_zero(const uint8_t *bytes, uint64_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

void image_pages_scan(struct image_pages *p, const uint8_t *bytes, uint64_t len)
{
	for (uint64_t at = 0, n; at < len; at += n) {
		n = len - at < SIM_PAGE ? len - at : SIM_PAGE;
		if (!image_zero(bytes + at, n))
			image_pages_add(p, at, n);
	}
}

void image_pages_copy(const struct image_pages *p, uint8_t *to, const uint8_t *from)
{
	for (uint32_t i = 0; i < p->cnt; i++) {
		uint64_t at = (uint64_t)p->no[i] * SIM_PAGE;

		memcpy(to + at, from + at, SIM_PAGE);
	}
}

/* --- buffers: fresh pages for every second crash would cost more than to use these again --- */

#define SPARE_MAX 8u

static uint8_t *spare[SPARE_MAX];

uint8_t *image_buffer_new(void)
{
	uint8_t *buf;

	for (unsigned int i = 0; i < SPARE_MAX; i++)
		if ((buf = spare[i])) {
			spare[i] = NULL;
			return buf;
		}
	buf = calloc(1, SIM_IMAGE_MAX);
	if (!buf)
		abort();
	return buf;
}

void image_buffer_free(uint8_t *buf, uint64_t used)
{
	unsigned int i = 0;

	while (i < SPARE_MAX && spare[i])
		i++;
	if (i == SPARE_MAX || used > SIM_IMAGE_SMALL) {
		free(buf);
		return;
	}
	memset(buf, 0, used);
	spare[i] = buf;
}

/* --- files --- */

bool image_data(int fd, uint64_t len, uint64_t *from, uint64_t *to)
{
	off_t data, hole;

	if (*from >= len)
		return false;
	if (len <= SIM_IMAGE_SMALL) {
		*to = len;
		return true;
	}
	data = lseek(fd, (off_t)*from, SEEK_DATA);
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	if (data < 0 || (uint64_t)data >= len)
		return false;
	*from = (uint64_t)data;
	*to = hole < 0 || (uint64_t)hole > len ? len : (uint64_t)hole;
	return true;
}
