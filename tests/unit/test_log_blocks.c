/* SPDX-License-Identifier: MIT
 * test_log_blocks.c -- in which block and sector of the ring a batch begins (D19): page media
 *
 * Every write to the ring is looked at where it leaves the library: where it begins and ends, what else is on its way, and which bytes of
 * this lap it touches again.
 */
#include <unistd.h>

#include "log_world.h"

#define RING  (64 * KIB)
#define BLOCK ((uint64_t)TWZ_LOG_BLOCK_LEN)

static struct twz_log *the_log;
static struct twz__media_ops ops;
static const struct twz__media_ops *real;

/* --- what is written --- */

static struct {
	pthread_mutex_t mutex;
	uint64_t writes, beside,
		shared; /* seen; begun while another was on its way; begun inside a block */
	uint64_t twice, block_twice, nowhere;
	uint64_t off[WORKERS], len[WORKERS];		 /* on their way */
	uint32_t lap, sector[RING / TWZ_LOG_SECTOR_LEN]; /* the lap each was last written in */
	useconds_t nap;					 /* before the bytes go out, at most */
	int fails; /* the next write, after that many of its sectors less one */
} w = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* In any thread. */
static uint64_t rand_below(uint64_t n)
{
	uint64_t r;

	pthread_mutex_lock(&w.mutex);
	r = t_rand_below(n);
	pthread_mutex_unlock(&w.mutex);
	return r;
}

static bool touch(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a / BLOCK <= (b + b_len - 1) / BLOCK && b / BLOCK <= (a + a_len - 1) / BLOCK;
}

/* What is written now ends there, in the ring; zeros follow. */
static uint64_t batch_end(void)
{
	uint64_t end = 0;

	for (int i = 0; i < TWZ_LOG_BATCHES; i++)
		if (the_log->stage->batch[i].state == BATCH_FROZEN)
			end = (the_log->stage->batch[i].to_lsn - 1) % RING + 1;
	return end ? end : RING; /* a pad */
}

/* A write at the ring's beginning is the first of a lap. */
static void count_sectors(uint64_t off, uint64_t len)
{
	w.lap += !off;
	for (uint64_t s = off / TWZ_LOG_SECTOR_LEN; s < (off + len) / TWZ_LOG_SECTOR_LEN; s++) {
		/* Zeros behind a batch, up to the end of its last block, are not the block's last word. */
		bool zeros =
			s % (BLOCK / TWZ_LOG_SECTOR_LEN) && s * TWZ_LOG_SECTOR_LEN >= batch_end();

		w.twice += !zeros && w.sector[s] == w.lap;
		w.sector[s] = zeros ? w.sector[s] : w.lap;
	}
}

static int begin(uint64_t off, uint64_t len)
{
	int slot = -1;

	pthread_mutex_lock(&w.mutex);
	w.nowhere += off % TWZ_LOG_SECTOR_LEN || len % TWZ_LOG_SECTOR_LEN || off + len > RING;
	for (int i = 0; i < WORKERS; i++) {
		if (!w.len[i]) {
			slot = i;
			continue;
		}
		w.beside++;
		w.block_twice += touch(off, len, w.off[i], w.len[i]);
	}
	w.shared += off % BLOCK != 0;
	w.writes++;
	w.off[slot] = off;
	w.len[slot] = len;
	pthread_mutex_unlock(&w.mutex);
	return slot;
}

static int fail_after(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	uint64_t part = (uint64_t)(w.fails - 1) * TWZ_LOG_SECTOR_LEN;
	int err = part ? real->write_sync(m, buf, off, part < len ? part : len) : 0;

	return err ? err : TWZ_E_IO;
}

