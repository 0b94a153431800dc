/* leak_base.c - an earlier scan's file, for `since` (leak_findings.h).
 *
 * A file is somebody's: what is missing or of another type counts as nothing, and nothing in it is
 * printed.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "leak_findings.h"
#include "output.h"

struct gy_leak_base {
	json_t *document;
	uint64_t *blocks; /* sorted */
	size_t block_count;
};

static int address_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static bool blocks_take(struct gy_leak_base *base)
{
	const json_t *blocks = json_object_get(base->document, "blocks");
	size_t count = json_array_size(blocks);

	base->blocks = calloc(count + 1, sizeof(*base->blocks));
	for (size_t i = 0; base->blocks && i < count; i++)
		base->blocks[base->block_count++] =
			strtoull(text(json_array_get(blocks, i), "address"), NULL, 16);
	if (base->blocks)
		qsort(base->blocks, base->block_count, sizeof(*base->blocks), address_order);
	return base->blocks;
}

struct gy_leak_base *gy_leak_base_read(const char *path)
{
	struct gy_leak_base *base = calloc(1, sizeof(*base));
	json_error_t problem;

	if (base)
		base->document = json_load_file(path, 0, &problem);
	if (base && base->document && json_object_get(base->document, "lost_blocks") &&
	    blocks_take(base))
		return base;
	if (!base || (base->document && json_object_get(base->document, "lost_blocks")))
		gy_out_error("no memory for '%s'", path);
	else if (base->document)
		gy_out_error("'%s' is no scan that 'save' has written", path);
	else
		gy_out_error("cannot read '%s': %s", path, problem.text);
	gy_leak_base_free(base);
	return NULL;
}

void gy_leak_base_free(struct gy_leak_base *base)
{
	if (!base)
		return;
	json_decref(base->document);
	free(base->blocks);
	free(base);
}

bool gy_leak_base_is_run(const struct gy_leak_base *base, int pid, uint64_t start_ns)
{
	return number(base->document, "pid") == (uint64_t)pid &&
	       number(base->document, "start_ns") == start_ns;
}

uint64_t gy_leak_base_lost(const struct gy_leak_base *base, uint64_t *bytes)
{
	*bytes = number(base->document, "lost_bytes");
	return number(base->document, "lost_blocks");
}

uint64_t gy_leak_base_stack(const struct gy_leak_base *base, bool run, uint64_t hash,
			    const char *names, uint64_t *bytes)
{
	const json_t *stacks = json_object_get(base->document, "stacks"), *stack;
	uint64_t samples = 0;
	char mine[32];
	size_t i;

	snprintf(mine, sizeof(mine), "%016" PRIx64, hash);
	*bytes = 0;
	json_array_foreach(stacks, i, stack)
	{
		if (run ? strcmp(text(stack, "hash"), mine) : strcmp(text(stack, "names"), names))
			continue;
		samples += number(stack, "lost_samples");
		*bytes += number(stack, "estimated_bytes");
	}
	return samples;
}

bool gy_leak_base_block(const struct gy_leak_base *base, uint64_t address)
{
	return bsearch(&address, base->blocks, base->block_count, sizeof(*base->blocks),
		       address_order);
}

json_int_t gy_leak_base_time_ns(const struct gy_leak_base *base)
{
	return json_integer_value(json_object_get(base->document, "time_ns"));
}
