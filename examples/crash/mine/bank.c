/* SPDX-License-Identifier: MIT
 * bank.c -- see bank.h; nothing in it knows of the test
 */
#include "bank.h"

static int64_t *accounts(struct twz_store *s)
{
	struct twz_obj_options opt = {.size = sizeof(opt), .len = 4096, .id = {{0xba17, 2}}};
	struct twz_obj *o = NULL;

	if (twz_obj_open(s, opt.id, TWZ_READ | TWZ_WRITE, &o) && twz_obj_create(s, &opt, NULL, &o))
		return NULL;
	return twz_obj_data(o);
}

int transfer(struct twz_store *s, int from, int to, int64_t cents)
{
	int64_t *a = accounts(s);
	struct twz_tx *tx;
	int err = a ? twz_tx_begin(s, &tx) : TWZ_E_NOENT;

	if (err)
		return err;
	err = twz_tx_record(tx, &a[from], sizeof(*a));
	if (!err)
		err = twz_tx_record(tx, &a[to], sizeof(*a));
	if (err) {
		(void)!twz_tx_abort(tx);
		return err;
	}
	a[from] -= cents;
	a[to] += cents;
	return twz_tx_commit(tx);
}

int64_t balance(struct twz_store *s, int account)
{
	struct twz_obj *o = NULL;
	int64_t cents;

	if (twz_obj_open(s, (twz_oid){{0xba17, 2}}, TWZ_READ, &o))
		return 0;
	cents = ((const int64_t *)twz_obj_data(o))[account];
	twz_obj_close(o);
	return cents;
}
