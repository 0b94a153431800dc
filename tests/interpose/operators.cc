// operators.cc - operator new and delete in every form, against C++17 [new.delete] and
// [alloc.errors].
//
// One program in four forms, as family.c. Failure is provoked by sizes that no machine has.
#include "interpose/tap.h"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#endif

static volatile std::size_t huge = std::size_t(1) << 50;
static volatile std::size_t beyond = std::size_t(1) << 63;
// Where a new-expression's result goes, so that the compiler may not leave the pair out.
static void *volatile escaped;

static bool aligned(const void *block, std::size_t alignment)
{
	return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
}

static void fill(void *block, std::size_t bytes)
{
	if (bytes)
		memset(block, 0x7e, bytes);
}

static void test_forms()
{
	group("each form of new pairs with each form of delete that may take its block");
	for (std::size_t bytes = 0; bytes < 70000; bytes += bytes < 1200 ? 1 : 997) {
		void *p[8];

		for (int i = 0; i < 4; i++)
			fill(p[i] = ::operator new(bytes), bytes);
		EXPECT(p[0] != p[1] && aligned(p[0], bytes >= 16 ? 16 : 8), "size %zu", bytes);
		::operator delete(p[0]);
		::operator delete(p[1], bytes);
		::operator delete(p[2], std::nothrow);
		fill(p[4] = ::operator new(bytes, std::nothrow), bytes);
		::operator delete(p[4], bytes);
		::operator delete(p[3]);
		for (int i = 0; i < 4; i++)
			fill(p[i] = ::operator new[](bytes), bytes);
		::operator delete[](p[0]);
		::operator delete[](p[1], bytes);
		::operator delete[](p[2], std::nothrow);
		fill(p[4] = ::operator new[](bytes, std::nothrow), bytes);
		::operator delete[](p[4], bytes);
		::operator delete[](p[3], bytes);
	}
	for (void *nothing : {static_cast<void *>(nullptr)}) {
		::operator delete(nothing);
		::operator delete(nothing, std::size_t(8));
		::operator delete(nothing, std::nothrow);
		::operator delete[](nothing);
		::operator delete[](nothing, std::size_t(8));
		::operator delete(nothing, std::align_val_t(64));
		::operator delete(nothing, std::size_t(8), std::align_val_t(64));
	}
	group_end();

	group("the aligned forms");
	for (std::size_t alignment = 1; alignment <= 65536; alignment *= 2) {
		std::align_val_t al{alignment};

		for (std::size_t bytes : {0u, 1u, 8u, 20u, 64u, 65u, 100u, 1000u, 4097u, 33000u}) {
			void *p[12];
			int i = 0;

			p[i++] = ::operator new(bytes, al);
			p[i++] = ::operator new(bytes, al);
			p[i++] = ::operator new(bytes, al, std::nothrow);
			p[i++] = ::operator new(bytes, al);
			p[i++] = ::operator new[](bytes, al);
			p[i++] = ::operator new[](bytes, al);
			p[i++] = ::operator new[](bytes, al, std::nothrow);
			p[i++] = ::operator new[](bytes, al);
			for (int k = 0; k < i; k++) {
				EXPECT(p[k] && aligned(p[k], alignment),
				       "form %d alignment %zu size %zu", k, alignment, bytes);
				fill(p[k], bytes);
			}
			::operator delete(p[0], al);
			::operator delete(p[1], bytes, al);
			::operator delete(p[2], bytes, al);
			::operator delete(p[3], al, std::nothrow);
			::operator delete[](p[4], al);
			::operator delete[](p[5], bytes, al);
			::operator delete[](p[6], bytes, al);
			::operator delete[](p[7], al, std::nothrow);
		}
	}
	group_end();
}

