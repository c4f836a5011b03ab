/* SPDX-License-Identifier: MIT
 * native_decl.c -- the arguments of CREATE VIRTUAL TABLE ... USING twz(...)
 *
 * They are what stands between the parentheses of a CREATE TABLE, and INDEX name(columns). So a
 * table of these columns is made in a database in memory, and SQLite asked what it has understood:
 * types, constraints and messages are its own, not a second parser's.
 */
#include <errno.h>

#include "native.h"

struct maker {
	sqlite3 *db;
	const char *name;
	struct ndecl *d;
	char **err;
};

static int fail(struct maker *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	sqlite3_free(*m->err);
	*m->err = sqlite3_vmprintf(fmt, ap);
	va_end(ap);
	return SQLITE_ERROR;
}

/* --- looking at the text --- */

static bool is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || (unsigned char)c >= 0x80;
}

/* Behind the token at S: a string, name, comment, word, space or one character. */
static const char *skip_token(const char *s)
{
	char end = *s == '[' ? ']' : *s;

	if (*s == '\'' || *s == '"' || *s == '`' || *s == '[') {
		for (s++; *s && !(*s == end && (end == ']' || s[1] != end)); s++)
			s += *s == end;
		return *s ? s + 1 : s;
	}
	if (s[0] == '-' && s[1] == '-')
		return s + strcspn(s, "\n");
	if (s[0] == '/' && s[1] == '*') {
		const char *e = strstr(s + 2, "*/");

		return e ? e + 2 : s + strlen(s);
	}
	if (!is_word_char(*s))
		return s + 1;
	while (is_word_char(*s))
		s++;
	return s;
}

static bool is_word(const char *s, const char *word)
{
	size_t n = strlen(word);

	return is_word_char(*s) && skip_token(s) == s + n && !sqlite3_strnicmp(s, word, (int)n);
}

bool twzvfs__decl_has_word(const char *s, const char *word)
{
	for (; *s; s = skip_token(s))
		if (is_word(s, word))
			return true;
	return false;
}

static const char *skip_space(const char *s)
{
	while (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\r' ||
	       (s[0] == '-' && s[1] == '-') || (s[0] == '/' && s[1] == '*'))
		s = skip_token(s);
	return s;
}

/* Is ARG "[UNIQUE] INDEX [name] (...)"? *LIST = its "(...)", *NAME, *NAME_LEN the name. */
static bool is_index(const char *arg, bool *unique, const char **name, int *name_len,
		     const char **list)
{
	const char *s = skip_space(arg);

	*unique = is_word(s, "UNIQUE");
	if (*unique)
		s = skip_space(skip_token(s));
	if (!is_word(s, "INDEX"))
		return false;
	s = skip_space(skip_token(s));
	*name = s;
	if (*s && *s != '(')
		s = skip_token(s);
	*name_len = (int)(s - *name);
	*list = skip_space(s);
	return **list == '(';
}

/* --- making the table in memory --- */

static int exec(struct maker *m, char *sql)
{
	sqlite3_stmt *st = NULL;
	const char *tail = "";
	int rc = sql ? sqlite3_prepare_v2(m->db, sql, -1, &st, &tail) : SQLITE_NOMEM;

	if (rc == SQLITE_OK && *skip_space(tail))
		rc = fail(m, "%s: unbalanced parentheses", m->name);
	else if (rc == SQLITE_OK)
		rc = sqlite3_step(st) == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
	if (rc != SQLITE_OK && !*m->err)
		fail(m, "%s: %s", m->name, sqlite3_errmsg(m->db));
	sqlite3_finalize(st);
	sqlite3_free(sql);
	return rc;
}

static char *join(int cnt, const char *const *arg, bool indexes)
{
	sqlite3_str *s = sqlite3_str_new(NULL);
	const char *name, *list;
	char *out;
	bool unique;
	int len;

	for (int i = 0; i < cnt; i++)
		if (indexes || !is_index(arg[i], &unique, &name, &len, &list))
			sqlite3_str_appendf(s, "%s%s", sqlite3_str_length(s) ? ", " : "", arg[i]);
	out = sqlite3_str_finish(s);
	return out ? out : sqlite3_mprintf(""); /* of nothing, SQLite makes NULL */
}

