// cxx_kept.cc - objects held as C++ holds them: by their second base, behind an array's cookie, by
// shared pointers, in containers.
/* truth: none */
#include "corpus.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

struct first_base {
	virtual ~first_base() {}
	long one = 1;
};

struct second_base {
	virtual ~second_base() {}
	long two = 2;
};

struct both : first_base, second_base {
	long rest[8];
};

static second_base *by_second[50];
static std::string *with_cookie;
static std::shared_ptr<both> shared[20];
static std::map<int, std::string> names;
static std::vector<std::unique_ptr<both>> owned;

static NOINLINE void fill()
{
	for (auto &pointer : by_second)
		pointer = new both;
	with_cookie = new std::string[30];
	for (int i = 0; i < 30; i++)
		with_cookie[i] = std::string(100, 'x');
	for (auto &pointer : shared)
		pointer = std::make_shared<both>();
	for (int i = 0; i < 100; i++)
		names[i] = std::string(60, 'y');
	for (int i = 0; i < 100; i++)
		owned.emplace_back(new both);
}

int main()
{
	fill();
	return stay();
}