template <typename Action> static bool throws_bad_alloc(Action action)
{
	try {
		action();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void test_throw()
{
	std::align_val_t al{256};

	group("a throwing form throws std::bad_alloc, a nothrow form returns nullptr");
	for (std::size_t bytes : {std::size_t(huge), std::size_t(beyond)}) {
		EXPECT(throws_bad_alloc([&] { ::operator delete(::operator new(bytes)); }),
		       "new(%zu)", bytes);
		EXPECT(throws_bad_alloc([&] { ::operator delete[](::operator new[](bytes)); }),
		       "new[](%zu)", bytes);
		EXPECT(throws_bad_alloc([&] { ::operator delete(::operator new(bytes, al), al); }),
		       "aligned new(%zu)", bytes);
		EXPECT(throws_bad_alloc(
			       [&] { ::operator delete[](::operator new[](bytes, al), al); }),
		       "aligned new[](%zu)", bytes);
		EXPECT(!::operator new(bytes, std::nothrow), "%zu", bytes);
		EXPECT(!::operator new[](bytes, std::nothrow), "%zu", bytes);
		EXPECT(!::operator new(bytes, al, std::nothrow), "%zu", bytes);
		EXPECT(!::operator new[](bytes, al, std::nothrow), "%zu", bytes);
	}
	EXPECT(throws_bad_alloc([] { std::vector<char> v(huge); }), "vector");
	EXPECT(throws_bad_alloc([] { escaped = new int[std::size_t(huge) / 8]; }), "new int[]");
	group_end();

	group("an exception from new leaves the heap and later exceptions whole");
	for (int i = 0; i < 10000; i++) {
		bool caught = throws_bad_alloc([] {
			std::string kept(100, 'x');
			std::unique_ptr<char[]> p(new char[huge]);
			escaped = p.get();
		});
		EXPECT(caught, "round %d", i);
	}
	EXPECT(std::uncaught_exceptions() == 0, "%d", std::uncaught_exceptions());
	group_end();
}

static int handler_calls;

static void handler_gives_up()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

struct other_exception {
};

static void handler_throws_bad_alloc()
{
	handler_calls++;
	throw std::bad_alloc();
}

static void handler_throws_other()
{
	handler_calls++;
	throw other_exception();
}

static void test_handler()
{
	std::align_val_t al{64};

	group("the new handler is called until there is none");
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge)); }), "no exception");
	EXPECT(handler_calls == 3, "%d calls", handler_calls);
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	EXPECT(throws_bad_alloc([&] { ::operator delete[](::operator new[](huge, al), al); }),
	       "no exception");
	EXPECT(handler_calls == 3, "%d calls", handler_calls);
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	EXPECT(!::operator new(huge, std::nothrow), "a block");
	EXPECT(handler_calls == 3, "nothrow: %d calls", handler_calls);
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	EXPECT(!::operator new[](huge, al, std::nothrow), "a block");
	EXPECT(handler_calls == 3, "nothrow aligned: %d calls", handler_calls);
	group_end();

	group("an exception of the handler leaves new, and a nothrow form turns it into nullptr");
	handler_calls = 0;
	std::set_new_handler(handler_throws_bad_alloc);
	EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge)); }), "no exception");
	EXPECT(handler_calls == 1, "%d calls", handler_calls);
	for (int i = 0; i < 100; i++) {
		EXPECT(!::operator new(huge, std::nothrow), "a block");
		EXPECT(!::operator new[](huge, std::nothrow), "a block");
		EXPECT(!::operator new(huge, al, std::nothrow), "a block");
		EXPECT(!::operator new[](huge, al, std::nothrow), "a block");
	}
	EXPECT(handler_calls == 401, "%d calls", handler_calls);
	std::set_new_handler(handler_throws_other);
	bool caught = false;
	try {
		::operator delete(::operator new(huge));
	} catch (const other_exception &) {
		caught = true;
	}
	EXPECT(caught, "the handler's exception was lost");
	EXPECT(!::operator new(huge, std::nothrow), "a block");
	EXPECT(std::uncaught_exceptions() == 0, "%d", std::uncaught_exceptions());
	std::set_new_handler(nullptr);
	group_end();
}

struct alignas(128) wide {
	char bytes[384];
};

struct base {
	virtual ~base() = default;
	long x = 1;
};

struct derived : base {
	char more[500] = {};
};

static void test_programs()
{
	group("the standard library runs on it");
	std::map<int, std::string> map;
	std::vector<std::unique_ptr<base>> objects;
	for (int i = 0; i < 20000; i++) {
		map[i * 7919 % 20011] = std::string(std::size_t(i) % 90, 'y');
		objects.emplace_back(i % 2 ? new derived : new base);
	}
	for (int i = 0; i < 20000; i += 3)
		map.erase(i);
	std::vector<wide> wides(50);
	EXPECT(aligned(wides.data(), 128), "over-aligned vector");
	wides.resize(5000);
	EXPECT(aligned(wides.data(), 128), "over-aligned vector");
	wide *array = new wide[10];
	EXPECT(aligned(array, 128), "over-aligned array");
	delete[] array;
	std::thread([&] { objects.clear(); }).join();
	std::string *strings = new std::string[100];
	delete[] strings;
	auto shared = std::make_shared<derived>();
	EXPECT(shared.use_count() == 1, "shared");
	group_end();
}

int main()
{
	test_forms();
	test_throw();
	test_handler();
	test_programs();
	return tap_all_failures != 0;
}
