/* SPDX-License-Identifier: MIT
 * test_tx_crash.c -- undo transactions of processes that die, on media that fail or lie (twz/src/TX.md; docs/durability.md D1, D8, D10,
 * D17)
 */
#include "tx_env.h"
#include "txlog.h"

#include "backend.h"
#include "format_tx.h"
#include "txreg.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <xxhash.h>

/* --- dead processes --- */

struct victim {
	struct box b;
	struct gate ready;
	size_t len;
	int nested;
};

/* Open the store, change LEN bytes in a transaction, tell, wait to be killed. */
static int die_in_transaction(void *arg)
{
	struct victim *v = arg;
	struct twz_tx *tx, *in;
	struct twz_store *s;
	struct twz_obj *o;
	unsigned char *d;

	if (twz_store_open(v->b.path, NULL, &s) ||
	    twz_obj_open(s, v->b.id, TWZ_READ | TWZ_WRITE, &o) || twz_tx_begin(s, &tx))
		return 1;
	d = twz_obj_data(o);
	for (size_t at = 0; at < v->len; at += v->len / 4 + 1) {
		size_t n = v->len - at < v->len / 4 + 1 ? v->len - at : v->len / 4 + 1;

		if (v->nested && twz_tx_begin(s, &in))
			return 2;
		if (twz_tx_record(tx, d + at, n))
			return 3;
		memset(d + at, 0xaa, n);
		if (v->nested && (v->nested == 1 ? twz_tx_commit(in) : twz_tx_abort(in)))
			return 4;
	}
	memset(d, 0xab, 1);
	if (twz_sync(s, d, v->len)) /* the worst: the new bytes are on the medium */
		return 5;
	gate_open(&v->ready);
	pause();
	return 6;
}

static void kill_one(struct victim *v)
{
	pid_t pid;

	v->ready = gate_new();
	pid = kid_start(die_in_transaction, v);
	gate_wait(&v->ready);
	kid_kill(pid);
}

static void killed_transaction_is_gone_at_reopening(void)
{
	static const size_t lens[] = {1, 5000, 3 * MIB};

	for (size_t i = 0; i < 3; i++) {
		struct victim v = {.len = lens[i], .nested = (int)i};

		if (!box_open(&v.b, 4 * MIB))
			return;
		fill(v.b.d, 4 * MIB, 1);
		T_OK(twz_sync(v.b.s, v.b.d, 4 * MIB));
		env_close(v.b.s);
		v.b.s = NULL;
		kill_one(&v);
		if (box_reopen(&v.b))
			T_TRUE(is_filled(v.b.d, 4 * MIB, 1));
		env_close(v.b.s);
	}
}
BOTH(killed_transaction_is_gone_at_reopening)

static void living_process_rolls_back_before_opening(void)
{
	struct victim v = {.len = 300000};
	struct twz_obj *o;

	if (!box_open(&v.b, MIB))
		return;
	fill(v.b.d, MIB, 1);
	twz_obj_close(v.b.o);
	kill_one(&v);
	T_REQ(twz_obj_open(v.b.s, v.b.id, TWZ_READ, &o));
	T_TRUE(is_filled(twz_obj_data(o), MIB, 1));
	env_close(v.b.s);
}
BOTH(living_process_rolls_back_before_opening)

static int die_with_the_lock(void *arg)
{
	struct victim *v = arg;
	struct twz_tx *tx;
	struct twz_store *s;
	struct twz_obj *o;

	if (twz_store_open(v->b.path, NULL, &s) ||
	    twz_obj_open(s, v->b.id, TWZ_READ | TWZ_WRITE, &o) || twz_obj_lock(o, -1) ||
	    twz_tx_begin(s, &tx) || twz_tx_record(tx, twz_obj_data(o), v->len))
		return 1;
	memset(twz_obj_data(o), 0xaa, v->len);
	gate_open(&v->ready);
	pause();
	return 2;
}

