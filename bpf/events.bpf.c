/* events.bpf.c - every event of a process: batches are shipped, or counted here and now.
 *
 * The library hands over some hundreds of records with each hit of the probe `events`
 * (lib/trace/event_record.h), so what one hit costs is shared by as many events. One program serves
 * all commands; constants that the CLI sets before loading say which of its halves exist:
 *
 *      ship, no filter    the smallest fixed size that holds the batch is reserved in the ring, and
 *                         the records are read from the process straight into it: one copy
 *      all else           the records are read into a scratch slot; a loop filters them, adds them
 *                         up, and moves together what is to be shipped
 *
 * EBE-1  Every record that a hit announced is in exactly one of: the ring or the counts,
 *        gyre_filtered, gyre_lost (no room in the ring), gyre_unread (the process's memory could
 *        not be read), gyre_crowded (no scratch slot was free).
 * EBE-2  A slot belongs to one run of the program at a time (`busy`), whoever preempts whom and
 *        whatever sleeps: so its counts are plain additions, and exact. The CLI adds the slots up.
 *        The tables of sites are larger, so there are fewer: who finds none free adds to the
 *        shared one, by atomic additions, which cost thrice as much.
 * EBE-3  What the records say is the process's to write: every index that is made from them is cut
 *        to its table.
 * EBE-4  What the loop changes lies in memory that the verifier does not follow (slot->kept), or
 *        it would walk each of its 512 rounds once for every value there.
 */
#include "common.bpf.h"

#include "../lib/trace/event_record.h"

const volatile bool gyre_ship = false, gyre_filter = false;
const volatile bool gyre_by_class = false, gyre_by_size = false, gyre_by_site = false;
const volatile bool gyre_by_lifetime = false, gyre_by_slot = false;
/* filters: records outside are left out; of a class, 0 is large blocks and the collector's */
const volatile __u64 gyre_bytes_min = 0, gyre_bytes_max = ~0ull;
const volatile __u32 gyre_operations = ~0u; /* bit n: operation n */
const volatile __u32 gyre_class = ~0u;      /* ~0: all */
const volatile __u32 gyre_thread = 0;       /* as the process numbers it; 0: all */

/* A tick is gyre_tick_ns / 2^20 ns; set when the process has told its rate (EVENT-3). */
__u64 gyre_tick_ns = 1 << 20;

__u64 gyre_batches = 0, gyre_records = 0; /* announced */
__u64 gyre_filtered = 0, gyre_unread = 0, gyre_crowded = 0;
__u64 gyre_births_lost = 0;  /* by lifetime: the map was full */
__u64 gyre_orphans = 0;      /* by lifetime: ends whose birth was not seen (yet) */
__u64 gyre_slots_lost = 0;   /* by slot: the map was full */
__u64 gyre_site_busy[GYRE_SITE_TABLES] = {};
__u64 gyre_sites_beyond = 0; /* by site: ids above the table; counted at site 0 */

struct gyre_scratch {
	__u64 busy; /* EBE-2 */
	__u64 kept; /* EBE-4 */
	__u64 sites, spare; /* by site: the first row of the table in use */
	struct gyre_cell classes[GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES];
	struct gyre_cell sizes[GYRE_CELL_OPERATIONS * GYRE_CELL_SIZES];
	struct gyre_cell lifetimes[GYRE_CELL_SIZES];
	/* these two are one record of the ring */
	struct gyre_batch head;
	struct gyre_record records[GYRE_BATCH_RECORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GYRE_SLOTS_PER_CPU);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct gyre_scratch);
} gyre_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* where sites are asked for: all tables */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct gyre_site);
} gyre_sites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct gyre_birth);
} gyre_births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct gyre_cell);
} gyre_barrier_slots SEC(".maps");

struct announced {
	__u64 records, first, dropped;
	__u32 count, thread, reason, target;
};

/* EBE-5  A function that is not static is verified once, by itself, and not again for each of its
 *        calls in each of the loop's rounds: so what branches much is one.
 * The index of a value's highest bit; 0 for 0. */
