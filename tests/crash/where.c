/* SPDX-License-Identifier: MIT
 * where.c -- code addresses as source lines, by addr2line
 */
#include "enum.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const char __executable_start[];
extern const char etext[];

struct known {
	uint64_t pc;
	char text[160];
};

/* "function (file:line)" of PC; asks addr2line once per address. */
const char *crash_where(uint64_t pc)
{
	static struct known cache[1024];
	struct known *k = &cache[pc / 4 % 1024];
	char cmd[256], exe[128], fn[80] = "?", at[256] = "?";
	ssize_t n;
	FILE *f;

	if (k->pc == pc && k->text[0])
		return k->text;
	k->pc = pc;
	snprintf(k->text, sizeof(k->text), "%s", pc ? "outside the program" : "unknown");
	if (pc < (uint64_t)(uintptr_t)__executable_start || pc > (uint64_t)(uintptr_t)etext)
		return k->text;
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n <= 0)
		return k->text;
	exe[n] = 0;
	snprintf(cmd, sizeof(cmd), "addr2line -f -e '%s' %#llx 2>/dev/null", exe,
		 (unsigned long long)(pc - 1 - (uint64_t)(uintptr_t)__executable_start));
	f = popen(cmd, "r");
	if (!f)
		return k->text;
	if (fgets(fn, sizeof(fn), f) && fgets(at, sizeof(at), f)) {
		fn[strcspn(fn, "\n")] = 0;
		at[strcspn(at, " \n")] = 0;
		snprintf(k->text, sizeof(k->text), "%s (%s)", fn, basename(at));
	}
	pclose(f);
	return k->text;
}

static bool wrapper(const char *text)
{
	static const char *const skip[] = {"twz_flush",	    "twz_fence",   "twz_persist",
					   "twz_publish64", "twz_copy_nt", "twz_sync",
					   "sim_"};

	for (size_t i = 0; i < sizeof(skip) / sizeof(skip[0]); i++)
		if (!strncmp(text, skip[i], strlen(skip[i])))
			return true;
	return false;
}

void crash_chain(const struct sim_ev *ev, char *buf, size_t len)
{
	int at = 0;

	buf[0] = 0;
	for (int i = 0; i < 5 && ev->pc[i] && at >= 0 && (size_t)at < len; i++) {
		const char *text = crash_where(ev->pc[i]);

		if (at == 0 && wrapper(text))
			continue;
		at += snprintf(buf + at, len - (size_t)at, "%s%s", at ? " < " : "", text);
	}
}
