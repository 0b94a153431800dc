/* programs - small programs with the habits of well known ones.
 *
 *	programs [mode=trees|grow|buffers|bignum|cover|groups] [rounds=N] [depth=16] [max=64K] [texts=1]
 *
 * trees    binary trees built and taken down node by node (Boehm's GCBench, the Benchmarks Game);
 *          every node is one block of 32 bytes; some trees are short-lived, one stays.
 * grow     `texts` strings that grow side by side by small appends, each up to `max` bytes and then
 *          freed, by realloc in steps of half the size: what string builders do. 64K asks for the classes,
 *          64M for mremap. With one string and nothing else allocated, whoever keeps a top
 *          chunk extends it in place for ever, which programs do not see; hence several.
 * buffers  appends of 1..64 bytes with an exact realloc each time, as careless code does; most of
 *          them fit in the block that is there.
 * bignum   cfrac's habit: arithmetic on numbers of a few digits, each result a block of its own of
 *          16 to 48 bytes that dies within a few operations.
 * cover    espresso's habit: lists of bit sets, the lists copied, split, merged and dropped as a stack.
 * groups   sh6bench's habit: groups of one size, sizes skewed to the small, freed partly in the order of
 *          allocation, partly in reverse, groups overlapping.
 *
 * All are single-threaded, deterministic and do some work of their own between the calls. One
 * operation is one block allocated, except in grow and buffers, where it is one append.
 */
#include "bench.h"

static double operations;

static void *take(size_t size)
{
	void *block = malloc(size);

	if (!block)
		bench_die("malloc");
	operations++;
	return block;
}

/* ---- trees ---- */

struct node {
	struct node *left;
	struct node *right;
	uint64_t value[2];
};

static struct node *tree(unsigned depth)
{
	struct node *node = take(sizeof(*node));

	node->value[0] = depth;
	node->left = depth ? tree(depth - 1) : NULL;
	node->right = depth ? tree(depth - 1) : NULL;
	return node;
}

static uint64_t fell(struct node *node)
{
	uint64_t sum = node->value[0];

	if (node->left)
		sum += fell(node->left) + fell(node->right);
	free(node);
	return sum;
}

static void run_trees(uint64_t rounds, unsigned depth)
{
	struct node *lasting = tree(depth);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < rounds; i++) {
		for (unsigned small = 4; small <= depth; small += 4) {
			for (uint64_t k = 0; k < 1ull << (depth - small); k++)
				sum += fell(tree(small));
		}
	}
	sum += fell(lasting);
	bench_keep(&sum);
}

/* ---- grow, buffers ---- */

struct text {
	char *bytes;
	size_t length;
	size_t room;
};

static void append(struct text *text, size_t more)
{
	if (text->length + more > text->room) {
		text->room = (text->length + more) * 3 / 2;
		text->bytes = realloc(text->bytes, text->room);
		if (!text->bytes)
			bench_die("realloc");
	}
	memset(text->bytes + text->length, 'x', more);
	text->length += more;
	operations++;
}

static void run_grow(uint64_t rounds, size_t max, size_t texts)
{
	struct bench_rng rng = bench_rng_begin(5);
	struct text text[64] = { { 0 } };

	for (uint64_t done = 0; done < rounds;) {
		struct text *one = &text[bench_below(&rng, texts)];

		append(one, 1 + bench_below(&rng, 32 + one->length / 16));
		if (one->length >= max) {
			free(one->bytes);
			*one = (struct text){ 0 };
			done++;
		}
	}
	for (size_t i = 0; i < texts; i++)
		free(text[i].bytes);
}

static void run_buffers(uint64_t rounds, size_t max)
{
	struct bench_rng rng = bench_rng_begin(6);
	char *text[16] = { NULL };
	size_t length[16] = { 0 };

	for (uint64_t i = 0; i < rounds; i++) {
		size_t at = bench_below(&rng, 16), more = 1 + bench_below(&rng, 64);

		if (length[at] + more > max) {
			free(text[at]);
			text[at] = NULL;
			length[at] = 0;
		}
		text[at] = realloc(text[at], length[at] + more);
		if (!text[at])
			bench_die("realloc");
		memset(text[at] + length[at], 'y', more);
		length[at] += more;
		operations++;
	}
	for (size_t i = 0; i < 16; i++)
		free(text[i]);
}

