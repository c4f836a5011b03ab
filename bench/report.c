/* SPDX-License-Identifier: MIT
 * report.c -- table and JSON of a benchmark run, clock, random numbers, medians
 */
#include "bench.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

struct row {
	char key[96], what[128], section[160], unit[24];
	double value, bar;
	bool has_bar, at_least, met;
	double *rounds; /* what VALUE is the median of; NULL = not kept */
	int round_cnt;
};

static const struct bench_opt *opt;
static char title[128], machine[320], medium[256], granularity[64], section[160];
static struct row *rows;
static int row_cnt, row_max, bar_cnt, miss_cnt;
static char *notes; /* JSON members, each followed by ", " */

static void cpu_name(char *buf, size_t len)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256], *v;

	snprintf(buf, len, "unknown processor");
	while (f && fgets(line, sizeof(line), f)) {
		v = strchr(line, ':');
		if (strncmp(line, "model name", 10) || !v)
			continue;
		v[strcspn(v, "\n")] = 0;
		snprintf(buf, len, "%s", v + 2);
		break;
	}
	if (f)
		fclose(f);
}

static const char *fs_name(const char *dir)
{
	struct statfs st;

	if (statfs(dir, &st))
		return "unknown file system";
	switch ((unsigned)st.f_type) {
	case 0xef53u:
		return "ext4";
	case 0x01021994u:
		return "tmpfs";
	case 0x58465342u:
		return "xfs";
	case 0x9123683eu:
		return "btrfs";
	case 0x794c7630u:
		return "overlayfs";
	default:
		return "another file system";
	}
}

void report_begin(const struct bench_opt *o, const char *t, const char *g)
{
	struct utsname un;
	char cpu[128];

	opt = o;
	cpu_name(cpu, sizeof(cpu));
	uname(&un);
	snprintf(title, sizeof(title), "%s", t);
	snprintf(granularity, sizeof(granularity), "%s", g);
	snprintf(machine, sizeof(machine), "%s, %ld CPUs, %s %.60s", cpu,
		 sysconf(_SC_NPROCESSORS_ONLN), un.sysname, un.release);
	snprintf(medium, sizeof(medium), "%s on %.200s", fs_name(o->dir), o->dir);
	printf("%s\nmachine  %s\nmedium   %s, %s\n", title, machine, medium, granularity);
	if (getenv("PMEM2_FORCE_GRANULARITY"))
		printf("         granularity forced: not durable against power loss\n");
	printf("rounds   %d\n", o->rounds);
}

void report_section(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(section, sizeof(section), fmt, ap);
	va_end(ap);
	printf("\n%s\n", section);
}

static struct row *new_row(const char *key, const char *what, double value, const char *unit)
{
	struct row *r;

	if (row_cnt == row_max) {
		row_max = row_max ? 2 * row_max : 64;
		rows = realloc(rows, (size_t)row_max * sizeof(*rows));
		if (!rows)
			abort();
	}
	r = &rows[row_cnt++];
	memset(r, 0, sizeof(*r));
	snprintf(r->key, sizeof(r->key), "%s", key);
	snprintf(r->what, sizeof(r->what), "%s", what);
	snprintf(r->section, sizeof(r->section), "%s", section);
	snprintf(r->unit, sizeof(r->unit), "%s", unit);
	r->value = value;
	return r;
}

static void set_bar(struct row *r, double bar, bool at_least, bool met)
{
	r->bar = bar;
	r->has_bar = true;
	r->at_least = at_least;
	r->met = met;
	bar_cnt++;
	miss_cnt += !met;
}

static void print_row(const struct row *r)
{
	char text[48] = "";

	if (r->has_bar)
		snprintf(text, sizeof(text), r->bar >= 10 ? "%s %.0f  %s" : "%s %.1f  %s",
			 r->at_least ? ">=" : "<=", r->bar, r->met ? "met" : "MISSED");
	printf("  %-62s %9.2f %-8s %s\n", r->what, r->value, r->unit, text);
}

static void add_row(const char *key, const char *what, double value, const char *unit, double bar,
		    bool has_bar, bool met)
{
	struct row *r = new_row(key, what, value, unit);

	if (has_bar)
		set_bar(r, bar, false, met);
	print_row(r);
}

static void keep_rounds(struct row *r, const double *v, int cnt)
{
	r->rounds = malloc((size_t)cnt * sizeof(*v));
	if (!r->rounds)
		abort();
	memcpy(r->rounds, v, (size_t)cnt * sizeof(*v));
	r->round_cnt = cnt;
}

