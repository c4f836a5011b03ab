/* SPDX-License-Identifier: MIT
 * bank.h -- the program that mine.c tests: three accounts in an object
 */
#ifndef BANK_H
#define BANK_H

#include "twz/twz.h"

int transfer(struct twz_store *s, int from, int to, int64_t cents);
int64_t balance(struct twz_store *s, int account); /* of a store without accounts: 0 */

#endif
