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

const char *const mutation_name[] = {"", "flush", "fence", "sync", "write", "publish", "copy"};

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
	FILE *f = file ? fopen(file, "r") : NULL;
	char *line = NULL, kind[16], media[16];
	unsigned int n, sum = 0;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		const char *fns = equivalent_fns(line, kind, media, &n);

		if (fns && is_of(m, kind, media) && calls_alike(fns, m))
			sum += n;
	}
	free(line);
	if (f)
		fclose(f);
	return sum;
}

bool mutants_same_place(const struct mutant_id *a, const struct mutant_id *b)
{
	return a->kind == b->kind && a->media == b->media && !strcmp(a->fns, b->fns);
}

/* Is the list right about the calls at the place of mutant I? Says so if not. */
static bool place_right(const char *file, const struct mutant_id *const *m, unsigned int cnt,
			const bool *caught, unsigned int i)
{
	unsigned int known = mutants_equivalent(file, m[i]), calls = 0, survivors = 0;
	const char *medium = media_name(m[i]->media);

	for (unsigned int k = 0; k < cnt; k++) {
		if (!mutants_same_place(m[i], m[k]))
			continue;
		if (k < i)
			return true; /* looked at already */
		calls++;
		survivors += caught && !caught[k];
	}
	if (known > calls)
		printf("FAIL: %s: %u of the calls %s %s %s need not be missed, it says; there are %u\n",
		       file, known, mutation_name[m[i]->kind], medium, m[i]->fns, calls);
	else if (caught && known > survivors)
		printf("FAIL: %s: %u of the calls %s %s %s need not be missed, it says; the right number is %u\n",
		       file, known, mutation_name[m[i]->kind], medium, m[i]->fns, survivors);
	return known <= calls && (!caught || known <= survivors);
}

/* Is there a call for a line of the list, on each medium it is for? Says so if not. */
static bool line_right(const char *file, const struct mutant_id *const *m, unsigned int cnt,
		       const char *kind, const char *media, const char *fns)
{
	bool met[2] = {false, false}, right = true;

	for (unsigned int i = 0; i < cnt; i++)
		if (is_of(m[i], kind, media) && calls_alike(fns, m[i]))
			met[m[i]->media == SIM_MEDIA_PAGE] = true;
	for (int page = 0; page < 2; page++) {
		const char *medium = media_name(page ? SIM_MEDIA_PAGE : SIM_MEDIA_LINE);

		if (met[page] || (strcmp(media, "both") && strcmp(media, medium)))
			continue;
		printf("FAIL: %s: no such call any more: %s %s %s\n", file, kind, medium, fns);
		right = false;
	}
	return right;
}

unsigned int mutants_list_wrong(const char *file, const struct mutant_id *const *m,
				unsigned int cnt, const bool *caught)
{
	FILE *f = file ? fopen(file, "r") : NULL;
	char *line = NULL, kind[16], media[16];
	unsigned int n, wrong = 0;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		const char *fns = equivalent_fns(line, kind, media, &n);

		wrong += fns && !line_right(file, m, cnt, kind, media, fns);
	}
	free(line);
	for (unsigned int i = 0; f && i < cnt; i++)
		wrong += !place_right(file, m, cnt, caught, i);
	if (file && !f)
		printf("FAIL: %s: %s\n", file, strerror(errno));
	if (f)
		fclose(f);
	return wrong + (file && !f);
}

/* --- hints --- */

/* "1,3": two bits. */
static uint64_t which_of(const char *text)
{
	uint64_t which = 0;

	for (char *end; *text; text = *end ? end + 1 : end) {
		unsigned long n = strtoul(text, &end, 10);

		if (end == text || !n || n > 64)
			return which;
		which |= 1ULL << (n - 1);
	}
	return which;
}

/* "KIND MEDIUM WHICH WORKLOAD HOW LIMIT REST"; NULL: not for M. */
static const char *parse(char *line, const struct mutant_id *m, struct caught_by *by)
{
	char kind[16], media[16], how[16], which[200];
	unsigned long long limit;
	int at = 0;

	if (line[0] == '#' || sscanf(line, "%15s %15s %199s %47s %15s %llu %n", kind, media, which,
				     by->workload, how, &limit, &at) != 6)
		return NULL;
	if (!is_of(m, kind, media))
		return NULL;
	by->dead = !strcmp(how, "death");
	by->limit = limit;
	by->which = which_of(which);
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
	fprintf(f, "%s %s ", mutation_name[m->kind], media_name(m->media));
	for (unsigned int i = 0, cnt = 0; i < 64; i++)
		if (by->which >> i & 1)
			fprintf(f, "%s%u", cnt++ ? "," : "", i + 1);
	fprintf(f, " %s %s %llu %s\n", by->workload, by->dead ? "death" : "power",
		(unsigned long long)by->limit, m->fns);
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
bool mutants_state_add(int fd, const struct mutant_id *m, const struct caught_by *by, bool light)
{
	char line[600];
	int n;

	if (fd < 0)
		return true;
	n = snprintf(line, sizeof(line), "%s %s %s 1 %s %s %llu %s\n",
		     by	     ? "caught"
		     : light ? "equal"
			     : "survived",
		     mutation_name[m->kind], media_name(m->media), by ? by->workload : "-",
		     by && by->dead ? "death" : "power", by ? (unsigned long long)by->limit : 0ull,
		     m->at);
	if (write(fd, line, (size_t)n) == n)
		return true;
	fprintf(stderr, "twzcrash: cannot write the state: %s\n", strerror(errno));
	return false;
}

enum mutant_was mutants_state_find(const char *file, const struct mutant_id *m, bool known,
				   struct caught_by *by)
{
	FILE *f = file ? fopen(file, "r") : NULL;
	enum mutant_was was = MUTANT_UNTRIED;
	struct caught_by tmp;
	char *line = NULL;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		char *rest = strchr(line, ' ');
		const char *at = rest ? parse(rest + 1, m, &tmp) : NULL;
		bool light = !strncmp(line, "equal ", 6);

		if (!at || strcmp(at, m->at) || (light && !known))
			continue;
		was = light			    ? MUTANT_LIGHT
		      : strncmp(line, "caught ", 7) ? MUTANT_SURVIVED
						    : MUTANT_CAUGHT;
		*by = tmp;
	}
	free(line);
	if (f)
		fclose(f);
	return was;
}
