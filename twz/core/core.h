/* SPDX-License-Identifier: MIT OR GPL-2.0
 * core.h -- the store core: superblocks, metadata journal, space map, object table
 *
 * Freestanding C, compiled for user space (libtwz) and for the kernel module: it includes nothing
 * of libc and calls nothing but struct twzc_ops. All metadata changes are records of one redo
 * journal (docs/durability.md D9, D1..D5).
 *
 * Locking: every call needs the caller's exclusive metadata lock (robust, cross-process in user
 * space). struct twzc_shared is the state that outlives a lock holder: it lies in memory shared by
 * everyone who uses the store.
 */
#ifndef TWZ_CORE_H
#define TWZ_CORE_H

#include "format.h" /* media structs; includes its own fixed-width types for kernel and user */

struct twzc;

struct twzc_ops {
	uint32_t version;    /* 1 */
	uint32_t page_media; /* 1: journal writes start in a fresh 4 KiB block (D19) */
	/*
	 * Address of metadata [off, off + len) of the store. The range lies inside one 4 KiB page,
	 * but in any page below the length last given to grow (by any process), the journal
	 * excepted; the address is used until the call of the core returns. NULL: outside the
	 * image, or cannot be mapped.
	 */
	void *(*at)(void *ctx, uint64_t off, uint64_t len);
	/*
	 * Write journal bytes and make them durable, with everything flushed before (D3). 0 or
	 * negative error.
	 */
	int (*log_write)(void *ctx, uint64_t off, const void *buf, uint64_t len);
	/*
	 * Both also serve the superblocks (pages 0 and 1). On page media offset and length of a
	 * write are multiples of 4 KiB, on others of 8.
	 */
	/* Read journal bytes (page media do not map the journal). */
	int (*log_read)(void *ctx, uint64_t off, void *buf, uint64_t len);
	/* Queue a home range for write-back; fence: all queued is durable on 0. */
	void (*flush)(void *ctx, uint64_t off, uint64_t len);
	int (*fence)(void *ctx);
	/*
	 * Grow the image to at least LEN bytes: allocated, zero-filled, size durable (D11). 0 at
	 * once when it is that long already (a growth whose record a crash prevented). TWZ_E_NOSPC
	 * when the disk is full: nothing changed.
	 */
	int (*grow)(void *ctx, uint64_t len);
	/*
	 * Zero [off, off + len) (multiples of 4 KiB) of free space about to be given to an object,
	 * durably before the journal record that publishes it.
	 */
	int (*zero)(void *ctx, uint64_t off, uint64_t len);
	uint64_t (*hash)(const void *buf, uint64_t len, uint64_t seed); /* XXH64 */
	uint64_t (*now)(void *ctx);					/* seconds since 1970 */
	void (*copy)(void *dst, const void *src, uint64_t len);
	void (*set)(void *dst, int byte, uint64_t len);
	int (*compare)(const void *a, const void *b, uint64_t len);
	/*
	 * Say what is corrupt: WHERE is the structure, WHY the short name of the broken rule (the
	 * list is in README.md), A and B numbers that find it (mostly the byte offset in the image,
	 * and what was found). Returns TWZ_E_CORRUPT.
	 */
	int (*corrupt)(void *ctx, const char *where, const char *why, uint64_t a, uint64_t b);
};

/*
 * Volatile state shared by all users of a store; zeroed by whoever rebuilds it (sole holder), then
 * filled by twzc_recover(). In user space it lies in the companion file.
 */
struct twzc_shared {
	u64 ready;  /* 1 once recovery has filled the rest */
	u64 failed; /* 1 after a journal write or sync failed: TWZ_E_FAILED until restart (D17) */
	u64 generation; /* journal generation in force */
	u64 tail, head; /* journal LSNs: first record not checkpointed, next record */
	u64 applied;	/* LSN behind the last record applied to homes */
	u64 last_sum;	/* checksum of the last record (seed of the next) */
	u64 hint_page;	/* lowest page that may be free, hint only */
	u64 hint_chunk;
	u64 epoch; /* raised whenever any object's extents change */
	u64 pad[6];
};