static int watched_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	uint64_t ring = the_log->ring.file_off + TWZ_LOG_HEADER_LEN;
	int slot, err;

	if (off < ring || off >= ring + RING)
		return real->write_sync(m, buf, off, len);
	slot = begin(off - ring, len);
	if (w.nap)
		usleep((useconds_t)rand_below(w.nap));
	err = w.fails ? fail_after(m, buf, off, len) : real->write_sync(m, buf, off, len);
	pthread_mutex_lock(&w.mutex);
	w.len[slot] = 0;
	if (!w.nap) /* one behind the other: so the laps are, too */
		count_sectors(off - ring, len);
	pthread_mutex_unlock(&w.mutex);
	return err;
}

static bool open_watched(const struct env *e, struct twz_store **s, useconds_t nap)
{
	if (T_OK(open_log(e->path, NULL, e->id, s, &the_log)))
		return false;
	memset(w.sector, 0, sizeof(w.sector));
	w.lap = 1;
	w.writes = w.beside = w.shared = w.twice = w.block_twice = w.nowhere = 0;
	w.nap = nap;
	w.fails = 0;
	real = (*s)->media->ops;
	ops = *real;
	ops.write_sync = watched_write;
	(*s)->media->ops = &ops;
	return true;
}

static void close_watched(struct twz_store *s)
{
	s->media->ops = real;
	twz_log_close(the_log);
	T_OK(twz_store_close(s));
}

static int commit_len(size_t len)
{
	uint64_t number, nr;
	int err = submit_len(the_log, len, &number, &nr);

	return err ? err : twz_log_wait(the_log, nr);
}

static int walk_one(void *ctx, uint64_t lsn, const void *rec, size_t len)
{
	uint64_t n, *last = ctx;

	(void)lsn;
	memcpy(&n, rec, sizeof(n));
	if (!body_is(rec, n, len) || (*last && n != *last + 1))
		return 1;
	*last = n;
	return 0;
}

/* The ring ends with the last record that was acknowledged, or with that of number LAST - 1. */
static void ring_ends_before(uint64_t next)
{
	uint64_t last = 0;

	T_EQ(twz_log_walk(the_log, walk_one, &last), 0);
	T_EQ(last + 1, next);
	T_EQ(world->bad, 0);
}

/* --- where --- */

/* One client: eight commits of up to a sector a block, and no sector is written twice in a lap. */
static void commits_one_by_one_share_blocks(void)
{
	struct twz_store *s;
	struct env e;

	if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
		return;
	for (int i = 0; i < 8 * 8; i++)
		T_OK(commit_len(300));
	T_EQ(the_log->seg->head, 8 * BLOCK);
	T_EQ(w.shared, 8 * 7);
	for (int i = 0; i < 600; i++) {
		T_OK(commit_len(MIN_BODY + (size_t)t_rand_below(i % 3 ? 500 : 3000)));
		if (i % 50 == 0)
			ring_ends_before(world->next);
	}
	T_EQ(w.beside + w.twice + w.nowhere, 0);
	ring_ends_before(world->next);
	close_watched(s);
	check_restart(e.path, e.id);
	unlink(e.path);
}

/* The end of a lap in every distance from the end of a batch. */
static void laps_end_in_every_sector(void)
{
	struct twz_store *s;
	struct env e;

	if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
		return;
	for (size_t len = 100; len < 9 * 512; len += 164)
		for (uint64_t lap = the_log->seg->head / RING + 2; the_log->seg->head / RING < lap;)
			if (T_OK(commit_len(len)))
				return;
	T_EQ(w.beside + w.twice + w.nowhere, 0);
	ring_ends_before(world->next);
	close_watched(s);
	check_restart(e.path, e.id);
	unlink(e.path);
}

static void *commit_on(void *arg)
{
	uint64_t number, nr;

	(void)arg;
	while (!atomic_load(&world->stop)) {
		if (submit_len(the_log, MIN_BODY + (size_t)rand_below(1500), &number, &nr) ||
		    twz_log_wait(the_log, nr))
			__atomic_store_n(&world->bad, 3, __ATOMIC_SEQ_CST);
		if (nr % 7 == 0)
			usleep(3000); /* so that now and then nothing is on its way */
	}
	return NULL;
}