static int create(struct maker *m, int cnt, const char *const *arg)
{
	char *cols = join(cnt, arg, false);
	const char *name, *list;
	bool unique;
	int len, rc;

	rc = exec(m, sqlite3_mprintf("CREATE TABLE \"%w\"(%s\n)", m->name, cols ? cols : ""));
	sqlite3_free(cols);
	for (int i = 0; i < cnt && rc == SQLITE_OK; i++) {
		if (!is_index(arg[i], &unique, &name, &len, &list))
			continue;
		if (len)
			rc = exec(m, sqlite3_mprintf("CREATE %sINDEX %.*s ON \"%w\"%s",
						     unique ? "UNIQUE " : "", len, name, m->name,
						     list));
		else
			rc = exec(m, sqlite3_mprintf(
					     "CREATE %sINDEX \"index %d of %w\" ON \"%w\"%s",
					     unique ? "UNIQUE " : "", i, m->name, m->name, list));
	}
	return rc;
}

/* What a virtual table cannot keep is refused, not forgotten. */
static int check_words(struct maker *m)
{
	static const struct {
		const char *word, *why;
	} no[] = {
		{"DEFAULT",
		 "SQLite does not tell a virtual table which columns an INSERT left out"},
		{"REFERENCES", "SQLite does not check foreign keys of virtual tables"},
		{"AUTOINCREMENT", "there is no sqlite_sequence for virtual tables"},
		{"CONFLICT", "write INSERT OR ..., UPDATE OR ... instead"},
		{"GENERATED", "virtual tables have no generated columns"},
	};

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (twzvfs__decl_has_word(m->d->text, no[i].word))
			return fail(m, "%s: %s is not possible in a native table: %s", m->name,
				    no[i].word, no[i].why);
	return SQLITE_OK;
}

/* --- asking what it has --- */

static int query(struct maker *m, sqlite3_stmt **st, const char *sql, const char *arg)
{
	int rc = sqlite3_prepare_v2(m->db, sql, -1, st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(*st, 1, arg, -1, SQLITE_TRANSIENT);
	return rc ? fail(m, "%s: %s", m->name, sqlite3_errmsg(m->db)) : rc;
}

static bool contains(const char *s, const char *part)
{
	size_t n = strlen(part);

	for (; *s; s++)
		if (!sqlite3_strnicmp(s, part, (int)n))
			return true;
	return false;
}

/* SQLite's rules, "Determination Of Column Affinity". */
static enum naff affinity(const char *type)
{
	if (contains(type, "INT"))
		return AFF_INTEGER;
	if (contains(type, "CHAR") || contains(type, "CLOB") || contains(type, "TEXT"))
		return AFF_TEXT;
	if (contains(type, "BLOB") || !*type)
		return AFF_BLOB;
	if (contains(type, "REAL") || contains(type, "FLOA") || contains(type, "DOUB"))
		return AFF_REAL;
	return AFF_NUMERIC;
}

static int collation(struct maker *m, const char *name, enum ncoll *out)
{
	if (!sqlite3_stricmp(name, "BINARY"))
		*out = COLL_BINARY;
	else if (!sqlite3_stricmp(name, "NOCASE"))
		*out = COLL_NOCASE;
	else if (!sqlite3_stricmp(name, "RTRIM"))
		*out = COLL_RTRIM;
	else
		return fail(m, "%s: a native table has no collation %s: BINARY, NOCASE, RTRIM",
			    m->name, name);
	return SQLITE_OK;
}

static int add_column(struct maker *m, sqlite3_str *vtab, sqlite3_stmt *st)
{
	const char *name = (const char *)sqlite3_column_text(st, 0);
	const char *type = (const char *)sqlite3_column_text(st, 1), *coll = "BINARY";
	struct ndecl *d = m->d;
	struct ncol *c = &d->col[d->col_cnt++];
	int rc;

	if (!name || !type)
		return SQLITE_NOMEM;
	if (sqlite3_column_int(st, 3))
		return fail(m, "%s.%s: virtual tables have no generated columns", m->name, name);
	if (twzvfs__decl_has_word(type, "HIDDEN") || !sqlite3_strnicmp(name, "twz_", 4))
		return fail(m, "%s.%s: names twz_... and the type HIDDEN are taken", m->name, name);
	rc = sqlite3_table_column_metadata(m->db, NULL, m->name, name, NULL, &coll, NULL, NULL,
					   NULL);
	c->name = sqlite3_mprintf("%s", name);
	c->aff = affinity(type);
	c->notnull = sqlite3_column_int(st, 2) != 0;
	c->part = -1;
	sqlite3_str_appendf(vtab, "\"%w\" %s COLLATE %s%s, ", name, type, coll,
			    c->notnull ? " NOT NULL" : "");
	if (sqlite3_column_int(st, 4) == 1 && !sqlite3_stricmp(type, "INTEGER"))
		d->ipk = d->col_cnt - 1; /* if there is no index for the PRIMARY KEY */
	if (rc || !c->name)
		return SQLITE_NOMEM;
	return collation(m, coll, &c->coll);
}

static int columns(struct maker *m, sqlite3_str *vtab)
{
	sqlite3_stmt *st = NULL;
	int cap = 0, rc;

	rc = query(m, &st,
		   "SELECT name, type, \"notnull\", hidden, pk, count(*) OVER () FROM "
		   "pragma_table_xinfo(?)",
		   m->name);
	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		if (!cap) {
			cap = sqlite3_column_int(st, 5);
			m->d->col = sqlite3_malloc64((size_t)cap * sizeof(*m->d->col));
			if (!m->d->col)
				rc = SQLITE_NOMEM;
			else
				memset(m->d->col, 0, (size_t)cap * sizeof(*m->d->col));
		}
		if (rc == SQLITE_OK)
			rc = add_column(m, vtab, st);
	}
	sqlite3_finalize(st);
	return rc;
}