typedef void (*twzc_report)(void *ctx, const char *where, const char *what, u64 a, u64 b);

/*
 * Where the store was last recovered: an unclean store that turns up elsewhere is checked before
 * its first write.
 */
struct twzc_note {
	u64 boot_id[2];
	u64 dev, ino;
};

/* One user's handle (memory of the caller, private to a process). */
struct twzc {
	const struct twzc_ops *ops;
	void *ctx;
	struct twzc_shared *sh;
	/* Verified copy; its boot_id, dev, ino say where the store was recovered last. */
	struct twz_super_pm super;
	/* Set by the caller after twzc_attach: twzc_recover writes it into the superblock. */
	struct twzc_note note;
	/* 1: changes answer TWZ_E_READONLY (unknown ro_compat bit, or set by the caller). */
	u32 read_only;
	u64 seed;      /* of checksums */
	u64 image_len; /* bytes, at attach */
	u8 *tx;	       /* journal record being built (caller's memory, see twzc_attach) */
	u64 tx_cap, tx_len;
	u32 tx_items;
	u64 tx_filter; /* one bit per home in the record, hashed: most look-ups need no search */
	const struct twz_root_pm *root;	    /* verified in this call, or NULL */
	const struct twz_layout_pm *layout; /* verified in this call, or NULL */
	u32 tx_freed_meta;    /* the record frees a metadata page: checkpoint before its reuse */
	u8 *scratch;	      /* TWZC_REC_MAX bytes to read a record into */
	twzc_report check_fn; /* set while twzc_check runs: corruption is reported, not raised */
	void *check_ctx;
	u64 check_found;
};

struct twzc_format_args {
	u64 uuid[2];
	u64 len; /* bytes allocated now, multiple of 4 KiB; beyond 64 MiB: used when it grows */
	u64 journal_len; /* bytes, multiple of 4 KiB */
	void *buf;	 /* TWZC_PAGE bytes of memory for this call */
};

struct twzc_obj_args {
	u64 id[2];
	u64 len; /* bytes of data, multiple of 4 KiB, <= TWZC_DATA_MAX */
	u32 flags, kind;
	bool contiguous;
};

/* A copy of an object's entry; extents come from twzc_obj_extents(). */
struct twzc_obj {
	u64 id[2];
	u64 len; /* bytes of data: offsets [4096, 4096 + len) */
	u64 ctime;
	u32 flags, kind;
	u32 state;	  /* live, or deleted and waiting for its last user */
	u32 extent_cnt;	  /* data, FOT and meta extents */
	u32 fot_page_cnt; /* FOT pages below the meta page */
	u32 links;	  /* references (ties); reserved */
	u64 pages;	  /* 4 KiB pages of the store it occupies */
};

/*
 * cnt pages at slot offset slot_page * 4096 are the store's pages [file_page, file_page + cnt).
 * Sorted by slot_page.
 */
struct twzc_extent {
	u32 slot_page;
	u32 cnt;
	u64 file_page;
};

/*
 * Lay out an empty store on an image of args->len bytes that reads as zeros. Superblock last (D18).
 */
int twzc_format(const struct twzc_ops *ops, void *ctx, const struct twzc_format_args *args);

/*
 * Attach to an image: choose and verify the superblock (magic, version, masks, checksum, image
 * length). Changes nothing. TX_BUF of TX_CAP bytes (>= TWZC_TX_MIN) is the caller's, for journal
 * records, and must outlive C.
 */
int twzc_attach(struct twzc *c, const struct twzc_ops *ops, void *ctx, struct twzc_shared *sh,
		u64 image_len, void *tx_buf, u64 tx_cap);

/*
 * In front of the next calls: all of them return 0 or a negative TWZ_E_* (or what an op returned).
 * TWZ_E_STATE: twzc_recover() has not been run. A change that fails with TWZ_E_NOSPC changed
 * nothing; one that failed because a journal write or fence did has an unknown outcome (D17): the
 * store answers TWZ_E_FAILED to changes until a restart. Reading still works.
 *
 * Data beyond an object's len, though inside its extents, must not be written: growing takes it for
 * zeros unless it was inside before.
 */

