/* SPDX-License-Identifier: MIT
 * admin.h -- commands of twzdb that are no session
 */
#ifndef CLI_ADMIN_H
#define CLI_ADMIN_H

/* 1: ARGV is one of them, and *CODE its exit code. */
int admin_run(int argc, char **argv, int *code);

#endif
