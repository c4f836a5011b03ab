/* SPDX-License-Identifier: MIT
 * fuzz_shell.c -- any bytes as a script of the shell, in this process (cage.h), on a store, or on :memory:
 *
 * Whatever it was, the store must be sound afterwards. And what .dump wrote must, read into another database without an
 * error, give the same .dump there.
 */
#include "cage.h"
#include "fuzz.h"

#define INPUT_MAX 65536

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Which of them is told by the length: a store takes longer. */
static const char *store_for(size_t len)
{
	return len % 4 ? ":memory:" : "a.twz";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	cage_init(*argc, *argv);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct shell sh;

	if (len > INPUT_MAX)
		return 0;
	cage_enter(data, len);
	shell_init(&sh);
	shell_signals(&sh);
	if (!shell_open(&sh, store_for(len))) {
		cage_script(&sh, data, len);
		if (sh.db && sqlite3_get_autocommit(sh.db))
			cage_same_again(&sh, ":memory:", false);
	}
	shell_free(&sh);
	cage_must_be_sound("a.twz");
	cage_leave();
	return 0;
}