/*
 * Replay the journal: restart (sole holder: everything from the tail) or takeover (only beyond
 * sh->applied). Raises the generation (D1, D13). *WAS_UNCLEAN: records were found.
 */
int twzc_recover(struct twzc *c, bool restart, bool *was_unclean);

/* Flush homes, publish the tail (D5). */
int twzc_checkpoint(struct twzc *c);

int twzc_obj_create(struct twzc *c, const struct twzc_obj_args *args);
/* TWZ_E_NOENT for deleted objects too; twzc_obj_find_any finds those. */
int twzc_obj_find(struct twzc *c, const u64 id[2], struct twzc_obj *out);
int twzc_obj_find_any(struct twzc *c, const u64 id[2], struct twzc_obj *out);
/* Extents FIRST .. , at most CAP of them; *CNT says how many. */
int twzc_obj_extents(struct twzc *c, const u64 id[2], u32 first, struct twzc_extent *out, u32 cap,
		     u32 *cnt);
/*
 * Both at once: twzc_obj_find() and the first CAP extents, the object looked up only once. There
 * are more if OUT->extent_cnt > *CNT.
 */
int twzc_obj_look(struct twzc *c, const u64 id[2], struct twzc_obj *out, struct twzc_extent *ext,
		  u32 cap, u32 *cnt);
int twzc_obj_resize(struct twzc *c, const u64 id[2], u64 len);
/* At least FOT_PAGE_CNT FOT pages below the meta page, zeroed. */
int twzc_obj_fot_grow(struct twzc *c, const u64 id[2], u32 fot_page_cnt);
/* Mark deleted; its space stays until reclaim, which wants a deleted object (else TWZ_E_STATE). */
int twzc_obj_delete(struct twzc *c, const u64 id[2]);
int twzc_obj_reclaim(struct twzc *c, const u64 id[2]);
/*
 * Next live object, or next deleted one if DELETED. *CURSOR starts as 0. TWZ_E_NOENT at the end; an
 * object is seen twice if its bucket splits meanwhile.
 */
int twzc_obj_next(struct twzc *c, u64 *cursor, bool deleted, struct twzc_obj *out);

struct twzc_info {
	u64 len, free_len, meta_len, obj_cnt, deleted_cnt, journal_len, journal_used;
};
int twzc_info(struct twzc *c, struct twzc_info *out);

/* Every structural rule of superblocks, journal, map, table, extents: leaks, double use, counts. */
int twzc_check(struct twzc *c, twzc_report fn, void *ctx, u64 *found);

/* Walk the valid journal records. */
int twzc_journal_walk(struct twzc *c, int (*fn)(void *ctx, u64 lsn, u32 item_cnt, u64 len),
		      void *ctx);

enum twzc_dump_part {
	TWZC_DUMP_HEAD = 1, /* superblocks, root, layout */
	TWZC_DUMP_JOURNAL = 2,
	TWZC_DUMP_MAP = 4,
	TWZC_DUMP_TABLE = 8, /* buckets, entries, extents */
};

enum twzc_dump_kind {
	TWZC_SHOW_SUPER,
	TWZC_SHOW_ROOT,
	TWZC_SHOW_LAYOUT,
	TWZC_SHOW_JCTL, /* a u64: the tail word */
	TWZC_SHOW_RECORD,
	TWZC_SHOW_ITEM,
	TWZC_SHOW_CHUNK, /* those that were ever used */
	TWZC_SHOW_BUCKET,
	TWZC_SHOW_ENTRY,
	TWZC_SHOW_EXTENT,
	TWZC_SHOW_EXTBLOCK,
};

struct twzc_dump {
	/* PM: the verified structure at OFF of the image (an extent: its index), for this call. */
	void (*show)(void *ctx, u32 kind, u64 off, const void *pm);
	/* A structure that is not shown, because it is damaged. */
	twzc_report damaged;
	void *ctx;
};
/* Every media structure of PARTS, in the order of the medium; damage does not end it. */
int twzc_dump(struct twzc *c, u32 parts, const struct twzc_dump *d);

#endif
