/* cxx_new.c - operator new in every form; in the shared library only.
 *
 * Success is malloc's own fast path (fast.h) and the same block. Failure is C++'s
 * ([new.delete.single], [alloc.errors]):
 *
 *   for ever: allocate; if that fails, call the program's new handler and try again;
 *             where there is no handler, throw std::bad_alloc, or return NULL in a nothrow form.
 *   An exception that the handler throws leaves new; a nothrow form turns it into NULL.
 *
 * The difficulty is that libgyre.so must not need a C++ library: most programs that preload it are
 * C. So what throws is found in the program, only when memory has run out:
 *
 *   1. weak references, bound by the dynamic linker where the program has libstdc++ or libc++ from
 *      the start. That is nearly always, and needs no memory.
 *   2. else the C++ library has come with a plugin (dlopen with RTLD_LOCAL, as Python loads
 *      extensions). The object that called us is asked for what it sees, which may be a C++ library
 *      inside itself; then libraries loaded under the usual names. This may need a little memory
 *      for the dynamic linker's bookkeeping; where even that lacks, 3.
 *   3. else one line on stderr, and abort: returning NULL from a throwing new is undefined
 *      behaviour, and compilers do drop the test for NULL.
 *
 * What throws is std::__throw_bad_alloc (GLIBCXX_3.4; libc++ has it under the same name). It is
 * used in place of RTLD_NEXT's operator new, because the next operator new may be another
 * allocator's, and would hand out its block (interpose.h, MIX-1).
 *
 * A nothrow form with a handler installed: C has no try, so the handler must run inside C++. The
 * C++ library's own nothrow form is called: it calls the throwing operator new, which is ours
 * again, and catches. To be sure that it is the C++ library's:
 *
 * NEW-1  A nothrow form is called only if the object that holds it is the one that holds
 *        std::get_new_handler. Otherwise the handler is called bare, and what it throws goes
 *        through.
 * NEW-2  An address found by dlsym is kept only where the C++ library was there from the start,
 *        which is never unloaded; the object it was found in is not pinned, so that plugins can go.
 *
 * Not in libgyre.a: a static link would have to pull the parts of libstdc++ that throw and catch,
 * which a weak reference does not do and a strong one cannot do in a C program. There the C++
 * library's own operator new runs, which is written in C++ and calls our malloc and aligned_alloc:
 * same heap, one jump more. (Makefile: ARCHIVE_OBJ.)
 *
 * The exception passes through frames of this file: they need unwind tables, which the x86-64 and
 * arm64 ABIs have anyway (-fasynchronous-unwind-tables is the default there).
 *
 * See operators.h for OP-1 to OP-3: what happens when a program replaces some of these.
 */
#include "interpose/fast.h"
#include "interpose/operators.h"

#include "base/bits.h"
#include "base/panic.h"

#include <dlfcn.h>
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

/* `name` in the loaded object `file` and what it depends on; NULL where it is not loaded. */
static GY_COLD void *symbol_in(const char *file, const char *name)
{
	void *object = dlopen(file, RTLD_LAZY | RTLD_NOLOAD);
	void *symbol = object ? dlsym(object, name) : NULL;

	if (object)
		dlclose(object);
	return symbol;
}