/* ---- bignum ---- */

struct number {
	uint32_t digits;
	uint32_t digit[];
};

static struct number *number(uint32_t digits)
{
	struct number *made = take(sizeof(*made) + digits * sizeof(made->digit[0]));

	made->digits = digits;
	return made;
}

static struct number *number_of(uint64_t value)
{
	struct number *made = number(value >> 32 ? 2 : 1);

	made->digit[0] = (uint32_t)value;
	if (value >> 32)
		made->digit[1] = (uint32_t)(value >> 32);
	return made;
}

static struct number *multiply_add(const struct number *a, uint32_t factor, uint32_t addend)
{
	struct number *made = number(a->digits + 1);
	uint64_t carry = addend;

	for (uint32_t i = 0; i < a->digits; i++) {
		carry += (uint64_t)a->digit[i] * factor;
		made->digit[i] = (uint32_t)carry;
		carry >>= 32;
	}
	made->digit[a->digits] = (uint32_t)carry;
	if (carry == 0)
		made->digits--;
	return made;
}

static struct number *divide(const struct number *a, uint32_t divisor, uint32_t *rest)
{
	struct number *made = number(a->digits);
	uint64_t remainder = 0;

	for (uint32_t i = a->digits; i-- > 0;) {
		remainder = remainder << 32 | a->digit[i];
		made->digit[i] = (uint32_t)(remainder / divisor);
		remainder %= divisor;
	}
	while (made->digits > 1 && made->digit[made->digits - 1] == 0)
		made->digits--;
	*rest = (uint32_t)remainder;
	return made;
}

/* Residues of growing numbers: a chain in which every step makes three numbers and drops three. */
static void run_bignum(uint64_t rounds)
{
	struct bench_rng rng = bench_rng_begin(11);
	struct number *kept[64];
	uint32_t rest, sum = 0;

	for (size_t i = 0; i < 64; i++)
		kept[i] = number_of(bench_next(&rng));
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t dice = bench_next(&rng);
		struct number **at = &kept[dice % 64];
		struct number *product = multiply_add(*at, (uint32_t)dice | 1, (uint32_t)i);
		struct number *quotient = divide(product, (uint32_t)(dice >> 32) | 3, &rest);
		struct number *next = product->digits > 8 ? number_of(dice) :
							    multiply_add(quotient, rest | 1, 1);

		sum += rest;
		free(product);
		free(quotient);
		free(*at);
		*at = next;
	}
	for (size_t i = 0; i < 64; i++)
		free(kept[i]);
	bench_keep(&sum);
}

/* ---- cover ---- */

struct cover {
	size_t count;
	size_t room;
	uint32_t **cube;
};

static uint32_t *cube(struct bench_rng *rng, size_t words)
{
	uint32_t *made = take(words * sizeof(*made));

	for (size_t i = 0; i < words; i++)
		made[i] = (uint32_t)bench_next(rng);
	return made;
}

static void cover_add(struct cover *cover, uint32_t *one)
{
	if (cover->count == cover->room) {
		cover->room = cover->room ? cover->room * 2 : 8;
		cover->cube = realloc(cover->cube, cover->room * sizeof(*cover->cube));
		if (!cover->cube)
			bench_die("realloc");
	}
	cover->cube[cover->count++] = one;
}

static void cover_drop(struct cover *cover)
{
	for (size_t i = 0; i < cover->count; i++)
		free(cover->cube[i]);
	free(cover->cube);
	*cover = (struct cover){ 0 };
}