/* Both kinds of beginning have been met often. */
static bool seen_enough(void)
{
	bool is;

	pthread_mutex_lock(&w.mutex);
	is = w.beside >= 20 && w.shared >= 20;
	pthread_mutex_unlock(&w.mutex);
	return is;
}

/* Two writes that are on their way at the same time touch no common block; behind one that has ended there may be another. */
static void two_on_their_way_share_no_block(void)
{
	uint64_t beside_len = twz__log_beside_len;
	pthread_t th[WORKERS];
	struct twz_store *s;
	struct env e;

	if (!log_new(&e, RING) || !open_watched(&e, &s, 2000))
		return;
	twz__log_beside_len = 0;
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&th[i], NULL, commit_on, NULL);
	for (int i = 0; i < 100 && (i < 10 || !seen_enough()); i++)
		usleep(100000);
	atomic_store(&world->stop, true);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(th[i], NULL);
	twz__log_beside_len = beside_len;
	T_TRUE(seen_enough());
	T_EQ(w.block_twice + w.nowhere, 0);
	ring_ends_before(world->next);
	close_watched(s);
	check_restart(e.path, e.id);
	unlink(e.path);
}

/* --- gaps --- */

/* What a dump says of the log has LINE. */
static bool dump_has(struct twz_store *s, const char *line)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool has;

	T_OK(twz_dump(s, TWZ_DUMP_LOG, f));
	fclose(f);
	has = strstr(text, line);
	free(text);
	return has;
}

/* Appended at once: in blocks of its own, behind a gap that a restart finds its way over; also when the tail lies before it. */
static void a_record_stands_behind_a_gap(void)
{
	for (int how = 0; how < 4; how++) {
		uint8_t body[200];
		struct iovec iov = {body, sizeof(body)};
		struct twz_store *s;
		uint64_t lsn, end;
		char line[100];
		struct env e;

		if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
			return;
		for (int i = 0; i < 1 + how; i++)
			T_OK(commit_len(300));
		end = the_log->seg->head;
		T_EQ(end, (uint64_t)(1 + how) * 512);
		if (how % 2)
			T_OK(twz_log_checkpoint(the_log)); /* the tail is inside a block */
		body_make(body, world->next, sizeof(body));
		T_OK(twz_log_append(the_log, &iov, 1, &lsn));
		T_EQ(lsn, BLOCK);
		T_EQ(the_log->seg->head, 2 * BLOCK);
		ring_ends_before(world->next + 1);
		snprintf(line, sizeof(line), "gap lsn %llu total %llu\n", (unsigned long long)end,
			 (unsigned long long)(BLOCK - end));
		T_TRUE(dump_has(s, line));
		close_watched(s); /* without having said that it was applied */
		check_restart(e.path, e.id);
		T_EQ(world->next, (uint64_t)how + 2);
		unlink(e.path);
	}
}

/* A record at LSN of the ring, as its writer would have made it behind one with sum PREV. */
static void forge(uint8_t *block, uint64_t lsn, uint64_t number, uint32_t prev, uint64_t seal)
{
	struct log_rec_pm *rec = (void *)block;

	memset(block, 0, BLOCK);
	rec->lsn = lsn;
	rec->prev = prev;
	rec->desc = (uint32_t)TWZ_LOG_REC_DATA << TWZ_LOG_DESC_KIND | TWZ_LOG_DESC_SECTOR | 100;
	body_make(block + sizeof(*rec), number, 100);
	rec->sum = twz__log_rec_sum(rec, seal);
}

static void put_block(uint64_t lsn, const uint8_t *block)
{
	T_OK(twz__log_write(&the_log->ring, twz__log_pos(&the_log->ring, lsn), block, BLOCK));
}

/*
 * Behind what is torn nothing counts: a record in the next block says behind which gap it stands, and bytes of somebody's that look like one
 * do not know the log's ID.
 */