/* `name` of the C++ library that the code at `caller` uses. Not for operators: see NEW-1. */
static GY_COLD void *runtime_symbol(const char *name, uintptr_t caller)
{
	static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
	void *symbol = NULL;
	Dl_info info;

	if (dladdr((void *)caller, &info) && info.dli_fname)
		symbol = symbol_in(info.dli_fname, name);
	for (size_t i = 0; i < ARRAY_SIZE(libraries) && !symbol; i++)
		symbol = symbol_in(libraries[i], name);
	return symbol;
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
	gy_text_add(&text,
		    " bytes failed, and there is no C++ library that could throw [called from ");
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

/* NEW-1: the nothrow form of the C++ library that the code at `caller` uses, or NULL. */
static GY_COLD void *find_nothrow(const char *name, uintptr_t caller)
{
	new_handler (*get)(void) = _ZSt15get_new_handlerv;
	void *anchor, *symbol;
	Dl_info library, holder;

	if (get)
		__builtin_memcpy(&anchor, &get, sizeof(anchor));
	else
		anchor = runtime_symbol("_ZSt15get_new_handlerv", caller);
	if (!anchor || !dladdr(anchor, &library) || !library.dli_fname)
		return NULL;
	symbol = symbol_in(library.dli_fname, name);
	if (!symbol || !dladdr(symbol, &holder) || holder.dli_fbase != library.dli_fbase)
		return NULL;
	return symbol;
}

/* The C++ library's nothrow form, which calls the throwing one and catches; NULL on failure as on
 * absence (then *absent is set). */
static GY_COLD void *library_nothrow(enum nothrow_form form, size_t bytes, size_t alignment,
				     const void *nothrow, uintptr_t caller, bool *absent)
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
		symbol = find_nothrow(names[form], caller);
		if (symbol && _ZSt15get_new_handlerv) /* NEW-2 */
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
static GY_COLD GY_NOINLINE void *nothrow_slow(enum nothrow_form form, size_t bytes,
					      size_t alignment, const void *nothrow,
					      uintptr_t caller)
{
	new_handler handler = current_handler(caller);
	void *block;
	bool absent;

	if (!handler || (alignment && !gy_is_power_of_2(alignment)))
		return NULL;
	block = library_nothrow(form, bytes, alignment, nothrow, caller, &absent);
	while (absent && !block && handler) {
		handler();
		block = allocate(bytes, alignment, caller);
		handler = current_handler(caller);
	}
	return block;
}

/* What the forms without an alignment jump to when the fast path did not serve (FAST-1). */
static GY_NOINLINE void *new_missed(size_t bytes, uintptr_t caller)
{
	void *block = allocate(bytes, 0, caller);

	return likely(block) ? block : new_slow(bytes, 0, caller);
}

static GY_NOINLINE void *nothrow_missed(enum nothrow_form form, size_t bytes, const void *nothrow,
					uintptr_t caller)
{
	void *block = allocate(bytes, 0, caller);

	return likely(block) ? block : nothrow_slow(form, bytes, 0, nothrow, caller);
}

/* Both again, for the forms with an alignment. */
static GY_NOINLINE void *new_aligned(size_t bytes, size_t alignment, uintptr_t caller)
{
	void *block = allocate(bytes, alignment, caller);

	return likely(block) ? block : new_slow(bytes, alignment, caller);
}

static GY_NOINLINE void *nothrow_aligned(enum nothrow_form form, size_t bytes, size_t alignment,
					 const void *nothrow, uintptr_t caller)
{
	void *block = allocate(bytes, alignment, caller);

	return likely(block) ? block : nothrow_slow(form, bytes, alignment, nothrow, caller);
}

/* OP-1 for a nothrow form: the program's throwing new inside the C++ library's catch. */
static GY_COLD GY_NOINLINE void *nothrow_replaced(enum nothrow_form form, size_t bytes,
						  size_t alignment, const void *nothrow,
						  uintptr_t caller)
{
	bool absent;
	void *block = library_nothrow(form, bytes, alignment, nothrow, caller, &absent);

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

GY_OPERATOR GY_FAST void *_Znwm(size_t bytes)
{
	void *block = gy_fast_alloc(bytes);

	if (likely(block != NULL))
		return block;
	return new_missed(bytes, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_Znam(size_t bytes)
{
	void *block;

	if (GY_REPLACED(_Znwm))
		return _Znwm(bytes);
	block = gy_fast_alloc(bytes);
	if (likely(block != NULL))
		return block;
	return new_missed(bytes, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnwmRKSt9nothrow_t(size_t bytes, const void *nothrow)
{
	void *block;

	if (GY_REPLACED(_Znwm))
		return nothrow_replaced(PLAIN, bytes, 0, nothrow, GY_CALLER());
	block = gy_fast_alloc(bytes);
	if (likely(block != NULL))
		return block;
	return nothrow_missed(PLAIN, bytes, nothrow, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnamRKSt9nothrow_t(size_t bytes, const void *nothrow)
{
	void *block;

	if (GY_REPLACED(_Znam) || GY_REPLACED(_Znwm))
		return nothrow_replaced(ARRAY, bytes, 0, nothrow, GY_CALLER());
	block = gy_fast_alloc(bytes);
	if (likely(block != NULL))
		return block;
	return nothrow_missed(ARRAY, bytes, nothrow, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnwmSt11align_val_t(size_t bytes, size_t alignment)
{
	void *block = gy_fast_alloc_aligned(alignment, bytes);

	if (likely(block != NULL))
		return block;
	return new_aligned(bytes, alignment, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnamSt11align_val_t(size_t bytes, size_t alignment)
{
	void *block;

	if (GY_REPLACED(_ZnwmSt11align_val_t))
		return _ZnwmSt11align_val_t(bytes, alignment);
	block = gy_fast_alloc_aligned(alignment, bytes);
	if (likely(block != NULL))
		return block;
	return new_aligned(bytes, alignment, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment,
							     const void *nothrow)
{
	void *block;

	if (GY_REPLACED(_ZnwmSt11align_val_t))
		return nothrow_replaced(ALIGNED_PLAIN, bytes, alignment, nothrow, GY_CALLER());
	block = gy_fast_alloc_aligned(alignment, bytes);
	if (likely(block != NULL))
		return block;
	return nothrow_aligned(ALIGNED_PLAIN, bytes, alignment, nothrow, GY_CALLER());
}

GY_OPERATOR GY_FAST void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment,
							     const void *nothrow)
{
	void *block;

	if (GY_REPLACED(_ZnamSt11align_val_t) || GY_REPLACED(_ZnwmSt11align_val_t))
		return nothrow_replaced(ALIGNED_ARRAY, bytes, alignment, nothrow, GY_CALLER());
	block = gy_fast_alloc_aligned(alignment, bytes);
	if (likely(block != NULL))
		return block;
	return nothrow_aligned(ALIGNED_ARRAY, bytes, alignment, nothrow, GY_CALLER());
}
