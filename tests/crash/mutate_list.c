/* SPDX-License-Identifier: MIT
 * mutate_list.c -- see mutate_list.h: three kinds of files, a line a mutant
 */
#include "mutate_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

const char *const mutation_name[] = {"", "flush", "fence", "sync", "write", "publish"};

static const char *media_name(enum sim_media m)
{
	return m == SIM_MEDIA_LINE ? "line" : "page";
}

static bool is_of(const struct mutant_id *m, const char *kind, const char *media)
{
	return !strcmp(kind, mutation_name[m->kind]) &&
	       (!strcmp(media, "both") || !strcmp(media, media_name(m->media)));
}

/* --- equivalents --- */

/* Cuts LINE behind the callers. NULL: no such line. */
static const char *equivalent_fns(char *line, char kind[16], char media[16], unsigned int *n)
{
	char *end = strstr(line, ": ");
	int at = 0;

	if (line[0] == '#' || !end || sscanf(line, "%15s %15s %u %n", kind, media, n, &at) != 3)
		return NULL;
	*end = 0;
	return line + at;
}

/* Is it "FUNCTION < FUNCTION" of M, or "FUNCTION < *"? */
static bool calls_alike(const char *fns, const struct mutant_id *m)
{
	size_t n = strlen(fns);

	if (n > 4 && !strcmp(fns + n - 4, " < *"))
		return !strncmp(fns, m->fns, n - 1);
	return !strcmp(fns, m->fns);
}

unsigned int mutants_equivalent(const char *file, const struct mutant_id *m)
{
	char line[1000], kind[16], media[16];
	FILE *f = file ? fopen(file, "r") : NULL;
	unsigned int n, sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		const char *fns = equivalent_fns(line, kind, media, &n);

		if (fns && is_of(m, kind, media) && calls_alike(fns, m))
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

unsigned int mutants_stale(const char *file, const struct mutant_id *const *m, unsigned int cnt)
{
	char line[1000], kind[16], media[16];
	FILE *f = file ? fopen(file, "r") : NULL;
	unsigned int n, stale = 0, i;

	while (f && fgets(line, sizeof(line), f)) {
		const char *fns = equivalent_fns(line, kind, media, &n);

		if (!fns)
			continue;
		for (i = 0; i < cnt; i++)
			if (is_of(m[i], kind, media) && calls_alike(fns, m[i]))
				break;
		if (i < cnt)
			continue;
		printf("%s: no such call any more: %s %s %s\n", file, kind, media, fns);
		stale++;
	}
	if (f)
		fclose(f);
	return stale;
}

/* --- hints --- */

/* "KIND MEDIUM WORKLOAD HOW LIMIT REST"; NULL: not for M. */
static const char *parse(char *line, const struct mutant_id *m, struct caught_by *by)
{
	char kind[16], media[16], how[16];
	unsigned long long limit;
	int at = 0;

	if (line[0] == '#' || sscanf(line, "%15s %15s %47s %15s %llu %n", kind, media, by->workload,
				     how, &limit, &at) != 5)
		return NULL;
	if (!is_of(m, kind, media))
		return NULL;
	by->dead = !strcmp(how, "death");
	by->limit = limit;
	line[strcspn(line, "\n")] = 0;
	return line + at;
}

unsigned int mutants_hints(const char *file, const struct mutant_id *m, struct caught_by *by,
			   unsigned int max)
{
	FILE *f = file ? fopen(file, "r") : NULL;
	unsigned int cnt = 0;
	char line[1000];

	while (f && cnt < max && fgets(line, sizeof(line), f)) {
		const char *fns = parse(line, m, &by[cnt]);

		cnt += fns && !strcmp(fns, m->fns);
	}
	if (f)
		fclose(f);
	return cnt;
}

void mutants_hint_write(FILE *f, const struct mutant_id *m, const struct caught_by *by)
{
	fprintf(f, "%s %s %s %s %llu %s\n", mutation_name[m->kind], media_name(m->media),
		by->workload, by->dead ? "death" : "power", (unsigned long long)by->limit, m->fns);
}

/* --- the state of a run --- */

/* Is what stands in the file, of which LINE is the first line, ours? (Or nothing, or what was torn in the first write.) */
static bool is_state(const char *line)
{
	size_t n = strlen(line);

	return !strncmp(line, STATE_TITLE, n < strlen(STATE_TITLE) ? n : strlen(STATE_TITLE));
}

static int refuse(int fd, const char *file, const char *why)
{
	fprintf(stderr, "twzcrash: %s: %s\n", file, why);
	if (fd >= 0)
		close(fd);
	return -1;
}

int mutants_state_open(const char *file, const char *title)
{
	int fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	char line[1000] = "";
	ssize_t n = fd < 0 ? -1 : pread(fd, line, sizeof(line) - 1, 0);
	bool begun = n > 0;

	if (n < 0)
		return refuse(fd, file, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB))
		return refuse(fd, file, "another run is using it");
	line[strcspn(line, "\n") + (strchr(line, '\n') != NULL)] = 0;
	if (!strcmp(line, title))
		return fd;
	if (!is_state(line) || (begun && !line[0]))
		return refuse(fd, file, "is no state of a run: name another file, or delete it");
	if (begun)
		printf("%s is of another build, or of other options: begun anew\n", file);
	if (ftruncate(fd, 0) || write(fd, title, strlen(title)) != (ssize_t)strlen(title))
		return refuse(fd, file, "cannot be written");
	return fd;
}

/* In one write: several processes do so. */
bool mutants_state_add(int fd, const struct mutant_id *m, const struct caught_by *by)
{
	char line[600];
	int n;

	if (fd < 0)
		return true;
	n = snprintf(line, sizeof(line), "%s %s %s %s %s %llu %s\n", by ? "caught" : "survived",
		     mutation_name[m->kind], media_name(m->media), by ? by->workload : "-",
		     by && by->dead ? "death" : "power", by ? (unsigned long long)by->limit : 0ull,
		     m->at);
	if (write(fd, line, (size_t)n) == n)
		return true;
	fprintf(stderr, "twzcrash: cannot write the state: %s\n", strerror(errno));
	return false;
}

int mutants_state_find(const char *file, const struct mutant_id *m, struct caught_by *by)
{
	FILE *f = file ? fopen(file, "r") : NULL;
	struct caught_by tmp;
	char line[1000];
	int was = -1;

	while (f && was < 0 && fgets(line, sizeof(line), f)) {
		char *rest = strchr(line, ' ');
		const char *at = rest ? parse(rest + 1, m, &tmp) : NULL;

		if (!at || strcmp(at, m->at))
			continue;
		was = !strncmp(line, "caught ", 7);
		*by = tmp;
	}
	if (f)
		fclose(f);
	return was;
}
