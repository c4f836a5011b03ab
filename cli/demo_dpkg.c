/* SPDX-License-Identifier: MIT
 * demo_dpkg.c -- the packages installed on this machine as CSV: real data that every Debian has
 *
 * /var/lib/dpkg/status is a list of paragraphs "Field: value", continued by lines that begin
 * with a space, separated by empty lines (deb-control(5)); info/PACKAGE.list has a path per
 * line.
 */
#include "demo.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

/* So that the session stays short on a slow disk; how many were left out is printed. */
#define FILE_ROWS_MAX 60000

enum field {
	PACKAGE,
	ARCH,
	VERSION,
	SECTION,
	PRIORITY,
	SIZE,
	MAINTAINER,
	SUMMARY,
	STATUS,
	DEPENDS,
	PRE_DEPENDS,
	RECOMMENDS,
	PROVIDES,
	FIELD_CNT
};

static const char *const field_name[FIELD_CNT] = {
	"Package",	  "Architecture", "Version",	 "Section", "Priority",
	"Installed-Size", "Maintainer",	  "Description", "Status",  "Depends",
	"Pre-Depends",	  "Recommends",	  "Provides"};

struct parser {
	struct demo *d;
	struct dpkg_counts *n;
	FILE *packages, *depends, *provides, *files;
	char *field[FIELD_CNT]; /* of the paragraph being read */
	int clause;
};

static void put_field(FILE *f, const char *s, size_t n, bool last)
{
	putc('"', f);
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"')
			putc('"', f);
		putc(s[i], f);
	}
	fputs(last ? "\"\r\n" : "\",", f);
}

static void put_str(FILE *f, const char *s, bool last)
{
	put_field(f, s ? s : "", s ? strlen(s) : 0, last);
}

static char *trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	for (n = strlen(s); n && isspace((unsigned char)s[n - 1]);)
		s[--n] = 0;
	return s;
}

/* "name:arch (>= 1.2)" -> name, ">= 1.2" (cut in place; VERSION is "" if there is none). */
static char *split_relation(char *s, const char **version)
{
	char *open = strchr(s, '('), *close = open ? strchr(open, ')') : NULL, *colon;

	*version = "";
	if (close) {
		*close = 0;
		*version = trim(open + 1);
	}
	if (open)
		*open = 0;
	s = trim(s);
	s[strcspn(s, " \t")] = 0;
	colon = strchr(s, ':');
	if (colon)
		*colon = 0;
	return s;
}

/* "a (>= 1) | b, c": each alternative is a row, those of one clause share its number. */
static void put_depends(struct parser *p, enum field kind)
{
	char *list = p->field[kind], *clause, *alt, *save, *save2;

	for (clause = list ? strtok_r(list, ",", &save) : NULL; clause;
	     clause = strtok_r(NULL, ",", &save)) {
		char number[16];

		snprintf(number, sizeof(number), "%d", ++p->clause);
		for (alt = strtok_r(clause, "|", &save2); alt; alt = strtok_r(NULL, "|", &save2)) {
			const char *version, *name = split_relation(alt, &version);

			if (!*name)
				continue;
			put_str(p->depends, p->field[PACKAGE], false);
			put_str(p->depends, field_name[kind], false);
			put_str(p->depends, number, false);
			put_str(p->depends, name, false);
			put_str(p->depends, version, true);
			p->n->depends++;
		}
	}
}

static void put_provides(struct parser *p)
{
	char *list = p->field[PROVIDES], *item, *save;

	for (item = list ? strtok_r(list, ",", &save) : NULL; item;
	     item = strtok_r(NULL, ",", &save)) {
		const char *version, *name = split_relation(item, &version);

		if (!*name)
			continue;
		put_str(p->provides, p->field[PACKAGE], false);
		put_str(p->provides, name, true);
		p->n->provides++;
	}
}

static void put_package(struct parser *p)
{
	for (enum field f = PACKAGE; f <= SUMMARY; f++)
		put_str(p->packages, p->field[f], f == SUMMARY);
	p->n->packages++;
	p->clause = 0;
	put_depends(p, PRE_DEPENDS);
	put_depends(p, DEPENDS);
	put_depends(p, RECOMMENDS);
	put_provides(p);
}

static void paragraph_end(struct parser *p)
{
	if (p->field[PACKAGE] && p->field[STATUS] && strstr(p->field[STATUS], " installed"))
		put_package(p);
	for (int i = 0; i < FIELD_CNT; i++) {
		free(p->field[i]);
		p->field[i] = NULL;
	}
}

