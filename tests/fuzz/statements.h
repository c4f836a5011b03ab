/* SPDX-License-Identifier: MIT
 * statements.h -- mutations of SQL that leave most of it SQL: whole statements, and the words of one
 */
#ifndef TWZ_FUZZ_STATEMENTS_H
#define TWZ_FUZZ_STATEMENTS_H

#include <stddef.h>

/* Its statements and words may turn up anywhere. */
void statements_learn(const char *text, size_t len);

#endif
