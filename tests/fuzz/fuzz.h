/* SPDX-License-Identifier: MIT
 * fuzz.h -- the interface between a fuzz target and what drives it (libFuzzer, or fuzz_main.c)
 */
#ifndef TWZ_FUZZ_H
#define TWZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