static void paragraph_line(struct parser *p, char *line)
{
	char *colon = strchr(line, ':');

	/*
	 * Continuations only occur in fields we do not use, or after the first line of the
	 * description.
	 */
	if (!colon || isspace((unsigned char)line[0]))
		return;
	*colon = 0;
	for (int i = 0; i < FIELD_CNT; i++)
		if (!strcmp(line, field_name[i]) && !p->field[i])
			p->field[i] = xstrdup(trim(colon + 1));
}

static int read_status(struct parser *p)
{
	char *path = xasprintf("%s/status", p->d->dpkg), *line = NULL;
	FILE *f = fopen(path, "r");
	size_t cap = 0;
	ssize_t len;

	if (!f) {
		shell_error(
			p->d->sh,
			"%s: cannot read the list of installed packages (%s); try it on a Debian system",
			path, strerror(errno));
		free(path);
		return 1;
	}
	while ((len = getline(&line, &cap, f)) > 0) {
		if (line[0] == '\n')
			paragraph_end(p);
		else
			paragraph_line(p, line);
	}
	paragraph_end(p);
	fclose(f);
	free(line);
	free(path);
	return 0;
}

static void put_file(struct parser *p, const char *package, size_t package_len, const char *path)
{
	const char *slash = strrchr(path, '/');

	/* A list begins with "/.", the root. */
	if (!slash || !slash[1] || !strcmp(slash, "/."))
		return;
	if (p->n->files >= FILE_ROWS_MAX) {
		p->n->files_skipped++;
		return;
	}
	put_field(p->files, package, package_len, false);
	put_field(p->files, path, slash == path ? 1 : (size_t)(slash - path), false);
	put_str(p->files, slash + 1, true);
	p->n->files++;
}

/*
 * A list is in path order, so a path that the next line continues with '/' is a directory: left
 * out.
 */
static void read_list(struct parser *p, const char *list_path)
{
	const char *base = strrchr(list_path, '/') + 1;
	size_t base_len = strcspn(base, ":");
	char *prev = NULL, *line = NULL;
	FILE *f = fopen(list_path, "r");
	size_t cap = 0;
	ssize_t len;

	if (base_len == strlen(base))
		base_len -= strlen(".list");
	while (f && (len = getline(&line, &cap, f)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = 0;
		if (prev && !(strncmp(line, prev, strlen(prev)) == 0 && line[strlen(prev)] == '/'))
			put_file(p, base, base_len, prev);
		free(prev);
		prev = xstrdup(line);
	}
	if (prev)
		put_file(p, base, base_len, prev);
	free(prev);
	free(line);
	if (f)
		fclose(f);
}

static void read_lists(struct parser *p)
{
	char *pat = xasprintf("%s/info/*.list", p->d->dpkg);
	glob_t g;

	if (glob(pat, 0, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++)
			read_list(p, g.gl_pathv[i]);
		globfree(&g);
	}
	free(pat);
}

static FILE *create(struct demo *d, const char *name, const char *header)
{
	char *path = xasprintf("%s/%s", d->dir, name);
	FILE *f = fopen(path, "w");

	if (!f)
		shell_error(d->sh, "%s: cannot write (%s); try another TMPDIR", path,
			    strerror(errno));
	else
		fprintf(f, "%s\r\n", header);
	free(path);
	return f;
}

static int finish(struct demo *d, FILE *f)
{
	if (!f)
		return 1;
	if (ferror(f) | fclose(f))
		return shell_error(d->sh, "%s: cannot write (%s); try another TMPDIR", d->dir,
				   strerror(errno));
	return 0;
}

int demo_dpkg_to_csv(struct demo *d, struct dpkg_counts *n)
{
	struct parser p = {.d = d, .n = n};
	int rc = 1;

	*n = (struct dpkg_counts){0};
	p.packages = create(d, "packages.csv",
			    "name,arch,version,section,priority,size_kib,maintainer,summary");
	p.depends = create(d, "depends.csv", "package,kind,clause,name,version");
	p.provides = create(d, "provides.csv", "package,name");
	p.files = create(d, "files.csv", "package,directory,name");
	if (p.packages && p.depends && p.provides && p.files) {
		rc = read_status(&p);
		read_lists(&p);
	}
	rc |= finish(d, p.packages);
	rc |= finish(d, p.depends);
	rc |= finish(d, p.provides);
	rc |= finish(d, p.files);
	return rc;
}