static void living_process_rolls_back_before_locking(void)
{
	struct victim v = {.len = 100000};
	pid_t pid;

	if (!box_open(&v.b, MIB))
		return;
	fill(v.b.d, MIB, 1);
	v.ready = gate_new();
	pid = kid_start(die_with_the_lock, &v);
	gate_wait(&v.ready);
	T_ERR(twz_obj_lock(v.b.o, 0), TWZ_E_BUSY);
	T_EQ(v.b.d[0], 0xaa); /* not isolated without the lock */
	kid_kill(pid);
	T_REQ(twz_obj_lock(v.b.o, -1));
	T_TRUE(is_filled(v.b.d, MIB, 1));
	T_OK(twz_obj_unlock(v.b.o));
	env_close(v.b.s);
}
BOTH(living_process_rolls_back_before_locking)

/*
 * --- a bank: several processes move money between accounts in two objects; the sum never
 * changes ---
 */

enum { ACCOUNTS = 64, TELLERS = 3 };
static const int64_t start_balance = 1000;

struct bank {
	const char *path;
	twz_oid id[2];
	unsigned int seed;
};

static unsigned int next(unsigned int *x)
{
	*x = *x * 1103515245U + 12345U;
	return *x >> 16;
}

static int transfer(struct twz_store *s, struct twz_obj *o[2], unsigned int *x)
{
	int64_t *from = (int64_t *)twz_obj_data(o[0]) + next(x) % ACCOUNTS;
	int64_t *to = (int64_t *)twz_obj_data(o[1]) + next(x) % ACCOUNTS;
	int64_t sum = next(x) % 100;
	int err;

	TXSTART(s, tx, err)
		TXRECORD(tx, from);
		*from -= sum;
		TXRECORD(tx, to);
		*to += sum;
		if (sum % 8 == 0)
			TXABORT(tx);
	TXEND(tx, err);
	return err == TWZ_E_STATE ? 0 : err;
}

static int teller(void *arg)
{
	struct bank *k = arg;
	struct twz_store *s;
	struct twz_obj *o[2];
	int err;

	if (twz_store_open(k->path, NULL, &s) ||
	    twz_obj_open(s, k->id[0], TWZ_READ | TWZ_WRITE, &o[0]) ||
	    twz_obj_open(s, k->id[1], TWZ_READ | TWZ_WRITE, &o[1]))
		return 1;
	for (;;) {
		if (twz_obj_lock(o[0], -1) || twz_obj_lock(o[1], -1))
			return 2;
		err = transfer(s, o, &k->seed);
		if (twz_obj_unlock(o[1]) || twz_obj_unlock(o[0]) || err)
			return 3;
	}
}

static int64_t total(struct twz_obj *o[2])
{
	int64_t sum = 0;

	for (int i = 0; i < 2; i++)
		for (int k = 0; k < ACCOUNTS; k++)
			sum += ((int64_t *)twz_obj_data(o[i]))[k];
	return sum;
}

static bool bank_open(struct bank *k, struct twz_store **s, struct twz_obj *o[2])
{
	*s = env_store(k->path);
	return *s && !T_OK(twz_obj_open(*s, k->id[0], TWZ_READ | TWZ_WRITE, &o[0])) &&
	       !T_OK(twz_obj_open(*s, k->id[1], TWZ_READ | TWZ_WRITE, &o[1]));
}

/*
 * Let tellers work, kill them at random moments; another one stays with the store (LIVING) or it
 * is reopened.
 */
static void bank_round(struct bank *k, bool living)
{
	struct twz_store *s = NULL;
	struct twz_obj *o[2];
	pid_t pid[TELLERS];

	if (living && !bank_open(k, &s, o))
		return;
	for (int i = 0; i < TELLERS; i++) {
		k->seed = (unsigned int)t_rand();
		pid[i] = kid_start(teller, k);
	}
	for (int i = 0; i < TELLERS; i++) {
		usleep((useconds_t)(5000 + t_rand_below(30000)));
		T_EQ(kid_kill(pid[i]), SIGKILL); /* it was still working */
	}
	if (!living && !bank_open(k, &s, o))
		return;
	T_REQ(twz_obj_lock(o[0], -1));
	T_REQ(twz_obj_lock(o[1], -1));
	T_EQ(total(o), 2 * ACCOUNTS * start_balance);
	T_OK(twz_obj_unlock(o[1]));
	T_OK(twz_obj_unlock(o[0]));
	env_close(s);
}

