/* cxx_churn.cc - a C++ program that lives on new and delete, for the preload test.
 *
 * Maps, strings, shared pointers, exceptions and over-aligned types on four threads, blocks handed
 * from one thread to the next, every form of operator new. Everything is seeded, so what it prints
 * depends on nothing but the correctness of the memory under it.
 */
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

struct alignas(128) Wide {
	std::uint64_t words[16];
};

struct Base {
	virtual ~Base() = default;
	virtual std::uint64_t weight() const = 0;
};
struct Small : Base {
	std::uint64_t value = 3;
	std::uint64_t weight() const override { return value; }
};
struct Large : Base {
	std::string text;
	std::vector<int> numbers;
	explicit Large(std::uint64_t seed)
		: text(seed % 400, static_cast<char>('a' + seed % 26)), numbers(seed % 90, 7)
	{
	}
	std::uint64_t weight() const override { return text.size() + numbers.size(); }
};

class Random {
      public:
	explicit Random(std::uint64_t seed) : state(seed * 2654435761u + 1) {}
	std::uint64_t next()
	{
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		return state;
	}

      private:
	std::uint64_t state;
};

/* Blocks made by one thread and freed by another. */
class Channel {
      public:
	void send(std::unique_ptr<Base> item)
	{
		std::unique_lock<std::mutex> hold(lock);
		room.wait(hold, [this] { return items.size() < 1000; });
		items.push_back(std::move(item));
		filled.notify_one();
	}
	std::unique_ptr<Base> receive()
	{
		std::unique_lock<std::mutex> hold(lock);
		filled.wait(hold, [this] { return !items.empty(); });
		std::unique_ptr<Base> item = std::move(items.front());
		items.pop_front();
		room.notify_one();
		return item;
	}

      private:
	std::mutex lock;
	std::condition_variable filled, room;
	std::deque<std::unique_ptr<Base>> items;
};

std::uint64_t containers(std::uint64_t seed)
{
	Random random(seed);
	std::map<std::string, std::shared_ptr<std::list<int>>> tree;
	std::unordered_map<std::uint64_t, std::string> table;
	std::uint64_t sum = 0;

	for (int round = 0; round < 60000; round++) {
		std::uint64_t pick = random.next();
		auto &list = tree["key " + std::to_string(pick % 3000)];
		if (!list)
			list = std::make_shared<std::list<int>>();
		list->push_back(round);
		if (list->size() > 20)
			list.reset();
		table[pick % 5000] += static_cast<char>('a' + pick % 26);
		if (pick % 11 == 0)
			table.erase(pick % 5000);
	}
	for (const auto &entry : tree)
		sum += entry.first.size() + (entry.second ? entry.second->size() : 0);
	for (const auto &entry : table)
		sum += entry.first ^ entry.second.size();
	return sum;
}

std::uint64_t operators(std::uint64_t seed)
{
	Random random(seed);
	std::uint64_t sum = 0;

	for (int round = 0; round < 20000; round++) {
		std::unique_ptr<Wide> wide(new Wide());
		if (reinterpret_cast<std::uintptr_t>(wide.get()) % alignof(Wide) != 0)
			std::abort();
		std::unique_ptr<Wide[]> wides(new Wide[1 + random.next() % 5]());
		char *plain = new (std::nothrow) char[random.next() % 5000 + 1];
		plain[0] = static_cast<char>(round);
		sum += static_cast<std::uint64_t>(static_cast<unsigned char>(plain[0])) + wides[0].words[3];
		delete[] plain;
		try {
			if (round % 16 == 0)
				throw std::runtime_error(std::string(random.next() % 200, 'e'));
		} catch (const std::exception &error) {
			sum += std::string(error.what()).size();
		}
	}
	volatile std::size_t much = SIZE_MAX / 2;
	try {
		delete[] new char[much];
		sum = 0;
	} catch (const std::bad_alloc &) {
		sum++;
	}
	if (new (std::nothrow) char[much])
		sum = 0;
	return sum;
}

} // namespace

int main()
{
	constexpr int items = 100000;
	Channel channel;
	std::uint64_t sums[4] = {}, handed = 0;
	std::vector<std::thread> threads;

	for (std::uint64_t i = 0; i < 4; i++)
		threads.emplace_back([&sums, i] { sums[i] = containers(i + 1) + operators(i + 9); });
	threads.emplace_back([&channel] {
		Random random(5);
		for (int i = 0; i < items; i++)
			if (random.next() % 2)
				channel.send(std::make_unique<Large>(random.next()));
			else
				channel.send(std::make_unique<Small>());
	});
	for (int i = 0; i < items; i++)
		handed += channel.receive()->weight();
	for (auto &thread : threads)
		thread.join();
	for (std::uint64_t sum : sums)
		std::printf("%llu\n", static_cast<unsigned long long>(sum));
	std::printf("%llu\n", static_cast<unsigned long long>(handed));
	return 0;
}
