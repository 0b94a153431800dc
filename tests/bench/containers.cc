/* containers - C++ programs: what operator new sees of the standard library.
 *
 *	containers [mode=hash|map|strings|lists] [rounds=N] [keys=100000]
 *
 * hash     an unordered_map from string to string: insert, replace, erase, at random; a rehash
 *          now and then. Keys and values longer than the inline buffer, so each is a block.
 * map      a std::map from integers to vectors that grow and shrink.
 * strings  text is split into words, words are joined again: many temporaries of all short lengths.
 * lists    std::list and std::shared_ptr: a queue of jobs through three stages.
 *
 * One operation is one container call of the outer loop.
 */
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench.h"

namespace {

std::string key_of(uint64_t number)
{
	char text[64];

	snprintf(text, sizeof(text), "user:%020llu:profile", (unsigned long long)number);
	return text;
}

void run_hash(uint64_t rounds, uint64_t keys)
{
	std::unordered_map<std::string, std::string> table;
	struct bench_rng rng = bench_rng_begin(1);

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t dice = bench_next(&rng);
		std::string key = key_of(bench_below(&rng, keys));

		if (dice % 4 == 0)
			table.erase(key);
		else
			table[key] = std::string(16 + dice / 7 % 240, 'v');
	}
	bench_keep(&table);
}

void run_map(uint64_t rounds, uint64_t keys)
{
	std::map<uint64_t, std::vector<uint32_t>> tree;
	struct bench_rng rng = bench_rng_begin(2);

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t dice = bench_next(&rng);
		auto &values = tree[bench_below(&rng, keys)];

		for (uint64_t k = 0; k < dice % 8; k++)
			values.push_back(static_cast<uint32_t>(k));
		if (values.size() > 64)
			std::vector<uint32_t>(values.begin(), values.begin() + 4).swap(values);
		if (dice % 16 == 0)
			tree.erase(bench_below(&rng, keys));
	}
	bench_keep(&tree);
}

void run_strings(uint64_t rounds)
{
	struct bench_rng rng = bench_rng_begin(3);
	size_t total = 0;

	for (uint64_t i = 0; i < rounds; i++) {
		std::string line;

		for (unsigned k = 0; k < 12; k++) {
			line += std::string(1 + bench_below(&rng, 60), static_cast<char>('a' + k));
			line += ' ';
		}
		std::vector<std::string> words;

		for (size_t at = 0, space; (space = line.find(' ', at)) != line.npos; at = space + 1)
			words.push_back(line.substr(at, space - at));
		std::string joined;

		for (const auto &word : words)
			joined = joined + word + "::";
		total += joined.size();
	}
	bench_keep(&total);
}

struct job {
	uint64_t number;
	std::string payload;
};

void run_lists(uint64_t rounds, uint64_t keys)
{
	std::list<std::shared_ptr<job>> stages[3];
	struct bench_rng rng = bench_rng_begin(4);

	for (uint64_t i = 0; i < rounds; i++) {
		auto made = std::make_shared<job>();

		made->number = i;
		made->payload.assign(bench_below(&rng, 200), 'p');
		stages[0].push_back(made);
		for (unsigned stage = 0; stage < 2; stage++) {
			if (stages[stage].size() > keys / 3) {
				stages[stage + 1].push_back(stages[stage].front());
				stages[stage].pop_front();
			}
		}
		if (stages[2].size() > keys / 3)
			stages[2].pop_front();
	}
	bench_keep(&stages);
}

} // namespace

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	unsigned mode = bench_arg_word(&args, "mode", "hash|map|strings|lists", 0);
	uint64_t rounds = bench_arg_u64(&args, "rounds", 1000000);
	uint64_t keys = bench_arg_u64(&args, "keys", 100000);

	bench_args_end(&args);

	struct bench_clock clock = bench_begin();

	if (mode == 0)
		run_hash(rounds, keys);
	else if (mode == 1)
		run_map(rounds, keys);
	else if (mode == 2)
		run_strings(rounds);
	else
		run_lists(rounds, keys);
	bench_end(&clock, static_cast<double>(rounds));
	return 0;
}