static void bank_keeps_its_sum_through_kills(void)
{
	struct bank k = {.path = env_path()};
	struct twz_store *s = env_store(k.path);
	struct twz_obj *o;

	if (!s)
		return;
	for (int i = 0; i < 2; i++) {
		o = env_obj(s, 4096, &k.id[i]);
		for (int a = 0; o && a < ACCOUNTS; a++)
			((int64_t *)twz_obj_data(o))[a] = start_balance;
		if (o)
			T_OK(twz_sync(s, twz_obj_data(o), ACCOUNTS * 8));
	}
	env_close(s);
	for (int i = 0; i < 10; i++)
		bank_round(&k, i % 2);
}
BOTH(bank_keeps_its_sum_through_kills)

/* --- damage and forgery: the log of a killed process, edited --- */

/* Place in the file of the log that has entries. */
static size_t find_log(const struct env_file *f)
{
	uint64_t magic;

	for (size_t off = 0; off + 8192 <= f->len; off += 4096) {
		memcpy(&magic, f->data + off, 8);
		if (magic == TWZ_TXLOG_MAGIC &&
		    ((struct twz_txent_pm *)(f->data + off + TWZ_TXLOG_ENT_OFF))->magic ==
			    TWZ_TXENT_MAGIC)
			return off;
	}
	T_TRUE(false);
	return 0;
}

/* A killed process's image; the store is closed. */
static struct env_file crashed(struct victim *v, size_t *log)
{
	struct env_file f = {0};

	*log = 0;
	if (!box_open(&v->b, MIB))
		return f;
	fill(v->b.d, MIB, 1);
	T_OK(twz_sync(v->b.s, v->b.d, MIB));
	env_close(v->b.s);
	v->b.s = NULL;
	kill_one(v);
	f = env_read(v->b.path);
	*log = find_log(&f);
	return f;
}

static void reseal(struct twz_txent_pm *e, const struct twz_txlog_pm *h, uint64_t pos,
		   uint64_t seed)
{
	twz_oid log = {{h->id[0], h->id[1]}};

	e->head_sum = twz__txent_head_sum(e, log, pos);
	e->sum = twz__txent_sum(e, e + 1, seed);
}

static void expect_corrupt(struct victim *v, struct env_file *f, const char *part)
{
	struct twz_store *s;

	env_write(v->b.path, f);
	T_ERR(twz_store_open(v->b.path, NULL, &s), TWZ_E_CORRUPT);
	T_HAS(twz_errmsg(), part);
	T_TRUE(s == NULL);
}

static void torn_last_entry_does_not_count(void)
{
	struct victim v = {.len = 10000};
	struct twz_txent_pm *e;
	struct env_file f;
	uint32_t off;
	size_t log;

	f = crashed(&v, &log);
	if (!log)
		return;
	e = (struct twz_txent_pm *)(f.data + log + TWZ_TXLOG_ENT_OFF);
	while (e->seq < 4)
		e = (struct twz_txent_pm *)(f.data + log + e->next_off);
	((unsigned char *)(e + 1))[5] ^= 1;
	off = e->off - 4096;
	env_write(v.b.path, &f);
	env_free(&f);
	if (box_reopen(&v.b)) {
		T_TRUE(is_filled(v.b.d, off, 1)); /* what valid entries cover is restored */
		T_EQ(v.b.d[9999], 0xaa);	  /* as if the fourth record had not returned */
	}
	env_close(v.b.s);
}
BOTH(torn_last_entry_does_not_count)

