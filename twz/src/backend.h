/* SPDX-License-Identifier: MIT
 * backend.h -- what a store's home (ordinary file, DAX file, simulated store, later the kernel
 * module) must do
 *
 * The only place libtwz meets the operating system for store bytes. A struct twz__backend is a
 * factory; tests pass one in twz_store_options.backend. Everything durable passes through these
 * calls or through the flush functions below, so a simulated store sees every persistent event:
 * stores (compiler hooks), flush, fence, sync, write.
 */
#ifndef TWZ_SRC_BACKEND_H
#define TWZ_SRC_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

struct twz__media;

struct twz__media_ops {
	uint32_t version; /* 1 */
	/*
	 * Map [off, off + len) of the image shared and writable at ADDR (MAP_FIXED over a
	 * reservation). 0 or -errno / TWZ_E_MAPS.
	 */
	int (*map)(struct twz__media *m, void *addr, uint64_t off, uint64_t len, int writable);
	/*
	 * Give the range back to the reservation (PROT_NONE). APART: as a mapping the kernel does
	 * not join with its neighbours, if that is possible.
	 */
	int (*unmap)(struct twz__media *m, void *addr, uint64_t len, int apart);
	/* Plain file reading, past the page cache or not; coherent with the mappings. */
	int (*read)(struct twz__media *m, void *buf, uint64_t off, uint64_t len);
	/*
	 * Write and make exactly this range durable before returning (D3 on page media: RWF_DSYNC
	 * or O_DIRECT|O_DSYNC). Cache-line media: copy_nt + fence.
	 */
	int (*write_sync)(struct twz__media *m, const void *buf, uint64_t off, uint64_t len);
	/*
	 * Range of the image, through any mapping of it, durable: msync on page media, flush +
	 * fence otherwise.
	 */
	int (*sync_range)(struct twz__media *m, void *addr, uint64_t len);
	/* Everything durable: fdatasync / fence. */
	int (*sync_all)(struct twz__media *m);
	/*
	 * Grow to LEN: allocate (never sparse), zero, size durable (D11). TWZ_E_NOSPC and nothing
	 * changed when full.
	 */
	int (*grow)(struct twz__media *m, uint64_t len);
	/* Zero a range durably (free space about to be published). */
	int (*zero)(struct twz__media *m, uint64_t off, uint64_t len);
	/*
	 * Give the space of a range of whole pages back, durably: it reads as zeros, through mappings too. TWZ_E_FS: not
	 * possible. NULL: never possible.
	 */
	int (*give)(struct twz__media *m, uint64_t off, uint64_t len);
	/* Allocate what of the range has no space, durably; its bytes stay. TWZ_E_NOSPC. NULL: all has space, always. */
	int (*take)(struct twz__media *m, uint64_t off, uint64_t len);
	/*
	 * The chunk of 2 MiB at *POS, which becomes the next one's, is made one page, if that is possible and costs no space.
	 * False: there is none. Makes no difference but speed. NULL: pages are what they are.
	 */
	bool (*join)(struct twz__media *m, uint64_t *pos);
	/*
	 * Page media: have what was stored in a range written, and wait for that; nothing is durable by it, but
	 * less is left for sync_all(). NULL: there is nothing to be gained.
	 */
	int (*write_back)(struct twz__media *m, uint64_t off, uint64_t len);
	/*
	 * Page media: a range that is allocated and zeros, which synchronous writes will go to, is written with zeros, so that the file
	 * system has nothing to note about it later. NULL: it notes nothing.
	 */
	int (*fill)(struct twz__media *m, uint64_t off, uint64_t len);
	int (*len)(struct twz__media *m, uint64_t *len);
	/*
	 * Is the file still what was opened: is it at least `floor` bytes long, and, if NAMED, has it a name, and does its path
	 * name no other? 0, or TWZ_E_GONE with a message. NULL: nobody else can reach it.
	 */
	int (*still)(struct twz__media *m, bool named);
	/*
	 * Write-back that failed before, in another life of the store, and was told to nobody, does not count: restart stores
	 * again all that no checkpoint vouches for. NULL: nothing is told late.
	 */
	void (*forget)(struct twz__media *m);
	void (*close)(struct twz__media *m);
	/*
	 * Cache-line primitives, bound once from libpmem2 (or the simulator); no-ops on page media.
	 */
	void (*flush)(struct twz__media *m, const void *addr, size_t len);
	void (*fence)(struct twz__media *m);
	void (*copy_nt)(struct twz__media *m, void *dst, const void *src, size_t len);
	/*
	 * Give a new store, formatted and synced, its name, durably (D18). TWZ_E_EXIST: another was
	 * quicker; close this one and open theirs. NULL when a new store has its name from the
	 * start.
	 */
	int (*publish)(struct twz__media *m);
	/*
	 * Undo a creation that failed: a file that got its name from publish() loses it, one that
	 * was there becomes empty again (so that grow() gives zeros). NULL: not possible here.
	 */
	int (*reset)(struct twz__media *m);
	/*
	 * In a forked child: let go of descriptors and mappings, which would keep a dead parent's
	 * locks alive, take no lock. May be NULL.
	 */
	void (*forked)(struct twz__media *m);
};

