/* SPDX-License-Identifier: MIT
 * sim_tab.h -- where the image is mapped (a page of it may be mapped at many addresses), and shared memory that is not the image
 */
#ifndef CRASH_SIM_TAB_H
#define CRASH_SIM_TAB_H

#include <stdbool.h>
#include <stdint.h>

/* LEN bytes of the image from OFF on are mapped at ADDR; nothing of it is any more. */
void sim_tab_set(const void *addr, uint64_t off, uint64_t len);
void sim_tab_del(const void *addr, uint64_t len);
/* Offset in the image of ADDR, or UINT64_MAX. */
uint64_t sim_tab_off(const void *addr);

/* Look what of files below DIR is mapped; is AT in it? */
void sim_foreign_scan(const char *dir);
bool sim_foreign_has(uintptr_t at);

#endif
