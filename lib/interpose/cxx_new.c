/* cxx_new.c - operator new in every form; in the shared library only.
 *
 * Success is one call of the heap. Failure is C++'s ([new.delete.single], [alloc.errors]):
 *
 *   for ever: allocate; if that fails, call the program's new handler and try again;
 *             where there is no handler, throw std::bad_alloc, or return NULL in a nothrow form.
 *   An exception that the handler throws leaves new; a nothrow form turns it into NULL.
 *
 * The difficulty is that libgyre.so must not need a C++ library: most programs that preload it are C.
 * So what throws is found in the program, only when memory has run out:
 *
 *   1. weak references, bound by the dynamic linker where the program has libstdc++ or libc++ from the
 *      start. That is nearly always, and needs no memory.
 *   2. else the C++ library may have come with a plugin (dlopen with RTLD_LOCAL, as Python loads
 *      extensions). The object that called us is asked, for plugins with a C++ library of their own inside,
 *      then libraries that are loaded under the usual names. This may need a little memory
 *      for the dynamic linker's bookkeeping; where even that lacks, 3.
 *   3. else one line on stderr, and abort: returning NULL from a throwing new is undefined
 *      behaviour, and compilers do drop the test for NULL.
 *
 * What throws is std::__throw_bad_alloc (GLIBCXX_3.4; libc++ has it under the same name). It is used in
 * place of RTLD_NEXT's operator new, because the next operator new may be another allocator's, and
 * would hand out its block (interpose.h, MIX-1).
 *
 * nothrow with a handler installed: C has no try, so the handler must run inside C++. libstdc++'s own nothrow form
 * is called: it calls the throwing operator new, which is ours again, and catches. It is looked up in the C++
 * library itself, for the same reason as above. If it cannot be found the handler is called bare.
 *
 * Not in libgyre.a: a static link would have to pull the parts of libstdc++ that throw and catch, which a weak
 * reference does not do and a strong one cannot do in a C program. There the C++ library's own operator new
 * runs, which is written in C++ and calls our malloc and aligned_alloc: same heap, one jump more.
 * (Makefile: ARCHIVE_OBJ.)
 *
 * The exception passes through frames of this file: they need unwind tables, which the x86-64 and arm64
 * ABIs have anyway (-fasynchronous-unwind-tables is the default there).
 *
 * See operators.h for OP-1 to OP-3: what happens when a program replaces some of these.
 */
#include "interpose/operators.h"

#include "base/bits.h"
#include "base/panic.h"
#include "heap/heap.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>

typedef void (*new_handler)(void);

/* std::get_new_handler and std::__throw_bad_alloc, where the program has them. */
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

GY_OWN_NAME(_Znwm);
GY_OWN_NAME(_Znam);
GY_OWN_NAME(_ZnwmSt11align_val_t);
GY_OWN_NAME(_ZnamSt11align_val_t);

/* The nothrow forms, as asked for in the C++ library. */
enum nothrow_form { PLAIN, ARRAY, ALIGNED_PLAIN, ALIGNED_ARRAY, FORM_COUNT };

/* `name` as a loaded C++ library has it. The library stays loaded from then on, so that its address
 * may be kept. */
static GY_COLD void *library_symbol(const char *name)
{
	static const char *const libraries[] = { "libstdc++.so.6", "libc++abi.so.1", "libc++.so.1" };
	void *symbol = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(libraries) && !symbol; i++) {
		void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);

		if (library)
			symbol = dlsym(library, name);
		if (library && !symbol)
			dlclose(library);
	}
	return symbol;
}

/* `name` as the object sees it that holds the address `caller`, else as library_symbol. Not for
 * operators: what an object sees under their names may be ourselves. */
static GY_COLD void *runtime_symbol(const char *name, uintptr_t caller)
{
	struct link_map *object = NULL;
	void *symbol = NULL;
	Dl_info info;

	if (dladdr1((void *)caller, &info, (void **)&object, RTLD_DL_LINKMAP) && object)
		symbol = dlsym(object, name);
	return symbol ? symbol : library_symbol(name);
}