/*
 * Set by a thread while it lets an object grow ahead of its use: grow() is to write the zeros of the new space, where that
 * saves later syncs something.
 */
extern _Thread_local bool twz__media_fills __attribute__((visibility("hidden")));

struct twz__media {
	const struct twz__media_ops *ops;
	int granularity; /* enum twz_granularity */
	uint64_t
		in_use; /* before grow(): bytes of the image in use; what lies behind may lack space. 0: not known */
	int forced;
	/* cache-line media: movnt and sfence do what copy_nt and fence do (persist_line.h) */
	int direct;
	int clwb;     /* and clwb, which this processor has, what flush does */
	int fd;	      /* for locks and messages; -1 if none */
	int no_write; /* fd cannot be written, nor locked exclusively */
	/*
	 * In the companion, once there is one: 1 = the kernel could not write something back and has told somebody (D17). NULL: nobody
	 * else can know.
	 */
	uint32_t *lost;
	uint32_t lost_here; /* the same before there was a companion */
	uint64_t
		floor; /* bytes the file has at least, as long as nobody cuts it short; 0: not known yet */
	uint32_t cut; /* 1: something beyond its end was asked for by a load or a store (guard.c) */
	/* the image is this handle's own (backend_private.c): no companion, it is nobody's holder */
	int alone;
	char *path;
};

/* Up to LEN the file has its bytes as long as nobody cuts it short: no other process takes them back. */
static inline void twz__media_has(struct twz__media *m, uint64_t len)
{
	uint64_t floor = __atomic_load_n(&m->floor, __ATOMIC_RELAXED);

	while (floor < len && !__atomic_compare_exchange_n(&m->floor, &floor, len, true,
							   __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

struct twz__backend {
	uint32_t version; /* 1 */
	void *ctx;
	/*
	 * Open PATH (create: FLAGS as twz_store_options.flags, LEN bytes allocated). *CREATED: it
	 * is new and must be formatted.
	 */
	int (*open)(void *ctx, const char *path, uint32_t flags, uint64_t len,
		    struct twz__media **out, int *created);
};

extern const struct twz__backend twz__file_backend;

/*
 * A private image of UNDER, which nobody may change meanwhile: see backend_private.c. UNDER becomes
 * the image's, descriptor and its locks included, unless this fails.
 */
int twz__private_media(struct twz__media *under, struct twz__media **out);
/* twz_store_hold() and _let(); nothing for other media. */
int twz__private_hold(struct twz__media *m);
void twz__private_let(struct twz__media *m);

/*
 * Why a store may not live on a file system of this statfs f_type; NULL if it may. Pure, for tests.
 */
const char *twz__fs_refused(uint64_t f_type);
/* The same for a store that is only read. */
const char *twz__fs_refused_to_read(uint64_t f_type);

#endif