static void damaged_middle_entry_is_noticed(void)
{
	struct victim v = {.len = 10000};
	struct twz_txent_pm *e;
	struct env_file f;
	size_t log;

	f = crashed(&v, &log);
	if (!log)
		return;
	e = (struct twz_txent_pm *)(f.data + log + TWZ_TXLOG_ENT_OFF);
	((unsigned char *)(e + 1))[5] ^= 1;
	expect_corrupt(&v, &f, "damaged");
	env_free(&f);
}
BOTH(damaged_middle_entry_is_noticed)

static void forged_entries_write_nothing(void)
{
	static const uint32_t bad[] = {0, 4095, 4096 + (1 << 20), 4096 + (1 << 20) - 10,
				       0xfffffff0};
	struct victim v = {.len = 100};
	struct twz_txlog_pm *h;
	struct twz_txent_pm *e;
	struct env_file f, after;
	bool found = false;
	uint64_t seed;
	size_t log;

	f = crashed(&v, &log);
	if (!log)
		return;
	h = (struct twz_txlog_pm *)(f.data + log);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		seed = twz__txent_seed((twz_oid){{h->id[0], h->id[1]}},
				       1); /* the victim's first transaction */
		for (uint64_t pos = TWZ_TXLOG_ENT_OFF;; pos = e->next_off) {
			e = (struct twz_txent_pm *)(f.data + log + pos);
			if (e->magic != TWZ_TXENT_MAGIC)
				break;
			if (e->seq ==
			    1) /* the oldest, so that a careless rollback would have written the others first */
				e->off = bad[i];
			reseal(e, h, pos, seed);
			seed = e->sum;
		}
		expect_corrupt(&v, &f, "undo entry names");
	}
	/* Data of the object still are what the dead process left: nothing was rolled back. */
	after = env_read(v.b.path);
	for (size_t off = 0; off + 4096 <= after.len; off += 4096)
		found |= after.data[off] == 0xab && after.data[off + 1] == 0xaa &&
			 after.data[off + 99] == 0xaa;
	T_TRUE(found);
	env_free(&after);
	env_free(&f);
}
BOTH(forged_entries_write_nothing)

static void damaged_header_and_word_are_noticed(void)
{
	struct victim v = {.len = 100};
	struct env_file f;
	uint64_t *word;
	size_t log;

	f = crashed(&v, &log);
	if (!log)
		return;
	word = (uint64_t *)(f.data + log + TWZ_TXLOG_RETIRE_OFF);
	T_EQ(*word, 0);
	f.data[log + 3] ^= 1; /* not taken for a log that was never finished: it has entries */
	expect_corrupt(&v, &f, "header of undo log");
	f.data[log + 3] ^= 1;
	*word += 1ULL << 16; /* claims that the transaction was committed */
	expect_corrupt(&v, &f, "retirement word");
	*word = twz__txretire_word(
		(twz_oid){{((uint64_t *)(f.data + log))[4], ((uint64_t *)(f.data + log))[5]}}, 7);
	f.data[log + 3] ^= 1;
	expect_corrupt(&v, &f, "header of undo log");
	env_free(&f);
}
BOTH(damaged_header_and_word_are_noticed)

/* --- finding logs: nothing but the store's own logs is looked at --- */

static bool exists(struct twz_store *s, twz_oid id)
{
	struct twz_obj_stat st = {.size = sizeof(st)};

	return !twz_obj_stat_id(s, id, &st);
}

/* Bucket of an object, as core/README.md defines it. */
static uint64_t bucket_of(const struct twz_root_pm *root, uint64_t seed, twz_oid id)
{
	uint64_t hash = XXH64(&id, sizeof(id), seed), n = 1;

	while (2 * n <= root->bucket_cnt)
		n *= 2;
	return hash % (2 * n) < root->bucket_cnt ? hash % (2 * n) : hash % n;
}

