/* operators.h - C++'s operators new and delete under their mangled names (Itanium C++ ABI, LP64).
 *
 *   nw / na   new, new[]         m                    std::size_t
 *   dl / da   delete, delete[]   Pv                   void *
 *                                St11align_val_t      std::align_val_t, passed as a size_t
 *                                RKSt9nothrow_t       const std::nothrow_t &, passed as an address
 *
 * In C++17 a program may replace any of these. It usually replaces only the four plain ones, and
 * the standard says what the others then do: each has a *default behaviour* that calls another.
 *
 *   new(n, nothrow)    -> new(n)      delete(p, n), delete(p, nothrow)      -> delete(p)
 *   new[](n)           -> new(n)      delete[](p)                           -> delete(p)
 *   new[](n, nothrow)  -> new[](n)    delete[](p, n), delete[](p, nothrow)  -> delete[](p)
 *   and the same once more for the forms with an alignment
 *
 * OP-1  If the operator that a default behaviour names is not ours, it is called. Otherwise a
 *       program that replaced new and delete (with a header of its own before each block, say)
 *       would see our sized delete free an address in the middle of our block.
 * OP-2  If it is ours, the heap is called at once: the same result, one call less, and the caller's
 *       address is still that of the program.
 * OP-3  Every operator is a weak definition, so that a program linked with libgyre.a may replace
 *       any one of them. For the dynamic linker weak and strong are the same.
 *
 * GY_REPLACED(x) tells whether the name x leads elsewhere: &x is what the program's symbol
 * resolution found (one load from the GOT), x_own is our definition under a name that cannot be
 * interposed.
 */
#ifndef GY_INTERPOSE_OPERATORS_H
#define GY_INTERPOSE_OPERATORS_H

#include "interpose/interpose.h"

_Static_assert(sizeof(size_t) == sizeof(unsigned long), "size_t is mangled as m");

void *_Znwm(size_t bytes);
void *_Znam(size_t bytes);
void *_ZnwmRKSt9nothrow_t(size_t bytes, const void *nothrow);
void *_ZnamRKSt9nothrow_t(size_t bytes, const void *nothrow);
void *_ZnwmSt11align_val_t(size_t bytes, size_t alignment);
void *_ZnamSt11align_val_t(size_t bytes, size_t alignment);
void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment, const void *nothrow);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment, const void *nothrow);

void _ZdlPv(void *block);
void _ZdaPv(void *block);
void _ZdlPvm(void *block, size_t bytes);
void _ZdaPvm(void *block, size_t bytes);
void _ZdlPvRKSt9nothrow_t(void *block, const void *nothrow);
void _ZdaPvRKSt9nothrow_t(void *block, const void *nothrow);
void _ZdlPvSt11align_val_t(void *block, size_t alignment);
void _ZdaPvSt11align_val_t(void *block, size_t alignment);
void _ZdlPvmSt11align_val_t(void *block, size_t bytes, size_t alignment);
void _ZdaPvmSt11align_val_t(void *block, size_t bytes, size_t alignment);
void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment, const void *nothrow);
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment, const void *nothrow);

#define GY_OPERATOR GY_EXPORT __attribute__((weak))
/* A second, hidden name of an operator defined in the same file. */
#define GY_OWN_NAME(name)                                                                          \
	extern __typeof__(name) name##_own __attribute__((alias(#name), visibility("hidden")))
#define GY_REPLACED(name) unlikely(&name != &name##_own)

#endif