static GY_COLD new_handler current_handler(uintptr_t caller)
{
	new_handler (*get)(void) = _ZSt15get_new_handlerv;

	if (!get) {
		void *symbol = runtime_symbol("_ZSt15get_new_handlerv", caller);

		__builtin_memcpy(&get, &symbol, sizeof(get));
	}
	return get ? get() : NULL;
}

__attribute__((noreturn)) static GY_COLD void throw_bad_alloc(size_t bytes, uintptr_t caller)
{
	void (*throw_it)(void) = _ZSt17__throw_bad_allocv;
	char buffer[256];
	struct gy_text text = GY_TEXT(buffer);

	if (!throw_it) {
		void *symbol = runtime_symbol("_ZSt17__throw_bad_allocv", caller);

		__builtin_memcpy(&throw_it, &symbol, sizeof(throw_it));
	}
	if (throw_it)
		throw_it();
	gy_message_begin(&text);
	gy_text_add(&text, "operator new of ");
	gy_text_add_u64(&text, bytes);
	gy_text_add(&text, " bytes failed, and there is no C++ library that could throw [called from ");
	gy_text_add_hex(&text, caller);
	gy_text_add(&text, "]");
	gy_message_write(&text);
	abort();
}

/* alignment 0: a form without one */
static void *allocate(size_t bytes, size_t alignment, uintptr_t caller)
{
	if (!bytes)
		bytes = 1;
	if (!alignment)
		return gy_heap_alloc(bytes, caller);
	if (unlikely(bytes > PTRDIFF_MAX || !gy_is_power_of_2(alignment)))
		return NULL;
	return gy_heap_alloc_aligned(alignment, gy_round_up(bytes, alignment), caller);
}

/* The first attempt has failed. */
static GY_COLD GY_NOINLINE void *new_slow(size_t bytes, size_t alignment, uintptr_t caller)
{
	for (;;) {
		new_handler handler = current_handler(caller);
		void *block;

		if (!handler || (alignment && !gy_is_power_of_2(alignment)))
			throw_bad_alloc(bytes, caller);
		handler();
		block = allocate(bytes, alignment, caller);
		if (block)
			return block;
	}
}

/* The C++ library's nothrow form, which calls the throwing one and catches; NULL on failure as on
 * absence (then *absent is set). */
static GY_COLD void *library_nothrow(enum nothrow_form form, size_t bytes, size_t alignment,
				     const void *nothrow, bool *absent)
{
	static const char *const names[FORM_COUNT] = {
		[PLAIN] = "_ZnwmRKSt9nothrow_t",
		[ARRAY] = "_ZnamRKSt9nothrow_t",
		[ALIGNED_PLAIN] = "_ZnwmSt11align_val_tRKSt9nothrow_t",
		[ALIGNED_ARRAY] = "_ZnamSt11align_val_tRKSt9nothrow_t",
	};
	static void *found[FORM_COUNT]; /* [atomic: relaxed; every writer writes the same] */
	void *symbol = READ_RELAXED(found[form]);
	void *(*plain)(size_t, const void *);
	void *(*aligned)(size_t, size_t, const void *);

	if (!symbol) {
		symbol = library_symbol(names[form]);
		WRITE_RELAXED(found[form], symbol);
	}
	*absent = !symbol;
	if (!symbol)
		return NULL;
	if (form == PLAIN || form == ARRAY) {
		__builtin_memcpy(&plain, &symbol, sizeof(plain));
		return plain(bytes, nothrow);
	}
	__builtin_memcpy(&aligned, &symbol, sizeof(aligned));
	return aligned(bytes, alignment, nothrow);
}

