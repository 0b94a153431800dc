// replaced.cc - a program that replaces the plain operators only, with a header before each block.
//
// The standard says which operator each of the others then calls ([new.delete.single], "Default
// behavior"); with one that went past the replacement, a block would be freed 16 bytes into itself.
#include "interpose/tap.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

static const std::size_t header_bytes = 64;
static long live, news, deletes;

// By its own, and with malloc's own word for what fails.
static void *take(std::size_t bytes)
{
	char *block = static_cast<char *>(std::malloc(bytes + header_bytes));

	if (!block)
		throw std::bad_alloc();
	memset(block, 0x11, header_bytes);
	live++;
	news++;
	return block + header_bytes;
}

static void give(void *block)
{
	char *whole = static_cast<char *>(block) - header_bytes;

	if (!block)
		return;
	for (std::size_t i = 0; i < header_bytes; i++)
		EXPECT(whole[i] == 0x11, "header byte %zu", i);
	live--;
	deletes++;
	std::free(whole);
}

void *operator new(std::size_t bytes)
{
	return take(bytes);
}

void operator delete(void *block) noexcept
{
	give(block);
}

void *operator new(std::size_t bytes, std::align_val_t)
{
	return take(bytes);
}

void operator delete(void *block, std::align_val_t) noexcept
{
	give(block);
}

int main()
{
	const volatile std::size_t huge = std::size_t(1) << 50;
	std::align_val_t al{64};

	group("every other form calls the operators that the program replaced");
	::operator delete(::operator new(10), std::size_t(10));
	::operator delete(::operator new(10), std::nothrow);
	::operator delete(::operator new(10, std::nothrow), std::size_t(10));
	::operator delete[](::operator new[](10));
	::operator delete[](::operator new[](10), std::size_t(10));
	::operator delete[](::operator new[](10, std::nothrow), std::nothrow);
	EXPECT(news == 6 && deletes == 6, "%ld new, %ld delete", news, deletes);
	::operator delete(::operator new(10, al), al);
	::operator delete(::operator new(10, al), std::size_t(10), al);
	::operator delete(::operator new(10, al, std::nothrow), al, std::nothrow);
	::operator delete[](::operator new[](10, al), al);
	::operator delete[](::operator new[](10, al), std::size_t(10), al);
	::operator delete[](::operator new[](10, al, std::nothrow), al, std::nothrow);
	EXPECT(news == 12 && deletes == 12, "%ld new, %ld delete", news, deletes);
	{
		std::vector<std::string> strings;
		for (int i = 0; i < 1000; i++)
			strings.emplace_back(std::size_t(i), 'z');
	}
	EXPECT(live == 0, "%ld live", live);
	EXPECT(!::operator new(huge, std::nothrow), "a block");
	EXPECT(!::operator new[](huge, std::nothrow), "a block");
	EXPECT(!::operator new(huge, al, std::nothrow), "a block");
	EXPECT(!::operator new[](huge, al, std::nothrow), "a block");
	EXPECT(live == 0, "%ld live", live);
	group_end();
	return tap_all_failures != 0;
}
