/* own_memory.c - see own_memory.h. An array, searched from end to end: mappings are made seldom. */
#include "os/own_memory.h"

#include "os/lock.h"
#include "os/sys.h"

#include <string.h>
#include <sys/mman.h>

#define RANGES_FIRST 256u

static struct gy_own_range first_ranges[RANGES_FIRST];

static struct {
	struct gy_lock lock;
	struct gy_own_range *ranges; /* [lock] */
	size_t count, capacity;
} own = {.lock = GY_LOCK_INIT(GY_RANK_own_memory), first_ranges, 0, RANGES_FIRST};

/* [lock] Straight from the kernel: gy_vm_map would come back here. */
static void grow(void)
{
	size_t bytes = 2 * own.capacity * sizeof(*own.ranges);
	void *larger = NULL;

	if (gy_sys_mmap(&larger, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1))
		return;
	memcpy(larger, own.ranges, own.count * sizeof(*own.ranges));
	if (own.ranges != first_ranges)
		gy_sys_munmap(own.ranges, own.capacity * sizeof(*own.ranges));
	own.ranges = larger;
	own.capacity *= 2;
	own.ranges[own.count++] = (struct gy_own_range){(uintptr_t)larger,
							(uintptr_t)larger + bytes};
}

/* [lock] */
static void append(uintptr_t start, uintptr_t end)
{
	if (start == end)
		return;
	if (own.count + 1 >= own.capacity)
		grow();
	if (own.count < own.capacity)
		own.ranges[own.count++] = (struct gy_own_range){start, end}; /* else OWN-2 */
}

void gy_own_memory_add(const void *start, size_t bytes)
{
	uintptr_t from = (uintptr_t)start, to = from + bytes;

	gy_lock_acquire(&own.lock);
	for (size_t i = 0; i < own.count; i++) {
		if (own.ranges[i].start != to && own.ranges[i].end != from)
			continue;
		from = MIN(from, own.ranges[i].start);
		to = MAX(to, own.ranges[i].end);
		own.ranges[i--] = own.ranges[--own.count];
	}
	append(from, to);
	gy_lock_release(&own.lock);
}

void gy_own_memory_remove(const void *start, size_t bytes)
{
	uintptr_t from = (uintptr_t)start, to = from + bytes;

	gy_lock_acquire(&own.lock);
	for (size_t i = 0; i < own.count; i++) {
		struct gy_own_range range = own.ranges[i];

		if (range.start > from || range.end < to)
			continue;
		own.ranges[i] = own.ranges[--own.count];
		append(range.start, from);
		append(to, range.end);
		break;
	}
	gy_lock_release(&own.lock);
}

size_t gy_own_memory_copy(struct gy_own_range *ranges, size_t capacity)
{
	size_t count;

	gy_lock_acquire(&own.lock);
	count = own.count;
	memcpy(ranges, own.ranges, MIN(count, capacity) * sizeof(*ranges));
	gy_lock_release(&own.lock);
	/* This table: it names addresses, too. */
	if (count < capacity)
		ranges[count] = (struct gy_own_range){(uintptr_t)first_ranges,
						      (uintptr_t)(first_ranges + RANGES_FIRST)};
	return count + 1;
}

void gy_own_memory_fork_prepare(void)
{
	gy_lock_acquire(&own.lock);
}

void gy_own_memory_fork_parent(void)
{
	gy_lock_release(&own.lock);
}

void gy_own_memory_fork_child(void)
{
	gy_lock_release(&own.lock);
	gy_lock_init(&own.lock, GY_RANK_own_memory);
}