/* Damage buckets: all but those of the CNT objects (SPARE), or only those. Returns how many. */
static int damage_buckets(struct env_file *f, uint64_t seed, const twz_oid *ids, int cnt,
			  bool spare)
{
	const struct twz_root_pm *root = (const struct twz_root_pm *)(f->data + TWZC_ROOT_OFF);
	int done = 0;

	for (size_t off = 4 * TWZ_PAGE_SIZE; off + TWZ_PAGE_SIZE <= f->len; off += TWZ_PAGE_SIZE) {
		struct twz_bucket_pm *b = (struct twz_bucket_pm *)(f->data + off);
		bool listed = false;

		if (b->magic != TWZC_BUCKET_MAGIC)
			continue;
		for (int i = 0; i < cnt; i++)
			listed |= b->bucket == bucket_of(root, seed, ids[i]);
		if (listed == spare)
			continue;
		b->sum ^= 1;
		done++;
	}
	return done;
}

static bool add_objects(struct twz_store *s, int cnt)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 4096};
	int err = 0;

	for (int i = 0; i < cnt && !err; i++)
		err = twz_obj_create(s, &opt, NULL, NULL);
	return !T_OK(err);
}

/*
 * A store of many objects, closed well, whose only log was used; then one is killed in a
 * transaction.
 */
static bool crowded(struct victim *v, twz_oid logs[2], uint64_t *seed)
{
	struct twz_store_info info = {.size = sizeof(info)};
	struct twz_tx *tx;

	if (!box_open(&v->b, MIB) || !add_objects(v->b.s, 600))
		return false;
	fill(v->b.d, MIB, 1);
	if (T_OK(twz_tx_begin(v->b.s, &tx)) || T_OK(twz_tx_commit(tx)) ||
	    T_OK(twz_sync(v->b.s, v->b.d, MIB)) || T_OK(twz_store_info(v->b.s, &info)))
		return false;
	*seed = info.uuid.w[0] ^ info.uuid.w[1];
	logs[0] = twz__txlog_id(v->b.s, 0);
	logs[1] = twz__txlog_id(v->b.s, 1); /* the first that does not exist ends the search */
	T_OK(twz_store_close(v->b.s));
	v->b.s = NULL;
	kill_one(v);
	return true;
}

static void opening_looks_at_no_other_object(void)
{
	struct victim v = {.len = 300000};
	uint64_t seed, found = 0;
	struct env_file f;
	twz_oid ids[4];

	if (!crowded(&v, ids, &seed))
		return;
	ids[2] = v.b.id;
	ids[3] = twz__txlog_overflow_id(ids[0], 1); /* the log may have been continued there */
	f = env_read(v.b.path);
	T_TRUE(damage_buckets(&f, seed, ids, 4, true) > 20);
	env_write(v.b.path, &f);
	env_free(&f);
	if (box_reopen(&v.b)) {
		T_TRUE(is_filled(v.b.d, MIB, 1)); /* rolled back as ever */
		T_OK(twz_check(v.b.s, NULL, NULL, &found));
		T_TRUE(found > 0);
	}
	T_OK(twz_store_close(v.b.s));
}
BOTH(opening_looks_at_no_other_object)

static void damage_where_a_log_may_be_is_not_overlooked(void)
{
	struct victim v = {.len = 1000};
	struct env_file f;
	twz_oid ids[2];
	uint64_t seed;

	if (!crowded(&v, ids, &seed))
		return;
	f = env_read(v.b.path);
	for (int i = 0; i < 2; i++) {
		T_TRUE(damage_buckets(&f, seed, &ids[i], 1, false) > 0);
		expect_corrupt(&v, &f, "bucket");
		damage_buckets(&f, seed, &ids[i], 1, false); /* the same change heals */
	}
	env_write(v.b.path, &f);
	if (box_reopen(&v.b))
		T_TRUE(is_filled(v.b.d, MIB, 1));
	env_close(v.b.s);
	env_free(&f);
}
BOTH(damage_where_a_log_may_be_is_not_overlooked)

