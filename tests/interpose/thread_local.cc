// thread_local.cc - C++ objects whose constructors and destructors allocate: static, thread_local,
// function-local, and a thread_local that another thread_local's destructor brings back to life.
#include "interpose/tap.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

static std::atomic<long> destroyed;

struct heavy {
	std::map<int, std::string> map;
	std::vector<char> bytes;
	heavy() : bytes(100000)
	{
		for (int i = 0; i < 100; i++)
			map[i] = std::string(std::size_t(i) + 20, 'h');
	}
	~heavy()
	{
		std::vector<std::string> more(200, std::string(50, 'm'));
		map[1000] = more.back();
		destroyed++;
	}
};

static heavy global;
static thread_local heavy per_thread;
static thread_local std::unique_ptr<heavy> owner;

struct late {
	bool used = false;
	~late()
	{
		static thread_local heavy revived;
		revived.map[1] = "again";
		owner.reset(new heavy);
	}
};

static thread_local late last;

int main()
{
	group("thread_local objects allocate in constructors and destructors");
	for (int round = 0; round < 20; round++) {
		std::vector<std::thread> threads;
		for (int i = 0; i < 8; i++)
			threads.emplace_back([] {
				owner = std::make_unique<heavy>();
				last.used = true;
				per_thread.map[7] = "seven";
			});
		for (auto &thread : threads)
			thread.join();
	}
	EXPECT(destroyed >= 20 * 8 * 3, "%ld destroyed", destroyed.load());
	EXPECT(global.map.size() == 100, "%zu", global.map.size());
	group_end();
	return tap_all_failures != 0;
}
