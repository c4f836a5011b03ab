/* SPDX-License-Identifier: MIT
 * list.c -- a linked list that is its own file: nodes in an object, joined by persistent pointers (libtwz)
 *
 *	list STORE add TEXT...		put each at the front
 *	list STORE show			print all
 *	list STORE drop			remove the first
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <twz/twz.h>

/* On the medium: no C pointer, no address. The same bytes mean the same in every process. */
struct node {
	twz_pptr next;
	char text[];
};

struct list {
	twz_pptr first;
	twz_pptr fresh; /* owner of a node until it is linked; null between two transactions */
	uint64_t cnt;
};

static void ok(int rc)
{
	if (rc)
		errx(1, "%s: %s", twz_err_name(rc), twz_errmsg());
}

/* The object named "list"; the first caller makes it: the head at its beginning, an arena behind. */
static struct twz_obj *open_list(struct twz_store *s)
{
	struct twz_obj_options oo = {.size = sizeof(oo), .len = 64 << 10};
	struct twz_obj *o;
	twz_oid id;
	int rc = twz_name_get(s, "list", &id);

	if (!rc) {
		ok(twz_obj_open(s, id, TWZ_READ | TWZ_WRITE, &o));
		return o;
	}
	if (rc != TWZ_E_NOENT)
		ok(rc);
	ok(twz_obj_create(s, &oo, &id, &o));
	ok(twz_arena_create(o, TWZ_DATA_OFF + sizeof(struct list)));
	ok(twz_name_set(s, "list", id, 0));
	return o;
}

static void add(struct twz_obj *o, const char *text)
{
	struct list *l = twz_obj_data(o);
	struct twz_tx *tx;
	struct node *n;
	void *p;

	/* All of it, or nothing, whatever happens to this process or the power. */
	ok(twz_tx_begin(twz_obj_store(o), &tx));
	ok(twz_tx_record(tx, l, sizeof(*l)));
	ok(twz_alloc(o, sizeof(*n) + strlen(text) + 1, &l->fresh, &p));
	n = p;
	strcpy(n->text, text);
	n->next = l->first; /* within one object a pointer is an offset: copied like a number */
	l->first = l->fresh;
	l->fresh = TWZ_PPTR_NULL;
	l->cnt++;
	ok(twz_tx_commit(tx));
}

static void drop(struct twz_obj *o)
{
	struct list *l = twz_obj_data(o);
	struct node *n = twz_lea(l, l->first);
	struct twz_tx *tx;

	if (!n)
		return;
	ok(twz_tx_begin(twz_obj_store(o), &tx));
	ok(twz_tx_record(tx, l, sizeof(*l)));
	l->fresh = l->first;
	l->first = n->next;
	l->cnt--;
	ok(twz_free(o, &l->fresh)); /* and makes it null */
	ok(twz_tx_commit(tx));
}

static void show(struct twz_obj *o)
{
	const struct list *l = twz_obj_data(o);

	for (const struct node *n = twz_lea(l, l->first); n; n = twz_lea(n, n->next))
		puts(n->text);
	printf("(%llu)\n", (unsigned long long)l->cnt);
}

int main(int argc, char **argv)
{
	struct twz_store_options so = {.size = sizeof(so), .flags = TWZ_STORE_CREATE};
	struct twz_store *s;
	struct twz_obj *o;

	if (argc < 3)
		errx(2, "usage: list STORE add TEXT... | show | drop");
	ok(twz_store_open(argv[1], &so, &s));
	o = open_list(s);
	if (!strcmp(argv[2], "add"))
		for (int i = 3; i < argc; i++)
			add(o, argv[i]);
	else if (!strcmp(argv[2], "drop"))
		drop(o);
	else
		show(o);
	twz_obj_close(o);
	ok(twz_store_close(s));
	return 0;
}