__noinline __u32 gyre_log2(__u64 value)
{
	__u32 result = 0;

	if (value >> 32)
		value >>= 32, result += 32;
	if (value >> 16)
		value >>= 16, result += 16;
	if (value >> 8)
		value >>= 8, result += 8;
	if (value >> 4)
		value >>= 4, result += 4;
	if (value >> 2)
		value >>= 2, result += 2;
	return result + (value >> 1 != 0);
}

static __always_inline void head_fill(struct gyre_batch *head, const struct announced *batch)
{
	char comm[GYRE_EVENT_COMM];

	head->kind = GYRE_EVENT_BATCH;
	head->target = batch->target;
	head->time_ns = bpf_ktime_get_ns();
	head->thread = batch->thread;
	head->count = head->recorded = batch->count;
	head->reason = batch->reason;
	head->first = batch->first;
	head->dropped = batch->dropped;
	gyre_who(&head->pid, &head->tid, comm);
}

/* ---------------------------------------------------------------- shipped as it is */

/* A function for each size would need the size as a constant to reserve: hence a macro. */
#define SHIP(batch, capacity)                                                                      \
	do {                                                                                       \
		struct {                                                                           \
			struct gyre_batch head;                                                    \
			struct gyre_record records[capacity];                                      \
		} *to = bpf_ringbuf_reserve(&gyre_ring, sizeof(*to), 0);                           \
		__u32 bytes = (batch)->count * (__u32)sizeof(struct gyre_record);                  \
                                                                                                   \
		if (!to) {                                                                         \
			__sync_fetch_and_add(&gyre_lost, (batch)->count);                          \
			return 0;                                                                  \
		}                                                                                  \
		if (bytes > sizeof(to->records))                                                   \
			bytes = sizeof(to->records);                                               \
		asm volatile("" ::"r"(bytes));                                                     \
		if (gyre_read_user(to->records, bytes, (const void *)(batch)->records)) {          \
			__sync_fetch_and_add(&gyre_unread, (batch)->count);                        \
			bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);                                 \
			return 0;                                                                  \
		}                                                                                  \
		head_fill(&to->head, batch);                                                       \
		bpf_ringbuf_submit(to, gyre_wake(sizeof(*to)));                                    \
		return 0;                                                                          \
	} while (0)

static __always_inline int ship(const struct announced *batch)
{
	if (batch->count <= 16)
		SHIP(batch, 16);
	if (batch->count <= 64)
		SHIP(batch, 64);
	if (batch->count <= 256)
		SHIP(batch, 256);
	if (batch->count <= 512)
		SHIP(batch, 512);
	SHIP(batch, GYRE_BATCH_RECORDS);
}

/* ---------------------------------------------------------------- one record */

static __always_inline bool is_wanted(const struct gyre_record *record, __u32 operation)
{
	__u64 bytes = GYRE_RECORD_BYTES(record->bytes);

	if (!(gyre_operations >> (operation & 31) & 1))
		return false;
	/* The collector's are of no class; a barrier hit has its slot's type there. */
	if (gyre_class != ~0u &&
	    (operation == GYRE_RECORD_BARRIER ? 0 : GYRE_RECORD_CLASS(record->where)) != gyre_class)
		return false;
	/* A birth says what was asked for, an end what the block had: lifetimes go by the birth. */
	if (gyre_by_lifetime && operation == GYRE_RECORD_FREE)
		return true;
	return bytes >= gyre_bytes_min && bytes <= gyre_bytes_max;
}

static __always_inline void cell_add(struct gyre_cell *cell, __u64 bytes)
{
	cell->count++;
	cell->bytes += bytes;
}

/* The index of the highest bit of a byte: a table is a load where arithmetic is a chain. */
const volatile __u8 gyre_byte_log2[256] = {
	[2 ... 3] = 1,	 [4 ... 7] = 2,	   [8 ... 15] = 3,    [16 ... 31] = 4,
	[32 ... 63] = 5, [64 ... 127] = 6, [128 ... 255] = 7,
};

/* The row of a record's bytes: the index of their highest bit. Pages are of 2^13 bytes. */
static __always_inline __u32 size_row(__u32 bytes)
{
	__u32 value = bytes & ~GYRE_RECORD_PAGES, row = (bytes >> 31) * 13;

	if (value >> 16)
		value >>= 16, row += 16;
	if (value >> 8)
		value >>= 8, row += 8;
	return row + gyre_byte_log2[value & 0xff];
}

