/* SPDX-License-Identifier: MIT
 * fixed.h -- the same random numbers and clock in every run of a workload, so that a seed reproduces it
 */
#ifndef CRASH_FIXED_H
#define CRASH_FIXED_H

#include <stdint.h>

/* From now on this process's getrandom, libuuid and clocks are determined by SEED. */
void fixed_start(uint64_t seed);
/* Random numbers only: for who comes after the recording, and may have to wait for somebody. */
void fixed_random(uint64_t seed);

/* So many microseconds pass, by a fixed clock. */
void fixed_pass(uint64_t us);

#endif