static int make_object(struct twz_store *s, twz_oid id, unsigned char byte)
{
	struct twz_obj_options opt = {.size = sizeof(opt),
				      .len = 300000,
				      .id = id,
				      .kind = TWZ_TXLOG_OVERFLOW,
				      .flags = TWZ_OBJ_TXLOG | TWZ_OBJ_CONTIGUOUS};
	struct twz_obj *o;
	int err = twz_obj_create(s, &opt, NULL, &o);

	if (err)
		return err;
	memset((char *)twz_obj_data(o) + TWZ_TXLOG_ENT_OFF, byte, opt.len - TWZ_TXLOG_ENT_OFF);
	err = twz_sync(s, twz_obj_data(o), opt.len);
	twz_obj_close(o);
	return err;
}

static void overflow_objects_of_the_dead_are_reclaimed(void)
{
	struct victim v = {.len = 3 * MIB};
	struct twz_obj *o;
	struct twz_tx *tx;
	twz_oid log;

	if (!box_open(&v.b, 4 * MIB))
		return;
	fill(v.b.d, 4 * MIB, 1);
	T_OK(twz_tx_begin(v.b.s, &tx));
	T_OK(twz_tx_commit(tx));
	log = twz__txlog_id(v.b.s, 0);
	T_OK(make_object(v.b.s, twz__txlog_overflow_id(log, 1), 0xee));
	T_OK(make_object(v.b.s, twz__txlog_overflow_id(log, TWZ_TXLOG_GAP), 0xee));
	if (!box_reopen(&v.b)) /* restart */
		return;
	T_TRUE(exists(v.b.s, log));
	T_TRUE(!exists(v.b.s, twz__txlog_overflow_id(log, 1)));
	T_TRUE(!exists(v.b.s, twz__txlog_overflow_id(log, TWZ_TXLOG_GAP)));
	/* Who needs the ID while others run does not take the rubbish for its own. */
	T_OK(make_object(v.b.s, twz__txlog_overflow_id(log, 1), 0xee));
	fill(v.b.d, 4 * MIB, 1);
	twz_obj_close(v.b.o);
	kill_one(&v);
	if (!T_OK(twz_obj_open(v.b.s, v.b.id, TWZ_READ, &o)))
		T_TRUE(is_filled(twz_obj_data(o), 4 * MIB, 1));
	T_TRUE(!exists(v.b.s, twz__txlog_overflow_id(log, 1)));
	env_close(v.b.s);
}
BOTH(overflow_objects_of_the_dead_are_reclaimed)

static void log_without_header_is_used(void)
{
	struct victim v = {.len = 10000};

	if (!box_open(&v.b, MIB))
		return;
	fill(v.b.d, MIB, 1);
	T_OK(twz_sync(v.b.s, v.b.d, MIB));
	T_OK(twz__txlog_make(v.b.s, 0));
	T_OK(twz__txlog_make(v.b.s, 0)); /* as often as one likes */
	env_close(v.b.s);
	v.b.s = NULL;
	kill_one(&v);
	if (box_reopen(&v.b)) {
		T_TRUE(is_filled(v.b.d, MIB, 1));
		T_TRUE(!exists(v.b.s, twz__txlog_id(v.b.s, 1)));
		T_ERR(twz_obj_delete(v.b.s, twz__txlog_id(v.b.s, 0)), TWZ_E_INVAL);
	}
	env_close(v.b.s);
}
BOTH(log_without_header_is_used)

/*
 * The owner of slot 0 has not made its log yet, and never will: restart must find log 1 all the
 * same.
 */
static void logs_leave_no_gap(void)
{
	struct twz__tx_rt *rt;
	struct twz_tx *tx;
	struct box b;

	if (!box_open(&b, 8192) || T_OK(twz__tx_rt_get(b.s, &rt)))
		return;
	rt->reg->used = 1;
	rt->reg->slot[0].proc = twz_proc_self(b.s);
	rt->reg->slot[0].incarnation = twz_proc_incarnation(b.s);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_commit(tx));
	T_TRUE(exists(b.s, twz__txlog_id(b.s, 0)));
	T_TRUE(exists(b.s, twz__txlog_id(b.s, 1)));
	twz__txreg_set_free(&rt->reg->slot[0]);
	env_close(b.s);
}
BOTH(logs_leave_no_gap)