static __always_inline void site_add(struct gyre_scratch *slot, const struct gyre_record *record,
				     __u32 operation)
{
	__u32 sites = *(volatile __u64 *)&slot->sites, id = record->stack;
	struct gyre_cell *cell;
	struct gyre_site *site;

	if (id >= GYRE_SITES) {
		__sync_fetch_and_add(&gyre_sites_beyond, 1);
		id = 0;
	}
	id += sites;
	site = bpf_map_lookup_elem(&gyre_sites, &id);
	if (!site)
		return;
	cell = &site->operations[(operation - 1) & 3];
	if (sites != GYRE_SITE_TABLES * GYRE_SITES) {
		cell_add(cell, GYRE_RECORD_BYTES(record->bytes));
		return;
	}
	__sync_fetch_and_add(&cell->count, 1);
	__sync_fetch_and_add(&cell->bytes, GYRE_RECORD_BYTES(record->bytes));
}

static __always_inline void sites_take(struct gyre_scratch *slot)
{
	__u32 first = bpf_get_smp_processor_id();

	slot->sites = GYRE_SITE_TABLES * GYRE_SITES;
#pragma unroll
	for (__u32 i = 0; i < GYRE_SITE_TABLES; i++) {
		__u32 table = (first + i) & (GYRE_SITE_TABLES - 1);

		if (!__sync_val_compare_and_swap(&gyre_site_busy[table], 0, 1)) {
			slot->sites = table * GYRE_SITES;
			return;
		}
	}
}

static __always_inline void sites_give(struct gyre_scratch *slot)
{
	__u64 table = slot->sites / GYRE_SITES;

	if (table < GYRE_SITE_TABLES)
		__sync_lock_test_and_set(&gyre_site_busy[table], 0);
}

/* What a birth and an end together say: the row of `lifetimes`, above it the birth's `bytes`. */
static __always_inline __u64 lived(__u64 ticks, __u32 bytes)
{
	/* Not to overflow: the multiplier has some twenty bits. */
	__u64 ns = ticks >> 40 ? (ticks >> 20) * gyre_tick_ns : ticks * gyre_tick_ns >> 20;

	return (__u64)bytes << 32 | (gyre_log2(ns) & (GYRE_CELL_SIZES - 1));
}

#define NOT_LIVED (1ull << 31)

/* Batches of two threads come in any order, so an end may be told before its birth. */
__noinline __u64 gyre_birth_take(__u64 address, __u64 ticks, __u32 bytes)
{
	struct gyre_birth birth = {.ticks = ticks, .bytes = bytes};
	struct gyre_birth *old = bpf_map_lookup_elem(&gyre_births, &address);

	if (old && old->ended && old->ticks >= ticks) {
		__u64 result = lived(old->ticks - ticks, bytes);

		__sync_fetch_and_add(&gyre_orphans, -1);
		bpf_map_delete_elem(&gyre_births, &address);
		return result;
	}
	if (bpf_map_update_elem(&gyre_births, &address, &birth, BPF_ANY))
		__sync_fetch_and_add(&gyre_births_lost, 1);
	return NOT_LIVED;
}

__noinline __u64 gyre_end_take(__u64 address, __u64 ticks)
{
	struct gyre_birth ended = {.ticks = ticks, .ended = 1};
	struct gyre_birth *old = bpf_map_lookup_elem(&gyre_births, &address);

	if (old && !old->ended && old->ticks <= ticks) {
		__u64 result = lived(ticks - old->ticks, old->bytes);

		bpf_map_delete_elem(&gyre_births, &address);
		return result;
	}
	/* With a filter of size it may well be of a birth that was left out. */
	if (gyre_bytes_min || gyre_bytes_max != ~0ull)
		return NOT_LIVED;
	__sync_fetch_and_add(&gyre_orphans, 1);
	if (!old || old->ended)
		bpf_map_update_elem(&gyre_births, &address, &ended, BPF_ANY);
	return NOT_LIVED;
}

