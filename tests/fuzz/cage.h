/* SPDX-License-Identifier: MIT
 * cage.h -- the shell in this process, in a folder of its own that it cannot leave
 *
 * Nothing outside can be opened and no program started: the linker sends fopen, popen and sqlite3_open_v2 to cage.c (--wrap), and an
 * authorizer looks at what SQL opens. What runs ends after so many steps of SQLite's machine, and so many files. The input itself is
 * the file "input" there: .read and .import find something. Which medium stores have depends on it (image.h).
 */
#ifndef TWZ_FUZZ_CAGE_H
#define TWZ_FUZZ_CAGE_H

#include <stddef.h>
#include <stdint.h>

#include "shell.h"

void cage_init(int argc, char **argv);
void cage_enter(const uint8_t *data, size_t len);
void cage_leave(void);

void cage_script(struct shell *sh, const void *text, size_t len);
/* What .dump says (to be freed), or NULL: it could not. */
char *cage_dump(struct shell *sh);
/*
 * What .dump says, read into STORE without an error, must give the same .dump there. WITHOUT_FAIL: it must be read without an error,
 * if it could be written.
 */
void cage_same_again(struct shell *from, const char *store, bool without_fail);
/* SQL and commands cannot damage a store, if there is one at PATH. */
void cage_must_be_sound(const char *path);

#endif