static double median_of(const double *v, int cnt)
{
	double copy[cnt], m;

	memcpy(copy, v, sizeof(copy));
	m = bench_median(copy, (size_t)cnt);
	return m;
}

void report_series(const char *key, const char *what, const char *unit, const double *v, int cnt)
{
	keep_rounds(new_row(key, what, median_of(v, cnt), unit), v, cnt);
}

void report_bar(const char *key, const char *what, const char *unit, const double *v, int cnt,
		double bar, bool at_least)
{
	double m = median_of(v, cnt);
	struct row *r = new_row(key, what, m, unit);

	keep_rounds(r, v, cnt);
	if (bar > 0)
		set_bar(r, bar, at_least, at_least ? m >= bar : m <= bar);
	print_row(r);
}

void report_row(const char *key, const char *what, double value, const char *unit, double bar)
{
	add_row(key, what, value, unit, bar, bar > 0, value <= bar);
}

void report_claim(const char *key, const char *what, double value, const char *unit, double bar,
		  bool met)
{
	add_row(key, what, value, unit, bar, true, met);
}

/* "NAME": "TEXT", with what JSON wants escaped. */
static void json_text(FILE *f, const char *name, const char *text)
{
	fprintf(f, "\"%s\": \"", name);
	for (; *text; text++)
		if ((unsigned char)*text >= ' ')
			fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	fprintf(f, "\", ");
}

void report_note(const char *key, const char *text)
{
	size_t len;
	FILE *f;
	char *more, *all;

	f = open_memstream(&more, &len);
	if (!f)
		abort();
	json_text(f, key, text);
	fclose(f);
	if (asprintf(&all, "%s%s", notes ? notes : "", more) < 0)
		abort();
	free(notes);
	free(more);
	notes = all;
}

static void json_row(FILE *f, const struct row *r, bool last)
{
	fprintf(f, "    {");
	json_text(f, "key", r->key);
	json_text(f, "section", r->section);
	json_text(f, "what", r->what);
	json_text(f, "unit", r->unit);
	fprintf(f, "\"value\": %.4f", r->value);
	if (r->has_bar)
		fprintf(f, ", \"bar\": %.4f, \"bar_is\": \"%s\", \"met\": %s", r->bar,
			r->at_least ? "at least" : "at most", r->met ? "true" : "false");
	for (int i = 0; i < r->round_cnt; i++)
		fprintf(f, "%s%.6g", i ? ", " : ", \"rounds\": [", r->rounds[i]);
	if (r->round_cnt)
		fprintf(f, "]");
	fprintf(f, "}%s\n", last ? "" : ",");
}

static int write_json(void)
{
	FILE *f = strcmp(opt->json, "-") ? fopen(opt->json, "w") : stdout;

	if (!f) {
		perror(opt->json);
		return 1;
	}
	fprintf(f, "{\n  ");
	json_text(f, "title", title);
	json_text(f, "machine", machine);
	json_text(f, "medium", medium);
	json_text(f, "granularity", granularity);
	if (notes)
		fputs(notes, f);
	fprintf(f, "\"forced\": %s, \"rounds\": %d,\n  \"rows\": [\n",
		getenv("PMEM2_FORCE_GRANULARITY") ? "true" : "false", opt->rounds);
	for (int i = 0; i < row_cnt; i++)
		json_row(f, &rows[i], i == row_cnt - 1);
	fprintf(f, "  ]\n}\n");
	return f == stdout ? 0 : fclose(f) != 0;
}

int report_end(void)
{
	printf("\n%d of %d bars met\n", bar_cnt - miss_cnt, bar_cnt);
	if (opt->json && write_json())
		return 1;
	return opt->gate && miss_cnt;
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

double bench_ns_per_tick(void)
{
	static double ns;
	double t0, t1;
	uint64_t c0;

	if (ns > 0)
		return ns;
	t0 = now_ns();
	c0 = bench_ticks();
	do
		t1 = now_ns();
	while (t1 - t0 < 50e6);
	ns = (t1 - t0) / (double)(bench_ticks() - c0);
	return ns;
}

uint64_t bench_rand(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, size_t cnt)
{
	qsort(v, cnt, sizeof(*v), by_value);
	return cnt % 2 ? v[cnt / 2] : (v[cnt / 2 - 1] + v[cnt / 2]) / 2;
}