static __always_inline void lifetime_add(struct gyre_scratch *slot,
					 const struct gyre_record *record, __u32 operation)
{
	__u64 address = GYRE_RECORD_ADDRESS(record->where), result;

	if (operation == GYRE_RECORD_MALLOC)
		result = gyre_birth_take(address, record->ticks, record->bytes);
	else
		result = gyre_end_take(address, record->ticks);
	if (!(result & NOT_LIVED))
		cell_add(&slot->lifetimes[result & (GYRE_CELL_SIZES - 1)],
			 GYRE_RECORD_BYTES((__u32)(result >> 32)));
}

static __always_inline void slot_add(const struct gyre_record *record)
{
	__u64 address = GYRE_RECORD_ADDRESS(record->where);
	struct gyre_cell *cell = bpf_map_lookup_elem(&gyre_barrier_slots, &address);
	struct gyre_cell none = {};

	if (!cell) {
		bpf_map_update_elem(&gyre_barrier_slots, &address, &none, BPF_NOEXIST);
		cell = bpf_map_lookup_elem(&gyre_barrier_slots, &address);
	}
	if (!cell) {
		__sync_fetch_and_add(&gyre_slots_lost, 1);
		return;
	}
	__sync_fetch_and_add(&cell->count, 1);
	__sync_fetch_and_add(&cell->bytes, GYRE_RECORD_BYTES(record->bytes));
}

static __always_inline void count(struct gyre_scratch *slot, const struct gyre_record *record,
				  __u32 operation)
{
	__u64 bytes = GYRE_RECORD_BYTES(record->bytes);
	__u32 row = operation & (GYRE_CELL_OPERATIONS - 1);

	if (gyre_by_class)
		cell_add(&slot->classes[row * GYRE_CELL_CLASSES | GYRE_RECORD_CLASS(record->where)],
			 bytes);
	if (gyre_by_size)
		cell_add(&slot->sizes[row * GYRE_CELL_SIZES |
				      (size_row(record->bytes) & (GYRE_CELL_SIZES - 1))],
			 bytes);
	if (gyre_by_site)
		site_add(slot, record, operation);
	if (gyre_by_slot && operation == GYRE_RECORD_BARRIER)
		slot_add(record);
	if (gyre_by_lifetime &&
	    (operation == GYRE_RECORD_MALLOC || operation == GYRE_RECORD_FREE))
		lifetime_add(slot, record, operation);
}

/* ---------------------------------------------------------------- a batch, record by record */

static __always_inline struct gyre_scratch *slot_take(void)
{
	__u32 first = bpf_get_smp_processor_id() * GYRE_SLOTS_PER_CPU;

#pragma unroll
	for (__u32 i = 0; i < GYRE_SLOTS_PER_CPU; i++) {
		__u32 key = first + i;
		struct gyre_scratch *slot = bpf_map_lookup_elem(&gyre_scratch, &key);

		if (slot && !__sync_val_compare_and_swap(&slot->busy, 0, 1))
			return slot;
	}
	return NULL;
}

/* EBE-6  What is asked for most often has loops of its own. A constant that the CLI set is read
 * again wherever it is named, and where it stands in the general loop that was half of its cost. */
static __always_inline void walk_classes(struct gyre_scratch *slot, __u32 records)
{
	const struct gyre_record *record = slot->records;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < GYRE_BATCH_RECORDS; i++, record++) {
		if (i >= records)
			break;
		/* operation and class are neighbours in `where` */
		cell_add(&slot->classes[record->where >> 48 &
					(GYRE_CELL_OPERATIONS * GYRE_CELL_CLASSES - 1)],
			 GYRE_RECORD_BYTES(record->bytes));
	}
}

static __always_inline void walk_sizes(struct gyre_scratch *slot, __u32 records)
{
	const struct gyre_record *record = slot->records;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < GYRE_BATCH_RECORDS; i++, record++) {
		__u32 bytes, row;

		if (i >= records)
			break;
		bytes = record->bytes;
		row = record->where >> 56 & (GYRE_CELL_OPERATIONS - 1);
		cell_add(&slot->sizes[row * GYRE_CELL_SIZES |
				      (size_row(bytes) & (GYRE_CELL_SIZES - 1))],
			 GYRE_RECORD_BYTES(bytes));
	}
}

