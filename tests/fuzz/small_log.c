/* SPDX-License-Identifier: MIT
 * small_log.c -- linked with --wrap=twzdb_open: who says nothing gets a small log, or each script would fill 64 MiB on page media
 */
#include "twzdb.h"

#define LOG_LEN ((uint64_t)64 << 10)

int __real_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out);
int __wrap_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out);

int __wrap_twzdb_open(const char *path, const struct twzdb_options *opt, struct twzdb **out)
{
	struct twzdb_options mine;

	if (!opt || opt->size != sizeof(mine) || opt->log_len)
		return __real_twzdb_open(path, opt, out);
	mine = *opt;
	mine.log_len = LOG_LEN;
	return __real_twzdb_open(path, &mine, out);
}
