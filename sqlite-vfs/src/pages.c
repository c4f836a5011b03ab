/* SPDX-License-Identifier: MIT
 * pages.c -- a SQLite database file as rows of one engine table (format.h)
 *
 * Offsets and lengths are those of the file SQLite believes in. SQLite writes whole pages; the
 * page size is learnt from the first write to an empty database and changes when VACUUM or the
 * backup API rewrites the file with another one.
 */
#include <errno.h>

#include "format.h"
#include "internal.h"

/* Offsets in SQLite's own file header (its file format document, section 1.3). */
enum {
	HDR_WRITE_VERSION = 18,
	HDR_READ_VERSION = 19,
	HDR_CHANGE_COUNTER = 24,
	HDR_VALID_FOR = 92,
	HDR_LEN = 100,
};

static uint32_t get_be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char)(v >> 24);
	p[1] = (unsigned char)(v >> 16);
	p[2] = (unsigned char)(v >> 8);
	p[3] = (unsigned char)v;
}

static bool valid_page_size(uint64_t n)
{
	return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

static struct twzdb_slice key_of(unsigned char key[4], uint64_t pgno)
{
	struct twzdb_slice s = {key, 4};

	put_be32(key, (uint32_t)pgno);
	return s;
}

static int corrupt(struct twzvfs_file *f, const char *why)
{
	sqlite3_log(SQLITE_CORRUPT, "twz: %s: table " TWZVFS_TABLE ": %s: restore a backup",
		    f->path, why);
	return TWZDB_E_CORRUPT;
}

/* Page PGNO as stored; *P NULL for a hole. */
static int page_get(struct twzvfs_file *f, uint64_t pgno, const unsigned char **p)
{
	unsigned char key[4];
	struct twzdb_slice val;
	int err;

	*p = twzvfs__map_get(f, pgno);
	if (*p)
		return 0;
	err = twzdb_get(f->txn, f->table, key_of(key, pgno), &val);
	if (err == TWZDB_E_NOTFOUND)
		return 0;
	if (err)
		return err;
	if (val.len != f->page_size)
		return corrupt(f, "a page has another length than the header says");
	*p = val.ptr;
	twzvfs__map_set(f, pgno, val.ptr);
	return 0;
}

/*
 * The change counter, by which other connections learn that their caches are stale, is the number of the
 * commit (README, "Change counter"): no commit has to write page 1 for it.
 */
static uint32_t counter(const struct twzvfs_file *f)
{
	return (uint32_t)f->loaded_ts + f->skew;
}

/* BUF holds the N bytes from FROM on of P1, page 1. What it says of its counter at 92 stays as true as it is. */
static void stamp(const struct twzvfs_file *f, const unsigned char *p1, unsigned char *buf,
		  uint64_t from, uint64_t n)
{
	uint32_t was = get_be32(p1 + HDR_CHANGE_COUNTER), off = get_be32(p1 + HDR_VALID_FOR) - was;
	unsigned char c[4], v[4];

	put_be32(c, counter(f));
	put_be32(v, counter(f) + off);
	for (uint64_t i = 0; i < 4; i++) {
		if (HDR_CHANGE_COUNTER + i >= from && HDR_CHANGE_COUNTER + i < from + n)
			buf[HDR_CHANGE_COUNTER + i - from] = c[i];
		if (HDR_VALID_FOR + i >= from && HDR_VALID_FOR + i < from + n)
			buf[HDR_VALID_FOR + i - from] = v[i];
	}
}

/* Are both page 1 with the same contents but for the counter? */
static bool same_page1(const unsigned char *a, const unsigned char *b, uint32_t len)
{
	return get_be32(a + HDR_VALID_FOR) - get_be32(a + HDR_CHANGE_COUNTER) ==
		       get_be32(b + HDR_VALID_FOR) - get_be32(b + HDR_CHANGE_COUNTER) &&
	       !memcmp(a, b, HDR_CHANGE_COUNTER) &&
	       !memcmp(a + HDR_CHANGE_COUNTER + 4, b + HDR_CHANGE_COUNTER + 4,
		       HDR_VALID_FOR - HDR_CHANGE_COUNTER - 4) &&
	       !memcmp(a + HDR_VALID_FOR + 4, b + HDR_VALID_FOR + 4, len - HDR_VALID_FOR - 4);
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/*
 * A page of zeros is a hole. With secure_delete (the distribution's default) SQLite zeroes every
 * page it frees, so the space of deleted rows returns to the store without a VACUUM.
 */
static int page_put(struct twzvfs_file *f, uint64_t pgno, const void *page)
{
	unsigned char key[4];
	struct twzdb_slice val = {page, f->page_size}, put;
	int err;

	if (pgno == 1)
		memcpy(f->version, (const unsigned char *)page + HDR_CHANGE_COUNTER,
		       sizeof(f->version));
	twzvfs__map_set(f, pgno, NULL);
	if (all_zero(page, f->page_size)) {
		err = twzdb_del(f->txn, f->table, key_of(key, pgno));
		return err == TWZDB_E_NOTFOUND ? 0 : err;
	}
	err = twzdb_put(f->txn, f->table, key_of(key, pgno), val, 0);
	if (!err && !twzdb_last_put(f->txn, &put))
		twzvfs__map_set(f, pgno, put.ptr);
	return err;
}

static int hdr_load(struct twzvfs_file *f)
{
	unsigned char key[4];
	struct twzdb_slice val;
	struct twzvfs_hdr_pm hdr;
	int err = twzdb_get(f->txn, f->table, key_of(key, 0), &val);

	if (err == TWZDB_E_NOTFOUND)
		return 0;
	if (err)
		return err;
	if (val.len != sizeof(hdr))
		return corrupt(f, "the header row has the wrong length");
	memcpy(&hdr, val.ptr, sizeof(hdr));
	if (hdr.magic != TWZVFS_HDR_MAGIC || hdr.version != TWZVFS_HDR_VERSION)
		return corrupt(f, "the header row has an unknown magic or version");
	if (!valid_page_size(hdr.page_size) || hdr.page_cnt > UINT32_MAX || hdr.must_be_zero ||
	    hdr.must_be_zero2)
		return corrupt(f, "the header row has impossible fields");
	f->page_size = hdr.page_size;
	f->page_cnt = hdr.page_cnt;
	return 0;
}

static int load(struct twzvfs_file *f)
{
	const unsigned char *p1;
	int err;

	twzvfs__map_forget(f);
	memset(f->version, 0, sizeof(f->version));
	f->have_table = false;
	f->page_size = 0;
	f->page_cnt = 0;
	f->hdr_dirty = false;
	f->dirty = false;
	f->prepared = false;
	err = twzdb_table_open(f->txn, TWZVFS_TABLE, 0, &f->table);
	if (err == TWZDB_E_NOTFOUND)
		return 0;
	if (err)
		return err;
	f->have_table = true;
	err = hdr_load(f);
	if (err || !f->page_cnt)
		return err;
	err = page_get(f, 1, &p1);
	if (!err && p1) {
		memcpy(f->version, p1 + HDR_CHANGE_COUNTER, sizeof(f->version));
		put_be32(f->version, counter(f));
	}
	return err;
}

/* Nothing is read again while nobody has committed. */
int twzvfs__pages_load(struct twzvfs_file *f)
{
	uint64_t ts = twzdb_txn_ts(f->txn);
	int err;

	if (f->loaded && f->loaded_ts == ts && !f->dirty)
		return 0;
	f->loaded_ts = ts;
	err = load(f);
	f->loaded = !err;
	return err;
}

/* What is known of the pages is what was committed: nothing is read. */
int twzvfs__pages_committed(struct twzvfs_file *f)
{
	uint64_t ts = twzdb_txn_ts(f->txn);

	if (!f->dirty) /* rows of native tables: SQLite's cache of pages is as good as before */
		f->skew -= (uint32_t)(ts - f->loaded_ts);
	if (!f->loaded)
		return twzvfs__pages_load(f);
	f->loaded_ts = ts;
	put_be32(f->version, counter(f));
	f->hdr_dirty = false;
	f->dirty = false;
	f->prepared = false;
	return 0;
}

int twzvfs__pages_reopen(struct twzvfs_file *f)
{
	int err = twzdb_table_open(f->txn, TWZVFS_TABLE, 0, &f->table);

	f->have_table = !err;
	f->loaded = false; /* after the commit, all of it again */
	twzvfs__map_forget(f);
	return err == TWZDB_E_NOTFOUND ? 0 : err;
}

int twzvfs__pages_read(struct twzvfs_file *f, unsigned char *buf, uint64_t len, uint64_t off)
{
	uint64_t end = f->page_cnt * f->page_size;

	if (off == HDR_CHANGE_COUNTER && len == sizeof(f->version) && f->loaded && !f->dirty) {
		memcpy(buf, f->version, len);
		return 0;
	}
	while (len) {
		const unsigned char *page = NULL;
		uint64_t in, n;
		int err;

		if (off >= end) {
			memset(buf, 0, len);
			return 0;
		}
		in = off % f->page_size;
		n = f->page_size - in < len ? f->page_size - in : len;
		err = page_get(f, off / f->page_size + 1, &page);
		if (err)
			return err;
		if (page)
			memcpy(buf, page + in, n);
		if (page && off < f->page_size)
			stamp(f, page, buf, in, n);
		if (!page)
			memset(buf, 0, n);
		buf += n;
		off += n;
		len -= n;
	}
	return 0;
}

int twzvfs__pages_fetch(struct twzvfs_file *f, uint64_t off, uint32_t len, const void **out)
{
	const unsigned char *page;
	int err;

	*out = NULL;
	if (!f->have_table || !off || len != f->page_size || off % len || off / len >= f->page_cnt)
		return 0;
	err = page_get(f, off / len + 1, &page);
	*out = page;
	return err;
}

/*
 * Cut the file into pages of NEW_SIZE bytes; contents stay. In place: up from the front when
 * pages grow, down from the end when they shrink.
 */
static int rechunk(struct twzvfs_file *f, uint32_t new_size)
{
	uint32_t old_size = f->page_size;
	uint64_t old_cnt = f->page_cnt, total = old_cnt * old_size;
	uint64_t new_cnt = (total + new_size - 1) / new_size;
	unsigned char *buf = sqlite3_malloc64(new_size > old_size ? new_size : old_size);
	int err = buf ? 0 : -ENOMEM;
	uint64_t i, j;

	twzvfs__map_forget(f);
	if (!err && new_size > old_size) {
		for (i = 0; !err && i < new_cnt; i++) {
			f->page_size = old_size;
			f->page_cnt = old_cnt;
			err = twzvfs__pages_read(f, buf, new_size, i * new_size);
			f->page_size = new_size;
			if (!err)
				err = page_put(f, i + 1, buf);
			/* Rows up to i + 1 are new pages now; reading goes on behind them. */
		}
	} else if (!err) {
		for (i = old_cnt; !err && i-- > 0;) {
			f->page_size = old_size;
			err = twzvfs__pages_read(f, buf, old_size, i * old_size);
			f->page_size = new_size;
			for (j = old_size / new_size; !err && j-- > 0;)
				err = page_put(f, i * (old_size / new_size) + j + 1,
					       buf + j * new_size);
		}
	}
	sqlite3_free(buf);
	f->page_size = new_size;
	f->page_cnt = new_cnt;
	f->hdr_dirty = true;
	if (!err && new_cnt < old_cnt)
		err = twzvfs__pages_truncate(f, total);
	return err;
}

static int ensure_table(struct twzvfs_file *f)
{
	int err;

	if (f->have_table)
		return 0;
	err = twzdb_table_open(f->txn, TWZVFS_TABLE, TWZDB_TABLE_CREATE, &f->table);
	f->have_table = !err;
	return err;
}

/*
 * Page 1 says which journal a reader must look for (bytes 18 and 19). A database converted from
 * WAL mode would make every later open look for a -wal file that cannot exist here, so the bytes
 * are put back to 1, and for this handle the counter moves once more so that its own cached page 1 is
 * dropped too (README, "WAL").
 */
static const unsigned char *mask_wal(struct twzvfs_file *f, const unsigned char *page,
				     unsigned char *copy)
{
	if (page[HDR_WRITE_VERSION] != 2 && page[HDR_READ_VERSION] != 2)
		return page;
	memcpy(copy, page, f->page_size);
	copy[HDR_WRITE_VERSION] = 1;
	copy[HDR_READ_VERSION] = 1;
	f->skew++;
	return copy;
}

static int write_page(struct twzvfs_file *f, uint64_t pgno, const unsigned char *page)
{
	const unsigned char *p1;
	unsigned char *copy = NULL;
	int err;

	if (pgno == 1 && f->page_cnt) {
		err = page_get(f, 1, &p1);
		if (err || (p1 && same_page1(p1, page, f->page_size)))
			return err;
	}
	if (pgno == 1 && (page[HDR_WRITE_VERSION] == 2 || page[HDR_READ_VERSION] == 2)) {
		copy = sqlite3_malloc64(f->page_size);
		if (!copy)
			return -ENOMEM;
		page = mask_wal(f, page, copy);
	}
	err = page_put(f, pgno, page);
	sqlite3_free(copy);
	if (!err && pgno > f->page_cnt) {
		f->page_cnt = pgno;
		f->hdr_dirty = true;
	}
	return err;
}

/*
 * A write that is not whole pages: read, change, write. SQLite itself never does it; tools that
 * patch files do.
 */
static int write_partial(struct twzvfs_file *f, const unsigned char *buf, uint64_t len,
			 uint64_t off)
{
	unsigned char *page = sqlite3_malloc64(f->page_size);
	int err = page ? 0 : -ENOMEM;

	while (len && !err) {
		uint64_t in = off % f->page_size;
		uint64_t n = f->page_size - in < len ? f->page_size - in : len;

		err = twzvfs__pages_read(f, page, f->page_size, off - in);
		if (err)
			break;
		memcpy(page + in, buf, n);
		err = write_page(f, off / f->page_size + 1, page);
		buf += n;
		off += n;
		len -= n;
	}
	sqlite3_free(page);
	return err;
}

int twzvfs__pages_write(struct twzvfs_file *f, const unsigned char *buf, uint64_t len, uint64_t off)
{
	int err = ensure_table(f);

	if (err || !len)
		return err;
	if ((off + len) / 512 > UINT32_MAX)
		return TWZDB_E_TOOBIG;
	f->dirty = true;
	f->prepared = false;
	if (!f->page_size) {
		f->page_size = valid_page_size(len) ? (uint32_t)len : 4096;
		f->hdr_dirty = true;
	}
	if (len != f->page_size && valid_page_size(len) && off % len == 0) {
		err = rechunk(f, (uint32_t)len);
		if (err)
			return err;
	}
	if (len == f->page_size && off % len == 0)
		return write_page(f, off / len + 1, buf);
	return write_partial(f, buf, len, off);
}

/* The backup API cuts a file to a length that is not whole pages of the size it had before. */
static int truncate_rechunk(struct twzvfs_file *f, uint64_t len)
{
	uint32_t size = f->page_size;

	while (size > 512 && len % size)
		size /= 2;
	return len < f->page_cnt * f->page_size && size < f->page_size && len % size == 0
		       ? rechunk(f, size)
		       : 0;
}

int twzvfs__pages_truncate(struct twzvfs_file *f, uint64_t len)
{
	unsigned char key[4];
	struct twzdb_slice to = {NULL, 0};
	uint64_t cnt;
	int err;

	if (!f->page_size)
		return 0;
	err = truncate_rechunk(f, len);
	if (err)
		return err;
	cnt = (len + f->page_size - 1) / f->page_size;
	twzvfs__map_forget(f);
	if (!cnt)
		memset(f->version, 0, sizeof(f->version));
	f->dirty = true; /* whatever becomes of it */
	f->prepared = false;
	err = twzdb_del_range(f->txn, f->table, key_of(key, cnt + 1), to, NULL);
	if (err)
		return err;
	f->hdr_dirty |= cnt != f->page_cnt;
	f->page_cnt = cnt;
	return 0;
}

int twzvfs__pages_seal(struct twzvfs_file *f)
{
	struct twzvfs_hdr_pm hdr = {.magic = TWZVFS_HDR_MAGIC, .version = TWZVFS_HDR_VERSION};
	unsigned char key[4];
	struct twzdb_slice val = {&hdr, sizeof(hdr)};

	if (!f->hdr_dirty)
		return 0;
	hdr.page_size = f->page_size;
	hdr.page_cnt = f->page_cnt;
	return twzdb_put(f->txn, f->table, key_of(key, 0), val, 0);
}