static __always_inline void walk_any(struct gyre_scratch *slot, __u32 records)
{
	slot->kept = 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < GYRE_BATCH_RECORDS; i++) {
		const struct gyre_record *record;
		__u32 operation;

		if (i >= records)
			break;
		record = &slot->records[i];
		operation = GYRE_RECORD_OPERATION(record->where);
		if (gyre_filter && !is_wanted(record, operation))
			continue;
		count(slot, record, operation);
		if (gyre_filter) {
			__u64 kept = *(volatile __u64 *)&slot->kept;

			if (gyre_ship)
				slot->records[kept & (GYRE_BATCH_RECORDS - 1)] = *record;
			*(volatile __u64 *)&slot->kept = kept + 1;
		}
	}
}

static __always_inline void walk(struct gyre_scratch *slot, __u32 records)
{
	bool others = gyre_filter || gyre_by_site || gyre_by_lifetime || gyre_by_slot;

	if (!others && gyre_by_class && !gyre_by_size)
		walk_classes(slot, records);
	else if (!others && gyre_by_size && !gyre_by_class)
		walk_sizes(slot, records);
	else
		walk_any(slot, records);
	if (!gyre_filter)
		slot->kept = records;
}

static __always_inline void rest_ship(struct gyre_scratch *slot, const struct announced *batch)
{
	__u64 kept = *(volatile __u64 *)&slot->kept, bytes;

	if (!kept || kept > GYRE_BATCH_RECORDS)
		return;
	head_fill(&slot->head, batch);
	slot->head.count = (__u32)kept;
	bytes = sizeof(slot->head) + kept * sizeof(struct gyre_record);
	if (bpf_ringbuf_output(&gyre_ring, &slot->head, bytes, gyre_wake(bytes)))
		__sync_fetch_and_add(&gyre_lost, kept);
}

static __always_inline int scratch_run(const struct announced *batch)
{
	struct gyre_scratch *slot = slot_take();
	__u32 bytes = batch->count * (__u32)sizeof(struct gyre_record);

	if (!slot) {
		__sync_fetch_and_add(&gyre_crowded, batch->count);
		return 0;
	}
	if (bytes > sizeof(slot->records))
		bytes = sizeof(slot->records);
	asm volatile("" ::"r"(bytes));
	if (gyre_read_user(slot->records, bytes, (const void *)batch->records)) {
		__sync_fetch_and_add(&gyre_unread, batch->count);
	} else {
		if (gyre_by_site)
			sites_take(slot);
		walk(slot, batch->count);
		if (gyre_by_site)
			sites_give(slot);
		if (gyre_filter)
			__sync_fetch_and_add(&gyre_filtered, batch->count - slot->kept);
		if (gyre_ship)
			rest_ship(slot, batch);
	}
	__sync_lock_test_and_set(&slot->busy, 0);
	return 0;
}

SEC("uprobe")
int gyre_events(struct pt_regs *ctx)
{
	const struct gyre_place *place = gyre_place(ctx);
	__u64 arguments[GYRE_EVENT_ARGUMENTS];
	struct announced batch;

	if (!place)
		return 0;
	gyre_arguments(ctx, place, arguments);
	batch = (struct announced){
		.records = arguments[0],
		.count = (__u32)arguments[1],
		.first = arguments[2],
		.thread = (__u32)arguments[3],
		.dropped = arguments[4],
		.reason = (__u32)arguments[5],
		.target = (__u32)place->cookie,
	};
	if (!batch.count || batch.count > GYRE_BATCH_RECORDS)
		return 0;
	__sync_fetch_and_add(&gyre_batches, 1);
	__sync_fetch_and_add(&gyre_records, batch.count);
	if (gyre_thread && batch.thread != gyre_thread) {
		__sync_fetch_and_add(&gyre_filtered, batch.count);
		return 0;
	}
	if (gyre_ship && !gyre_filter && !gyre_by_class && !gyre_by_size && !gyre_by_site &&
	    !gyre_by_lifetime && !gyre_by_slot)
		return ship(&batch);
	return scratch_run(&batch);
}

/* The switches: their semaphores are what counts, they never fire. */
SEC("uprobe")
int gyre_switch(struct pt_regs *ctx)
{
	return 0;
}