static void a_gap_hides_no_torn_batch(void)
{
	uint8_t sector[512], block[BLOCK];
	const twz_oid nobody = {{0, 0}};
	uint64_t generation;
	uint32_t prev;
	struct twz_store *s;
	struct env e;

	if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
		return;
	T_OK(commit_len(300));
	T_OK(commit_len(300));
	T_EQ(world->next, 2);
	/* The sum of the first. The second is torn. */
	T_OK(twz__log_read(&the_log->ring, TWZ_LOG_HEADER_LEN, sector, sizeof(sector)));
	prev = (uint32_t)((struct log_rec_pm *)(void *)sector)->sum;
	memset(sector, 0xa5, sizeof(sector));
	T_OK(twz__log_write(&the_log->ring, TWZ_LOG_HEADER_LEN + 512, sector, sizeof(sector)));
	ring_ends_before(1);
	generation = the_log->seg->generation;
	for (uint64_t gap = 0; gap < BLOCK; gap += 512) {
		forge(block, BLOCK, 1, prev, twz__log_seal(e.id, generation, gap));
		put_block(BLOCK, block);
		ring_ends_before(gap == BLOCK - 512 ? 2 : 1);
	}
	forge(block, BLOCK, 1, prev, twz__log_seal(e.id, generation - 1, BLOCK - 512));
	put_block(BLOCK, block);
	ring_ends_before(1);
	forge(block, BLOCK, 1, prev, twz__log_seal(nobody, generation, BLOCK - 512));
	put_block(BLOCK, block);
	ring_ends_before(1);
	forge(block, BLOCK, 1, prev + 1, twz__log_seal(e.id, generation, BLOCK - 512));
	put_block(BLOCK, block);
	ring_ends_before(1);
	close_watched(s);
	unlink(e.path);
}

/* --- a restart cut short --- */

static struct {
	uint64_t header; /* where it is in the file */
	int left;	 /* writes to it that succeed */
} cut;

static int cut_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	bool header = off >= cut.header && off < cut.header + TWZ_LOG_HEADER_LEN;

	if (header && cut.left-- <= 0)
		return TWZ_E_IO;
	return real->write_sync(m, buf, off, len);
}

/* Its recovery writes to the header of the log N times, and ends there. */
static int restart_cut(const struct env *e, int n)
{
	const struct twz_log_user *user = log_world_user();
	struct twz_store *s;
	struct twz_log *l;
	int restart, err;

	if (T_OK(twz_store_open(e->path, NULL, &s)) ||
	    T_OK(twz_log_open(s, e->id, user, &l, &restart)))
		return 0;
	cut.header = l->ring.file_off;
	cut.left = n;
	real = s->media->ops;
	ops = *real;
	ops.write_sync = cut_write;
	s->media->ops = &ops;
	err = twz_log_recover(l, true);
	s->media->ops = real;
	twz_log_close(l);
	T_OK(twz_store_close(s));
	return err;
}

/*
 * A batch that ends at a block's end is torn; the one beside it stands at the next block's beginning, behind no gap, and is whole. A
 * restart drops both, and so does the one after it, wherever the first ended.
 */
static void a_restart_cut_short_brings_nothing_back(void)
{
	uint8_t sector[512], block[BLOCK];
	int err = TWZ_E_IO;

	memset(sector, 0xa5, sizeof(sector));
	for (int n = 0; err && n < 10; n++) {
		struct twz_store *s;
		struct env e;

		if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
			return;
		for (int i = 0; i < 7; i++)
			T_OK(commit_len(300));
		T_EQ(the_log->seg->head, BLOCK - 512);
		T_OK(twz__log_write(&the_log->ring, TWZ_LOG_HEADER_LEN + BLOCK - 512, sector,
				    sizeof(sector)));
		forge(block, BLOCK, 8, 0x1234, the_log->seg->generation);
		put_block(BLOCK, block);
		close_watched(s);
		world->next = 0;
		err = restart_cut(&e, n);
		if (err)
			T_ERR(err, TWZ_E_IO);
		world->next =
			n ? 7 : 0; /* the tail first; before it has moved, all are replayed again */
		check_restart(e.path, e.id);
		T_EQ(world->next, 7);
		T_EQ(world->bad, 0);
		if (open_watched(&e, &s, 0)) { /* and the log goes on */
			T_OK(commit_len(300));
			close_watched(s);
			world->next = 7;
			check_restart(e.path, e.id);
			T_EQ(world->next, 8);
		}
		unlink(e.path);
	}
	T_OK(err);
}