enum { CROWD = 9 };
static pthread_barrier_t all_open;

static void *one_transaction(void *s)
{
	struct twz_tx *tx;
	int err = twz_tx_begin(s, &tx);

	pthread_barrier_wait(&all_open);
	return err || twz_tx_commit(tx) ? s : NULL;
}

static void restart_keeps_a_few_logs(void)
{
	pthread_t t[CROWD];
	uint32_t cnt = 0;
	struct box b;
	void *bad;

	if (!box_open(&b, 8192))
		return;
	pthread_barrier_init(&all_open, NULL, CROWD);
	for (int i = 0; i < CROWD; i++)
		T_REQ(pthread_create(&t[i], NULL, one_transaction, b.s));
	for (int i = 0; i < CROWD; i++) {
		T_REQ(pthread_join(t[i], &bad));
		T_TRUE(!bad);
	}
	for (uint32_t k = 0; k <= CROWD; k++)
		T_EQ(exists(b.s, twz__txlog_id(b.s, k)), k < CROWD);
	if (box_reopen(&b))
		for (uint32_t k = 0; k <= CROWD; k++)
			cnt += exists(b.s, twz__txlog_id(b.s, k));
	T_EQ(cnt, 4);
	T_TRUE(exists(b.s, twz__txlog_id(b.s, 3)));
	env_close(b.s);
}
BOTH(restart_keeps_a_few_logs)

/* --- failing media --- */

static struct twz__media_ops ops; /* of the file, with some replaced */
static const struct twz__media_ops *real;
static int fail_grow, fail_write, fail_sync; /* 1 = the next one, 2 = the one after .. */

static int my_grow(struct twz__media *m, uint64_t len)
{
	return fail_grow ? TWZ_E_NOSPC : real->grow(m, len);
}

static int my_write(struct twz__media *m, const void *buf, uint64_t off, uint64_t len)
{
	return fail_write && !--fail_write ? TWZ_E_IO : real->write_sync(m, buf, off, len);
}

static int my_sync(struct twz__media *m, void *addr, uint64_t len)
{
	return fail_sync && !--fail_sync ? TWZ_E_IO : real->sync_range(m, addr, len);
}

static int bad_open(void *ctx, const char *path, uint32_t flags, uint64_t len,
		    struct twz__media **out, int *created)
{
	int err = twz__file_backend.open(ctx, path, flags, len, out, created);

	if (err)
		return err;
	real = (*out)->ops;
	ops = *real;
	ops.grow = my_grow;
	ops.write_sync = my_write;
	ops.sync_range = my_sync;
	(*out)->ops = &ops;
	return 0;
}

static bool bad_box(struct box *b, size_t len)
{
	static const struct twz__backend backend = {.version = 1, .open = bad_open};
	struct twz_store_options opt = {
		.size = sizeof(opt), .flags = TWZ_STORE_CREATE, .backend = &backend};

	fail_grow = fail_write = fail_sync = 0;
	memset(b, 0, sizeof(*b));
	b->path = env_path();
	if (T_OK(twz_store_open(b->path, &opt, &b->s)))
		return false;
	b->o = env_obj(b->s, len, &b->id);
	b->d = b->o ? twz_obj_data(b->o) : NULL;
	return b->d != NULL;
}