/* Splits by one bit into two new covers of copied cubes, recursively, and merges what comes back. */
static struct cover simplify(const struct cover *from, struct bench_rng *rng, size_t words,
			     unsigned depth)
{
	struct cover half[2] = { { 0 }, { 0 } }, merged = { 0 };

	for (size_t i = 0; i < from->count; i++) {
		uint32_t *copy = take(words * sizeof(*copy));

		memcpy(copy, from->cube[i], words * sizeof(*copy));
		cover_add(&half[(copy[depth % words] >> (depth % 32)) & 1], copy);
	}
	for (unsigned side = 0; side < 2; side++) {
		if (depth > 0 && half[side].count > 2) {
			struct cover smaller = simplify(&half[side], rng, words, depth - 1);

			cover_drop(&half[side]);
			half[side] = smaller;
		}
		for (size_t i = 0; i < half[side].count; i++) {
			uint32_t *one = take(words * sizeof(*one));

			for (size_t k = 0; k < words; k++)
				one[k] = half[side].cube[i][k] | 1u << side;
			if (one[0] % 8 == 0)
				free(one);
			else
				cover_add(&merged, one);
		}
		cover_drop(&half[side]);
	}
	return merged;
}

static void run_cover(uint64_t rounds)
{
	struct bench_rng rng = bench_rng_begin(13);

	for (uint64_t i = 0; i < rounds; i++) {
		size_t words = 2 + bench_below(&rng, 30);
		struct cover cover = { 0 }, result;

		for (size_t k = 0; k < 400; k++)
			cover_add(&cover, cube(&rng, words));
		result = simplify(&cover, &rng, words, 8);
		cover_drop(&cover);
		cover_drop(&result);
	}
}

/* ---- groups ---- */

static void run_groups(uint64_t rounds)
{
	enum { GROUPS = 32, BLOCKS = 400 };
	void **group = bench_map(GROUPS * BLOCKS * sizeof(*group));
	struct bench_rng rng = bench_rng_begin(17);

	for (uint64_t i = 0; i < rounds; i++) {
		void **at = group + (i % GROUPS) * BLOCKS;
		double skew = (double)(bench_next(&rng) >> 11) * 0x1p-53;
		size_t size = 8 + (size_t)(992.0 * skew * skew * skew);

		/* The group of GROUPS rounds ago: two thirds in order, the rest from its end. */
		if (at[0]) {
			for (size_t k = 0; k < BLOCKS; k += 3) {
				free(at[k]);
				if (k + 1 < BLOCKS)
					free(at[k + 1]);
			}
			for (size_t k = BLOCKS; k-- > 0;) {
				if (k % 3 == 2)
					free(at[k]);
			}
		}
		for (size_t k = 0; k < BLOCKS; k++) {
			at[k] = take(size);
			*(size_t *)at[k] = k;
		}
	}
	for (size_t k = 0; k < GROUPS * BLOCKS; k++)
		free(group[k]);
}

int main(int argc, char **argv)
{
	enum { TREES, GROW, BUFFERS, BIGNUM, COVER, GROUPS_MODE };
	struct bench_args args = bench_args_begin(argc, argv);
	unsigned mode = bench_arg_word(&args, "mode", "trees|grow|buffers|bignum|cover|groups", 0);
	uint64_t rounds = bench_arg_u64(&args, "rounds", 4);
	unsigned depth = (unsigned)bench_arg_u64(&args, "depth", 16);
	size_t max = bench_arg_u64(&args, "max", 64 << 10);
	size_t texts = bench_arg_u64(&args, "texts", 1);
	struct bench_clock clock;

	bench_args_end(&args);
	if (texts < 1 || texts > 64)
		texts = 64;
	clock = bench_begin();
	switch (mode) {
	case TREES:
		run_trees(rounds, depth);
		break;
	case GROW:
		run_grow(rounds, max, texts);
		break;
	case BUFFERS:
		run_buffers(rounds, max);
		break;
	case BIGNUM:
		run_bignum(rounds);
		break;
	case COVER:
		run_cover(rounds);
		break;
	default:
		run_groups(rounds);
		break;
	}
	bench_end(&clock, operations);
	return 0;
}
