/* SPDX-License-Identifier: MIT
 * hooks.c -- how every store of the code under test is seen
 *
 * The sources are compiled with gcc -fsanitize=thread for the instrumentation only; its run-time
 * library is not linked, the entry points are here. A plain store announces itself before it
 * happens (__tsan_writeN), so its value is read at the next event: exact, as calls are barriers
 * to the compiler and recorded workloads have one thread. Atomics are carried out here. mem*
 * calls arrive through the linker's --wrap; the code under test is compiled with
 * -fno-builtin-mem*, so that none is expanded in line behind our back.
 */
#include <stdint.h>
#include <stddef.h>

#include "sim.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define PC ((uint64_t)(uintptr_t)__builtin_return_address(0))

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void)
{
}

#define HOOK_RW(name, n)                                                                           \
	void __tsan_read##name(void *a)                                                            \
	{                                                                                          \
		(void)a;                                                                           \
	}                                                                                          \
	void __tsan_write##name(void *a)                                                           \
	{                                                                                          \
		if (__builtin_expect(sim_on, 0))                                                   \
			sim_before(a, n, PC);                                                      \
	}
HOOK_RW(1, 1)
HOOK_RW(2, 2)
HOOK_RW(4, 4)
HOOK_RW(8, 8)
HOOK_RW(16, 16)

#define HOOK_UNALIGNED(n)                                                                          \
	void __tsan_unaligned_read##n(void *a)                                                     \
	{                                                                                          \
		(void)a;                                                                           \
	}                                                                                          \
	void __tsan_unaligned_write##n(void *a)                                                    \
	{                                                                                          \
		if (__builtin_expect(sim_on, 0))                                                   \
			sim_before(a, n, PC);                                                      \
	}
HOOK_UNALIGNED(2)
HOOK_UNALIGNED(4)
HOOK_UNALIGNED(8)
HOOK_UNALIGNED(16)

void __tsan_read_range(void *a, size_t n)
{
	(void)a;
	(void)n;
}

void __tsan_write_range(void *a, size_t n)
{
	if (__builtin_expect(sim_on, 0))
		sim_before(a, n, PC);
}

void __tsan_vptr_update(void *a, void *v)
{
	(void)v;
	if (__builtin_expect(sim_on, 0))
		sim_before(a, sizeof(void *), PC);
}

void __tsan_vptr_read(void *a)
{
	(void)a;
}

/* Everything is done with the strongest order: order between threads is not what is tested here. */
#define AFTER(a, n)                                                                                \
	do {                                                                                       \
		if (__builtin_expect(sim_on, 0))                                                   \
			sim_after_atomic((const void *)(a), n, __builtin_frame_address(0));        \
	} while (0)
#define BEFORE()                                                                                   \
	do {                                                                                       \
		if (__builtin_expect(sim_on, 0))                                                   \
			sim_settle();                                                              \
	} while (0)

#define HOOK_FETCH(bits, type, op)                                                                 \
	type __tsan_atomic##bits##_fetch_##op(volatile type *a, type v, int mo)                    \
	{                                                                                          \
		type old;                                                                          \
		(void)mo;                                                                          \
		BEFORE();                                                                          \
		old = __atomic_fetch_##op(a, v, __ATOMIC_SEQ_CST);                                 \
		AFTER(a, sizeof(type));                                                            \
		return old;                                                                        \
	}

#define HOOK_CAS(bits, type, kind)                                                                 \
	int __tsan_atomic##bits##_compare_exchange_##kind(volatile type *a, type *c, type v,       \
							  int mo, int fmo)                         \
	{                                                                                          \
		int done;                                                                          \
		(void)mo;                                                                          \
		(void)fmo;                                                                         \
		BEFORE();                                                                          \
		done = __atomic_compare_exchange_n(a, c, v, 0, __ATOMIC_SEQ_CST,                   \
						   __ATOMIC_SEQ_CST);                              \
		AFTER(a, sizeof(type));                                                            \
		return done;                                                                       \
	}

#define HOOK_ATOMIC(bits, type)                                                                    \
	type __tsan_atomic##bits##_load(const volatile type *a, int mo)                            \
	{                                                                                          \
		(void)mo;                                                                          \
		return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                       \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile type *a, type v, int mo)                         \
	{                                                                                          \
		(void)mo;                                                                          \
		BEFORE();                                                                          \
		__atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                          \
		AFTER(a, sizeof(type));                                                            \
	}                                                                                          \
	type __tsan_atomic##bits##_exchange(volatile type *a, type v, int mo)                      \
	{                                                                                          \
		type old;                                                                          \
		(void)mo;                                                                          \
		BEFORE();                                                                          \
		old = __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                 \
		AFTER(a, sizeof(type));                                                            \
		return old;                                                                        \
	}                                                                                          \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *a, type c, type v, int mo,  \
							int fmo)                                   \
	{                                                                                          \
		(void)mo;                                                                          \
		(void)fmo;                                                                         \
		BEFORE();                                                                          \
		__atomic_compare_exchange_n(a, &c, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);      \
		AFTER(a, sizeof(type));                                                            \
		return c;                                                                          \
	}                                                                                          \
	HOOK_CAS(bits, type, strong)                                                               \
	HOOK_CAS(bits, type, weak)                                                                 \
	HOOK_FETCH(bits, type, add)                                                                \
	HOOK_FETCH(bits, type, sub)                                                                \
	HOOK_FETCH(bits, type, and)                                                                \
	HOOK_FETCH(bits, type, or)                                                                 \
	HOOK_FETCH(bits, type, xor)                                                                \
	HOOK_FETCH(bits, type, nand)

HOOK_ATOMIC(8, uint8_t)
HOOK_ATOMIC(16, uint16_t)
HOOK_ATOMIC(32, uint32_t)
HOOK_ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int mo)
{
	(void)mo;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int mo)
{
	(void)mo;
}

void *__real_memcpy(void *dst, const void *src, size_t n);
void *__real_memmove(void *dst, const void *src, size_t n);
void *__real_memset(void *dst, int c, size_t n);

void *__wrap_memcpy(void *dst, const void *src, size_t n)
{
	if (__builtin_expect(!sim_on, 1))
		return __real_memcpy(dst, src, n);
	sim_before(dst, n, PC);
	__real_memcpy(dst, src, n);
	sim_settle();
	return dst;
}

void *__wrap_memmove(void *dst, const void *src, size_t n)
{
	if (__builtin_expect(!sim_on, 1))
		return __real_memmove(dst, src, n);
	sim_before(dst, n, PC);
	__real_memmove(dst, src, n);
	sim_settle();
	return dst;
}

void *__wrap_memset(void *dst, int c, size_t n)
{
	if (__builtin_expect(!sim_on, 1))
		return __real_memset(dst, c, n);
	sim_before(dst, n, PC);
	__real_memset(dst, c, n);
	sim_settle();
	return dst;
}