static void full_disk_refuses_the_record_only(void)
{
	struct twz_tx *tx;
	struct box b;
	int err = 0;

	if (!bad_box(&b, 16 * MIB))
		return;
	fill(b.d, 16 * MIB, 4);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 100));
	memset(b.d, 0, 100);
	fail_grow = 1;
	err = twz_tx_record(tx, b.d + 4096, 12 * MIB);
	T_EQ(err, TWZ_E_NOSPC);
	T_OK(twz_tx_record(tx, b.d + 200, 100)); /* small ones go on */
	memset(b.d + 200, 0, 100);
	T_OK(twz_tx_abort(tx));
	T_TRUE(is_filled(b.d, 16 * MIB, 4));
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 100));
	memset(b.d, 0, 100);
	T_OK(twz_tx_commit(tx));
	fail_grow = 0;
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d + 4096, 12 * MIB));
	T_OK(twz_tx_commit(tx));
	env_close(b.s);
}
BOTH(full_disk_refuses_the_record_only)

static void failed_log_write_fails_the_store_page(void)
{
	struct twz_tx *tx;
	struct box b;

	env_media(0);
	if (!bad_box(&b, 8192))
		return;
	fill(b.d, 8192, 4);
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 100));
	memset(b.d, 0, 100);
	fail_write = 1;
	T_ERR(twz_tx_record(tx, b.d + 200, 100), TWZ_E_IO);
	T_ERR(twz_tx_record(tx, b.d + 400, 100), TWZ_E_FAILED);
	T_ERR(twz_tx_commit(tx), TWZ_E_FAILED);
	T_TRUE(twz_tx_abort(tx) != 0);
	T_TRUE(is_filled(b.d, 8192, 4)); /* undone in memory */
	T_ERR(twz_tx_begin(b.s, &tx), TWZ_E_FAILED);
	twz_store_close(b.s);
	b.s = NULL;
	if (box_reopen(&b)) {
		T_TRUE(is_filled(b.d, 8192, 4));
		T_OK(twz_tx_begin(b.s, &tx));
		T_OK(twz_tx_commit(tx));
	}
	env_close(b.s);
}

static void failed_commit_sync_is_decided_at_reopening_page(void)
{
	struct twz_tx *tx;
	struct box b;

	env_media(0);
	if (!bad_box(&b, 8192))
		return;
	fill(b.d, 8192, 4);
	T_OK(twz_sync(b.s, b.d, 8192));
	T_REQ(twz_tx_begin(b.s, &tx));
	T_OK(twz_tx_record(tx, b.d, 100));
	memset(b.d, 0, 100);
	fail_sync = 1;
	T_ERR(twz_tx_commit(tx), TWZ_E_IO);
	T_ERR(twz_tx_begin(b.s, &tx), TWZ_E_FAILED);
	twz_store_close(b.s);
	b.s = NULL;
	if (box_reopen(&b))
		T_TRUE(is_filled(b.d, 8192, 4)); /* the log was not retired: it never happened */
	env_close(b.s);
}

int main(int argc, char **argv)
{
	static const struct t_case cases[] = {
		BOTH_CASES(killed_transaction_is_gone_at_reopening),
		BOTH_CASES(living_process_rolls_back_before_opening),
		BOTH_CASES(living_process_rolls_back_before_locking),
		BOTH_CASES(bank_keeps_its_sum_through_kills),
		BOTH_CASES(torn_last_entry_does_not_count),
		BOTH_CASES(damaged_middle_entry_is_noticed),
		BOTH_CASES(forged_entries_write_nothing),
		BOTH_CASES(damaged_header_and_word_are_noticed),
		BOTH_CASES(opening_looks_at_no_other_object),
		BOTH_CASES(damage_where_a_log_may_be_is_not_overlooked),
		BOTH_CASES(overflow_objects_of_the_dead_are_reclaimed),
		BOTH_CASES(log_without_header_is_used),
		BOTH_CASES(logs_leave_no_gap),
		BOTH_CASES(restart_keeps_a_few_logs),
		BOTH_CASES(full_disk_refuses_the_record_only),
		T_CASE(failed_log_write_fails_the_store_page),
		T_CASE(failed_commit_sync_is_decided_at_reopening_page),
		T_END,
	};

	t_err_name = twz_err_name;
	t_err_msg = twz_errmsg;
	return t_main("tx_crash", cases, argc, argv);
}