static int add_part(struct maker *m, struct nkey *k, sqlite3_stmt *st)
{
	struct npart *p = &k->part[k->cnt++];
	const char *coll = (const char *)sqlite3_column_text(st, 2);
	char *what;

	p->col = sqlite3_column_int(st, 0);
	p->desc = sqlite3_column_int(st, 1) != 0;
	if (p->col == -1 && m->d->ipk >= 0)
		p->col = m->d->ipk;
	if (p->col < 0)
		return fail(m, "%s: an index of a native table is of columns, not of expressions",
			    m->name);
	what = sqlite3_mprintf("%s%s%s.%s", k->what ? k->what : "", k->what ? ", " : "", m->name,
			       m->d->col[p->col].name);
	sqlite3_free(k->what);
	k->what = what;
	if (!what || !coll)
		return SQLITE_NOMEM;
	return collation(m, coll, &p->coll);
}

static int parts(struct maker *m, const char *index, struct nkey *k)
{
	sqlite3_stmt *st = NULL;
	int rc = query(m, &st,
		       "SELECT cid, \"desc\", coll, count(*) OVER () FROM pragma_index_xinfo(?) "
		       "WHERE key",
		       index);

	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		if (!k->part) {
			size_t size = (size_t)sqlite3_column_int(st, 3) * sizeof(*k->part);

			k->part = sqlite3_malloc64(size);
			if (!k->part)
				rc = SQLITE_NOMEM;
			else
				memset(k->part, 0, size);
		}
		if (rc == SQLITE_OK)
			rc = add_part(m, k, st);
	}
	sqlite3_finalize(st);
	return rc;
}

static int add_index(struct maker *m, sqlite3_stmt *st)
{
	const char *name = (const char *)sqlite3_column_text(st, 0);
	const char *origin = (const char *)sqlite3_column_text(st, 2);
	struct ndecl *d = m->d;
	struct nkey *k = &d->key;

	if (!name || !origin)
		return SQLITE_NOMEM;
	if (sqlite3_column_int(st, 3))
		return fail(m, "%s: an index of a native table has no WHERE", m->name);
	if (strcmp(origin, "pk")) {
		k = &d->index[d->index_cnt++];
	} else {
		d->kind = TWZVFS_KEY_PARTS;
		d->ipk = -1;
	}
	k->unique = sqlite3_column_int(st, 1) != 0;
	return parts(m, name, k);
}

/* In the order of their creation: their numbers on media. */
static int indexes(struct maker *m)
{
	sqlite3_stmt *st = NULL;
	int rc = query(m, &st,
		       "SELECT l.name, l.\"unique\", l.origin, l.partial, count(*) OVER () FROM "
		       "pragma_index_list(?) l JOIN sqlite_schema s ON s.name = l.name "
		       "ORDER BY l.origin <> 'pk', s.rowid",
		       m->name);

	while (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		if (!m->d->index) {
			size_t size = (size_t)sqlite3_column_int(st, 4) * sizeof(*m->d->index);

			m->d->index = sqlite3_malloc64(size);
			if (!m->d->index)
				rc = SQLITE_NOMEM;
			else
				memset(m->d->index, 0, size);
		}
		if (rc == SQLITE_OK)
			rc = add_index(m, st);
	}
	sqlite3_finalize(st);
	return rc;
}

