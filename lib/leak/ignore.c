/* ignore.c - blocks that the program has said it means to lose (gyre_leak_ignore).
 *
 * A set of addresses, open addressing, in own memory, so that it is no root (LROOT-1). A scan takes
 * each as a root: the block and all that it leads to count as held.
 *
 * IGNORE-1  The set is never full: it doubles at one half. A removed address leaves a stone, which
 *           the next doubling drops.
 */
#include "leak/leak.h"
#include "leak/scan.h"

#include "os/lock.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

#define SLOTS_FIRST ((size_t)512)
#define STONE ((uintptr_t)1)

static struct {
	struct gy_lock lock;
	uintptr_t *slots;     /* [lock] 0: free */
	size_t capacity, used; /* [lock] used: stones included */
} set = {.lock = GY_LOCK_INIT(GY_RANK_leak_ignore)};

/* [lock] Where the address is, or would be put. */
static size_t slot_of(const uintptr_t *slots, size_t capacity, uintptr_t address)
{
	size_t at = (address >> 3) * 0x9e3779b97f4a7c15u & (capacity - 1);

	while (slots[at] && slots[at] != address)
		at = (at + 1) & (capacity - 1);
	return at;
}

/* [lock] */
static bool grow(void)
{
	size_t capacity = set.capacity ? set.capacity * 2 : SLOTS_FIRST, used = 0;
	uintptr_t *slots;
	void *mapped;

	if (gy_vm_map(&mapped, capacity * sizeof(*slots)))
		return false;
	slots = mapped;
	for (size_t i = 0; i < set.capacity; i++)
		if (set.slots[i] > STONE) {
			slots[slot_of(slots, capacity, set.slots[i])] = set.slots[i];
			used++;
		}
	if (set.slots)
		gy_vm_unmap(set.slots, set.capacity * sizeof(*slots));
	set.slots = slots;
	set.capacity = capacity;
	set.used = used;
	return true;
}

int gy_leak_ignore(uintptr_t address)
{
	size_t at;
	int error = 0;

	gy_lock_acquire(&set.lock);
	if (2 * (set.used + 1) > set.capacity && !grow()) {
		error = -ENOMEM;
	} else {
		at = slot_of(set.slots, set.capacity, address);
		set.used += !set.slots[at];
		set.slots[at] = address;
	}
	gy_lock_release(&set.lock);
	return error;
}

int gy_leak_unignore(uintptr_t address)
{
	int error = -ENOENT;
	size_t at;

	gy_lock_acquire(&set.lock);
	if (set.capacity) {
		at = slot_of(set.slots, set.capacity, address);
		if (set.slots[at]) {
			set.slots[at] = STONE;
			error = 0;
		}
	}
	gy_lock_release(&set.lock);
	return error;
}

size_t gy_leak_ignored(struct gy_leak_scan *scan)
{
	size_t count = 0, chunk = 64;
	uintptr_t words[64];

	scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_IGNORED};
	for (size_t at = 0; chunk == ARRAY_SIZE(words); at += chunk) {
		gy_lock_acquire(&set.lock);
		chunk = at < set.capacity ? MIN(set.capacity - at, ARRAY_SIZE(words)) : 0;
		if (chunk)
			memcpy(words, set.slots + at, chunk * sizeof(*words));
		gy_lock_release(&set.lock);
		for (size_t i = 0; i < chunk; i++)
			count += words[i] > STONE;
		if (chunk)
			scan->words(scan, words, chunk, 0);
	}
	return count;
}

void gy_leak_ignore_fork_prepare(void)
{
	gy_lock_acquire(&set.lock);
}

void gy_leak_ignore_fork_parent(void)
{
	gy_lock_release(&set.lock);
}

void gy_leak_ignore_fork_child(void)
{
	gy_lock_release(&set.lock);
	gy_lock_init(&set.lock, GY_RANK_leak_ignore);
}