/* No two of a generation and a gap have the same seal. */
static void seals_tell_gap_and_generation(void)
{
	const twz_oid id = {{t_rand(), t_rand()}};
	static const uint64_t gen[] = {1, 2, 3, TWZ_LOG_GEN_MAX - 2, TWZ_LOG_GEN_MAX - 1};

	for (int a = 0; a < 5 * 8; a++)
		for (int b = 0; b < 5 * 8; b++) {
			uint64_t x = twz__log_seal(id, gen[a % 5], (uint64_t)(a / 5) * 512),
				 y = twz__log_seal(id, gen[b % 5], (uint64_t)(b / 5) * 512);

			T_TRUE((x == y) == (a == b));
		}
	T_EQ(twz__log_seal(id, 77, 0), 77); /* as in logs that know no gaps */
}

/* --- a write that fails (D17) --- */

/* Whatever of it has arrived: the commits before it in its block stay, and it is there whole or not at all. */
static void a_failed_write_spares_its_block(void)
{
	for (int sectors = 0; sectors <= 4; sectors++) {
		bool whole = sectors > 2; /* header and body: 1524 bytes */
		struct twz_store *s;
		struct env e;

		if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
			return;
		for (int i = 0; i < 3; i++)
			T_OK(commit_len(300));
		w.fails = 1 + sectors;
		T_ERR(commit_len(1500), TWZ_E_IO);
		w.fails = 0;
		T_EQ(w.shared, 3);
		T_ERR(commit_len(300), TWZ_E_FAILED);
		T_EQ(world->next, 3);
		ring_ends_before(whole ? 4 : 3);
		close_watched(s);
		world->next = 0; /* homes that have seen none of them */
		check_restart(e.path, e.id);
		T_EQ(world->next, whole ? 4 : 3);
		if (open_watched(&e, &s, 0)) { /* and the log goes on */
			T_OK(commit_len(300));
			close_watched(s);
			check_restart(e.path, e.id);
		}
		unlink(e.path);
	}
}

/* --- logs from before there were gaps --- */

static void a_log_without_gaps_goes_on_so(void)
{
	struct twz_store *s;
	struct log_head_pm h;
	struct env e;

	if (!log_new(&e, RING) || !open_watched(&e, &s, 0))
		return;
	T_OK(twz__log_read(&the_log->ring, 0, &h, sizeof(h)));
	T_EQ(h.incompat, TWZ_LOG_INCOMPAT_SECTORS);
	h.incompat = 0;
	h.sum = twz__log_head_sum(&h);
	T_OK(twz__log_write(&the_log->ring, 0, &h, sizeof(h)));
	close_watched(s);
	if (!open_watched(&e, &s, 0))
		return;
	for (int i = 0; i < 200; i++)
		T_OK(commit_len(300));
	T_EQ(w.shared + w.twice + w.nowhere, 0);
	ring_ends_before(world->next);
	close_watched(s);
	check_restart(e.path, e.id);
	unlink(e.path);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		T_CASE(commits_one_by_one_share_blocks),
		T_CASE(laps_end_in_every_sector),
		T_CASE(two_on_their_way_share_no_block),
		T_CASE(a_record_stands_behind_a_gap),
		T_CASE(a_gap_hides_no_torn_batch),
		T_CASE(a_restart_cut_short_brings_nothing_back),
		T_CASE(seals_tell_gap_and_generation),
		T_CASE(a_failed_write_spares_its_block),
		T_CASE(a_log_without_gaps_goes_on_so),
		T_END,
	};

	return t_main("log_blocks", cases, argc, argv);
}