/* The rowid as a key of one part; or, with parts, which columns it holds. */
static int finish_key(struct ndecl *d)
{
	struct nkey *k = &d->key;

	k->unique = true;
	if (d->kind != TWZVFS_KEY_PARTS) {
		d->kind = d->ipk >= 0 ? TWZVFS_KEY_INTEGER : TWZVFS_KEY_ROWID;
		k->part = sqlite3_malloc64(sizeof(*k->part));
		if (!k->part)
			return SQLITE_NOMEM;
		*k->part = (struct npart){.col = -1};
		k->cnt = 1;
		return SQLITE_OK;
	}
	for (int i = 0; i < k->cnt; i++) {
		d->col[k->part[i].col].part = i;
		d->col[k->part[i].col].notnull = true; /* as in a WITHOUT ROWID table */
	}
	k->part[k->cnt - 1].rest = !k->part[k->cnt - 1].desc;
	return SQLITE_OK;
}

static int describe(struct maker *m)
{
	sqlite3_str *s = sqlite3_str_new(NULL);
	int rc;

	sqlite3_str_appendall(s, "CREATE TABLE x(");
	rc = columns(m, s);
	if (rc == SQLITE_OK)
		rc = indexes(m);
	if (rc == SQLITE_OK)
		rc = finish_key(m->d);
	if (rc == SQLITE_OK && m->d->kind == TWZVFS_KEY_PARTS)
		sqlite3_str_appendall(s, "twz_key BLOB HIDDEN PRIMARY KEY) WITHOUT ROWID");
	else
		sqlite3_str_appendall(s, "twz_key BLOB HIDDEN)");
	m->d->vtab = sqlite3_str_finish(s);
	return rc == SQLITE_OK && !m->d->vtab ? SQLITE_NOMEM : rc;
}

/* --- CHECK --- */

static int keep_checks(struct maker *m)
{
	sqlite3_str *s = sqlite3_str_new(NULL);
	char *sql;
	int rc;

	sqlite3_str_appendf(s, "INSERT INTO \"%w\" VALUES(?", m->name);
	for (int i = 1; i < m->d->col_cnt; i++)
		sqlite3_str_appendall(s, ",?");
	sqlite3_str_appendall(s, ")");
	sql = sqlite3_str_finish(s);
	rc = sql ? sqlite3_prepare_v2(m->db, sql, -1, &m->d->check_put, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	sql = sqlite3_mprintf("DELETE FROM \"%w\"", m->name);
	if (rc == SQLITE_OK)
		rc = sql ? sqlite3_prepare_v2(m->db, sql, -1, &m->d->check_clear, NULL)
			 : SQLITE_NOMEM;
	sqlite3_free(sql);
	if (rc != SQLITE_OK)
		return fail(m, "%s: %s", m->name, sqlite3_errmsg(m->db));
	m->d->check_db = m->db;
	m->db = NULL;
	return rc;
}

static int make(struct maker *m, int cnt, const char *const *arg)
{
	int rc = sqlite3_open_v2(":memory:", &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				 NULL);

	m->d->text = join(cnt, arg, true);
	if (rc != SQLITE_OK || !m->d->text)
		return SQLITE_NOMEM;
	/* What comes from a stranger's schema gets no function with side effects. */
	sqlite3_db_config(m->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	rc = create(m, cnt, arg);
	if (rc == SQLITE_OK)
		rc = check_words(m);
	if (rc == SQLITE_OK)
		rc = describe(m);
	if (rc == SQLITE_OK && twzvfs__decl_has_word(m->d->text, "CHECK"))
		rc = keep_checks(m);
	return rc;
}

int twzvfs__decl_make(const char *name, int cnt, const char *const *arg, struct ndecl **out,
		      char **err)
{
	struct maker m = {.name = name, .err = err, .d = sqlite3_malloc64(sizeof(struct ndecl))};
	int rc;

	*out = NULL;
	if (!m.d)
		return SQLITE_NOMEM;
	memset(m.d, 0, sizeof(*m.d));
	m.d->ipk = -1;
	rc = make(&m, cnt, arg);
	sqlite3_close(m.db);
	if (rc == SQLITE_OK)
		*out = m.d;
	else
		twzvfs__decl_free(m.d);
	return rc;
}

static void free_key(struct nkey *k)
{
	sqlite3_free(k->what);
	sqlite3_free(k->part);
}

void twzvfs__decl_free(struct ndecl *d)
{
	if (!d)
		return;
	for (int i = 0; i < d->col_cnt; i++)
		sqlite3_free(d->col[i].name);
	for (int i = 0; i < d->index_cnt; i++)
		free_key(&d->index[i]);
	free_key(&d->key);
	sqlite3_free(d->col);
	sqlite3_free(d->index);
	sqlite3_free(d->text);
	sqlite3_free(d->vtab);
	sqlite3_finalize(d->check_put);
	sqlite3_finalize(d->check_clear);
	sqlite3_close(d->check_db);
	sqlite3_free(d);
}
