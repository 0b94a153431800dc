// plugin_lib.cc - a plugin in C++ for a host in C (plugin_host.c): it brings the C++ library into
// the process, so what operator new throws can be found only when it must be thrown.
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

static volatile std::size_t huge = std::size_t(1) << 50;
static int handler_calls;
static std::map<int, std::string> *table;

// The constructor and destructor of a library, at dlopen and dlclose.
__attribute__((constructor)) static void loaded()
{
	table = new std::map<int, std::string>;
	for (int i = 0; i < 100; i++)
		(*table)[i] = std::string(std::size_t(i), 'p');
}

__attribute__((destructor)) static void unloaded()
{
	delete table;
}

static void handler()
{
	handler_calls++;
	throw std::bad_alloc();
}

static bool throws()
{
	try {
		::operator delete(::operator new(huge));
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

// nullptr, or what went wrong.
extern "C" __attribute__((visibility("default"))) const char *plugin_run()
{
	std::vector<std::string> strings(1000, std::string(100, 's'));
	void *p = ::operator new(100, std::align_val_t(512));

	::operator delete(p, std::size_t(100), std::align_val_t(512));
	if (!throws())
		return "new does not throw";
	if (::operator new(huge, std::nothrow) ||
	    ::operator new[](huge, std::align_val_t(64), std::nothrow))
		return "a nothrow new returned a block";
	handler_calls = 0;
	std::set_new_handler(handler);
	if (!throws() || handler_calls != 1) {
		std::set_new_handler(nullptr);
		return "the handler's exception was lost";
	}
	if (::operator new(huge, std::nothrow) || handler_calls != 2) {
		std::set_new_handler(nullptr);
		return "nothrow new with a handler that throws";
	}
	std::set_new_handler(nullptr);
	return nullptr;
}