/* A nothrow form whose first attempt has failed. */
static GY_COLD GY_NOINLINE void *nothrow_slow(enum nothrow_form form, size_t bytes, size_t alignment,
					      const void *nothrow, uintptr_t caller)
{
	new_handler handler = current_handler(caller);
	void *block;
	bool absent;

	if (!handler || (alignment && !gy_is_power_of_2(alignment)))
		return NULL;
	block = library_nothrow(form, bytes, alignment, nothrow, &absent);
	while (absent && !block && handler) {
		handler();
		block = allocate(bytes, alignment, caller);
		handler = current_handler(caller);
	}
	return block;
}

static inline void *new_at(size_t bytes, size_t alignment, uintptr_t caller)
{
	void *block = allocate(bytes, alignment, caller);

	return likely(block) ? block : new_slow(bytes, alignment, caller);
}

static inline void *nothrow_at(enum nothrow_form form, size_t bytes, size_t alignment,
			       const void *nothrow, uintptr_t caller)
{
	void *block = allocate(bytes, alignment, caller);

	return likely(block) ? block : nothrow_slow(form, bytes, alignment, nothrow, caller);
}

/* OP-1 for a nothrow form: the program's throwing new inside the C++ library's catch. */
static GY_COLD GY_NOINLINE void *nothrow_replaced(enum nothrow_form form, size_t bytes,
						  size_t alignment, const void *nothrow)
{
	bool absent;
	void *block = library_nothrow(form, bytes, alignment, nothrow, &absent);

	if (!absent)
		return block;
	switch (form) {
	case PLAIN:
		return _Znwm(bytes);
	case ARRAY:
		return _Znam(bytes);
	case ALIGNED_PLAIN:
		return _ZnwmSt11align_val_t(bytes, alignment);
	case ALIGNED_ARRAY:
		return _ZnamSt11align_val_t(bytes, alignment);
	case FORM_COUNT:
		break;
	}
	return NULL;
}

GY_OPERATOR void *_Znwm(size_t bytes)
{
	return new_at(bytes, 0, GY_CALLER());
}

GY_OPERATOR void *_Znam(size_t bytes)
{
	if (GY_REPLACED(_Znwm))
		return _Znwm(bytes);
	return new_at(bytes, 0, GY_CALLER());
}

GY_OPERATOR void *_ZnwmRKSt9nothrow_t(size_t bytes, const void *nothrow)
{
	if (GY_REPLACED(_Znwm))
		return nothrow_replaced(PLAIN, bytes, 0, nothrow);
	return nothrow_at(PLAIN, bytes, 0, nothrow, GY_CALLER());
}

GY_OPERATOR void *_ZnamRKSt9nothrow_t(size_t bytes, const void *nothrow)
{
	if (GY_REPLACED(_Znam) || GY_REPLACED(_Znwm))
		return nothrow_replaced(ARRAY, bytes, 0, nothrow);
	return nothrow_at(ARRAY, bytes, 0, nothrow, GY_CALLER());
}

GY_OPERATOR void *_ZnwmSt11align_val_t(size_t bytes, size_t alignment)
{
	return new_at(bytes, alignment, GY_CALLER());
}

GY_OPERATOR void *_ZnamSt11align_val_t(size_t bytes, size_t alignment)
{
	if (GY_REPLACED(_ZnwmSt11align_val_t))
		return _ZnwmSt11align_val_t(bytes, alignment);
	return new_at(bytes, alignment, GY_CALLER());
}

GY_OPERATOR void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment,
						     const void *nothrow)
{
	if (GY_REPLACED(_ZnwmSt11align_val_t))
		return nothrow_replaced(ALIGNED_PLAIN, bytes, alignment, nothrow);
	return nothrow_at(ALIGNED_PLAIN, bytes, alignment, nothrow, GY_CALLER());
}

GY_OPERATOR void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment,
						     const void *nothrow)
{
	if (GY_REPLACED(_ZnamSt11align_val_t) || GY_REPLACED(_ZnwmSt11align_val_t))
		return nothrow_replaced(ALIGNED_ARRAY, bytes, alignment, nothrow);
	return nothrow_at(ALIGNED_ARRAY, bytes, alignment, nothrow, GY_CALLER());
}
