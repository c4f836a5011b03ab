/* SPDX-License-Identifier: MIT
 * twz.h -- all of libtwz
 */
#ifndef TWZ_TWZ_H
#define TWZ_TWZ_H

#include "twz/alloc.h"
#include "twz/err.h"
#include "twz/log.h"
#include "twz/name.h"
#include "twz/obj.h"
#include "twz/persist.h"
#include "twz/ptr.h"
#include "twz/store.h"
#include "twz/tx.h"
#include "twz/types.h"

#endif
