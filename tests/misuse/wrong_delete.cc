// wrong_delete.cc - what C++ programs do wrong with delete; driven as misuse.c.
//
// Sized deallocation (C++14) hands the size that the compiler knows to operator delete. Where it is not the
// block's, the program deletes through the wrong type: undefined behaviour that usually passes in silence.
#include "interpose/tap.h"

#include <malloc.h>
#include <new>
#include <string>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wdelete-non-virtual-dtor"
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#pragma GCC diagnostic ignored "-Wpragmas"
#endif

struct base {
	long kind = 1;
};

struct derived : base {
	char more[500] = {};
};

struct alignas(64) wide {
	char bytes[64];
};

static void *volatile pointer;

static void expect_size(void *block, std::size_t claimed)
{
	say("expect sized free of %p with %zu bytes, but the block has %zu bytes\n", block, claimed,
	    malloc_usable_size(block));
}

static void base_without_virtual_destructor()
{
	pointer = new derived;
	expect_size(pointer, sizeof(base));
	delete static_cast<base *>(pointer);
}

static void small_object_as_large()
{
	pointer = new base;
	expect_size(pointer, sizeof(derived));
	delete static_cast<derived *>(pointer);
}

static void array_with_plain_delete()
{
	// A count stands before the objects, so delete gets an address inside the block.
	std::string *array = new std::string[4];
	char *block = reinterpret_cast<char *>(array) - sizeof(std::size_t);

	pointer = array;
	say("expect free of %p, which is 8 bytes into a block of %zu bytes at %p\n", pointer,
	    malloc_usable_size(block), static_cast<void *>(block));
	delete static_cast<std::string *>(pointer);
}

static void deleted_twice()
{
	pointer = new derived;
	say("expect double free of %p (a block of %zu bytes)\n", pointer,
	    malloc_usable_size(pointer));
	delete static_cast<derived *>(pointer);
	delete static_cast<derived *>(pointer);
}

static void aligned_object_as_small()
{
	pointer = new wide[20];
	expect_size(pointer, 16384);
	::operator delete(pointer, std::size_t(16384), std::align_val_t(64));
}

static const struct {
	const char *name;
	void (*run)();
} cases[] = {
	{"base_without_virtual_destructor", base_without_virtual_destructor},
	{"small_object_as_large", small_object_as_large},
	{"array_with_plain_delete", array_with_plain_delete},
	{"deleted_twice", deleted_twice},
	{"aligned_object_as_small", aligned_object_as_small},
};

int main(int argc, char **argv)
{
	std::string name = argc > 1 ? argv[1] : "list";

	for (const auto &one : cases) {
		if (name == "list")
			say("%s\n", one.name);
		else if (name == "all" || name == one.name)
			one.run();
	}
	if (name == "all")
		say("heap whole\n");
	return 0;
}
