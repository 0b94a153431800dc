/* leak_every.c - see leak_every.h. */
#include "leak_every.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event_session.h"
#include "event_words.h"
#include "output.h"
#include "stack_names.h"

#define EVERY_BLOCKS (1u << 20)
#define SLOTS (EVERY_BLOCKS * 2)

struct slot {
	uint64_t address; /* 0: free */
	uint64_t ticks;	  /* of the birth; ended: of the death that waits */
	uint32_t bytes, stack;
	bool ended;
};

struct site {
	uint32_t stack;
	uint64_t born, kept, kept_bytes;	 /* kept: of all that were born */
	uint64_t old_born, old_kept, old_bytes; /* of those born in the first half */
};

struct gy_leak_every {
	struct gy_target *target;
	struct gy_event_session *session;
	struct gy_stack_names *names;
	bool wanted[GYRE_CELL_CLASSES]; /* by class number of records */
	struct slot *slots;
	size_t used;
	uint64_t crowded;
	struct site *sites; /* by stack id; the last one for those beyond */
	uint64_t duration_ns, middle_ns;
	size_t site_count; /* after the run: sorted, so many */
	uint64_t lost;
};

/* ---------------------------------------------------------------- blocks */

static size_t slot_of(const struct gy_leak_every *every, uint64_t address)
{
	size_t at = (size_t)((address >> 3) * 0x9e3779b97f4a7c15ull >> 40) & (SLOTS - 1);

	while (every->slots[at].address && every->slots[at].address != address)
		at = (at + 1) & (SLOTS - 1);
	return at;
}

/* Linear probing without tombstones: what follows moves up. */
static void slot_remove(struct gy_leak_every *every, size_t at)
{
	size_t next = at;

	every->used--;
	for (;;) {
		size_t home;

		every->slots[at].address = 0;
		do {
			next = (next + 1) & (SLOTS - 1);
			if (!every->slots[next].address)
				return;
			home = (size_t)((every->slots[next].address >> 3) * 0x9e3779b97f4a7c15ull >>
					40) &
			       (SLOTS - 1);
		} while (at <= next ? at < home && home <= next : at < home || home <= next);
		every->slots[at] = every->slots[next];
		at = next;
	}
}

static struct site *site_of(struct gy_leak_every *every, uint32_t stack)
{
	return &every->sites[stack < GYRE_SITES ? stack : GYRE_SITES];
}

static bool is_old(const struct gy_leak_every *every, const struct gyre_record *record)
{
	return gy_event_ns(every->session, 0, record->ticks) < every->middle_ns;
}

static void born(struct gy_leak_every *every, const struct gyre_record *record)
{
	uint64_t address = GYRE_RECORD_ADDRESS(record->where);
	struct site *site = site_of(every, record->stack);
	size_t at = slot_of(every, address);
	struct slot *slot = &every->slots[at];

	site->born++;
	site->old_born += is_old(every, record);
	if (slot->address && slot->ended && slot->ticks >= record->ticks) {
		slot_remove(every, at); /* EVERY-1 */
		return;
	}
	if (!slot->address && every->used == EVERY_BLOCKS) {
		every->crowded++;
		return;
	}
	every->used += !slot->address;
	*slot = (struct slot){address, record->ticks,
			      (uint32_t)GYRE_RECORD_BYTES(record->bytes), record->stack, false};
}

static void died(struct gy_leak_every *every, const struct gyre_record *record)
{
	uint64_t address = GYRE_RECORD_ADDRESS(record->where);
	size_t at = slot_of(every, address);
	struct slot *slot = &every->slots[at];

	if (slot->address && !slot->ended) {
		if (slot->ticks <= record->ticks)
			slot_remove(every, at);
		return; /* else of an earlier birth there */
	}
	/* Most of these were born before we looked: kept in case, and passed over at the end. */
	if (!slot->address && every->used < EVERY_BLOCKS / 2) {
		*slot = (struct slot){address, record->ticks, 0, 0, true};
		every->used++;
	}
}

static int on_batch(void *context, const struct gyre_batch *batch,
		    const struct gyre_record *records)
{
	struct gy_leak_every *every = context;

	for (uint32_t i = 0; i < batch->count; i++) {
		uint32_t operation = GYRE_RECORD_OPERATION(records[i].where);

		if (!every->wanted[GYRE_RECORD_CLASS(records[i].where)])
			continue;
		if (operation == GYRE_RECORD_MALLOC)
			born(every, &records[i]);
		else if (operation == GYRE_RECORD_FREE)
			died(every, &records[i]);
	}
	return 0;
}

static int on_begin(void *context)
{
	struct gy_leak_every *every = context;

	every->middle_ns = gy_event_start_ns(every->session) + every->duration_ns / 2;
	return 0;
}

/* ---------------------------------------------------------------- the run */

static int site_order(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	if (x->old_bytes != y->old_bytes)
		return x->old_bytes < y->old_bytes ? 1 : -1;
	return x->born != y->born ? (x->born < y->born ? 1 : -1) : 0;
}

static void sites_make(struct gy_leak_every *every)
{
	struct gyre_record record = {0};

	for (size_t i = 0; i < SLOTS; i++) {
		const struct slot *slot = &every->slots[i];
		struct site *site;

		if (!slot->address || slot->ended)
			continue;
		site = site_of(every, slot->stack);
		site->kept++;
		site->kept_bytes += slot->bytes;
		record.ticks = slot->ticks;
		if (is_old(every, &record)) {
			site->old_kept++;
			site->old_bytes += slot->bytes;
		}
	}
	for (uint32_t i = 0; i <= GYRE_SITES; i++) {
		every->sites[i].stack = i;
		if (every->sites[i].born)
			every->sites[every->site_count++] = every->sites[i];
	}
	qsort(every->sites, every->site_count, sizeof(*every->sites), site_order);
}

static int wanted_set(struct gy_leak_every *every, const uint64_t *sizes, size_t size_count,
		      struct gy_event_plan *plan)
{
	uint32_t class_bytes[GYRE_CELL_CLASSES];
	size_t count = 0;

	if (gy_event_class_bytes(every->target, class_bytes))
		return -1;
	for (uint32_t i = 0; i < GYRE_CELL_CLASSES; i++)
		for (size_t j = 0; j < size_count && !every->wanted[i]; j++) {
			every->wanted[i] = i ? class_bytes[i] && class_bytes[i] == sizes[j]
					     : !sizes[j];
			if (every->wanted[i]) {
				plan->filter.class_number = i;
				count++;
			}
		}
	if (count != 1)
		plan->filter.class_number = GY_EVENT_ALL;
	return 0;
}

static int run(struct gy_leak_every *every, const uint64_t *sizes, size_t size_count)
{
	struct gy_event_plan plan = {
		.ship = true,
		.stacks = true,
		.filter = {.operations = 1u << GYRE_RECORD_MALLOC | 1u << GYRE_RECORD_FREE},
		.duration_ns = every->duration_ns,
		.begin = on_begin,
		.batch = on_batch,
		.context = every,
	};
	struct gy_event_books books;
	int error;

	every->names = gy_stack_names_open(every->target->pid);
	if (!every->names || wanted_set(every, sizes, size_count, &plan))
		return -1;
	every->session = gy_event_session_open(every->target, 1, &plan);
	error = every->session ? gy_event_session_run(every->session) : -1;
	if (error)
		return error;
	gy_event_books(every->session, &books);
	every->lost = gy_event_lost(&books) + every->crowded;
	gy_stack_names_look(every->names);
	sites_make(every);
	return 0;
}

struct gy_leak_every *gy_leak_every_run(struct gy_target *target, const uint64_t *sizes,
					size_t size_count, uint64_t duration_ns)
{
	struct gy_leak_every *every = calloc(1, sizeof(*every));

	if (every) {
		every->target = target;
		every->duration_ns = duration_ns;
		every->slots = calloc(SLOTS, sizeof(*every->slots));
		every->sites = calloc(GYRE_SITES + 1, sizeof(*every->sites));
	}
	if (!every || !every->slots || !every->sites) {
		gy_out_error("no memory to follow blocks");
	} else if (!gy_event_words_target(target) && !run(every, sizes, size_count)) {
		return every;
	}
	gy_leak_every_close(every);
	return NULL;
}

void gy_leak_every_close(struct gy_leak_every *every)
{
	if (!every)
		return;
	gy_event_session_close(every->session);
	gy_stack_names_close(every->names);
	free(every->slots);
	free(every->sites);
	free(every);
}

/* ---------------------------------------------------------------- output */

void gy_leak_every_text(struct gy_leak_every *every, uint64_t rows)
{
	char took[GY_OUT_TEXT], size[GY_OUT_TEXT], kept[GY_OUT_TEXT], line[2048];

	gy_out_line("Every block of the size classes that grow, followed for %s; %" PRIu64 " lost",
		    gy_out_ns(took, every->duration_ns), every->lost);
	gy_out_line("%10s  %9s  %6s  %s", "STAYED", "BLOCKS", "KEPT",
		    "WHERE (born in the first half of the time, and still there)");
	for (size_t i = 0; i < every->site_count && i < rows; i++) {
		const struct site *site = &every->sites[i];
		size_t columns = gy_out_columns();

		snprintf(line, sizeof(line), "%10s  %9s  %4.0f %%  %s",
			 gy_out_bytes(size, site->old_bytes), gy_out_count(kept, site->old_kept),
			 site->old_born ? 100 * (double)site->old_kept / (double)site->old_born : 0,
			 gy_stack_names_line(every->names, site->stack));
		if (columns)
			line[gy_out_cut(line, strlen(line), columns)] = 0;
		gy_out_line("%s", line);
	}
	if (!every->site_count)
		gy_out_line("none was born");
}

json_t *gy_leak_every_json(struct gy_leak_every *every, uint64_t rows)
{
	json_t *object = json_object(), *list = json_array();

	json_object_set_new(object, "duration_ns", gy_out_json_u64(every->duration_ns));
	json_object_set_new(object, "lost", gy_out_json_u64(every->lost));
	for (size_t i = 0; i < every->site_count && i < rows; i++) {
		const struct site *site = &every->sites[i];
		json_t *row = json_object();

		json_object_set_new(row, "born_blocks", gy_out_json_u64(site->born));
		json_object_set_new(row, "kept_blocks", gy_out_json_u64(site->kept));
		json_object_set_new(row, "kept_bytes", gy_out_json_u64(site->kept_bytes));
		json_object_set_new(row, "first_half_born_blocks", gy_out_json_u64(site->old_born));
		json_object_set_new(row, "first_half_kept_blocks", gy_out_json_u64(site->old_kept));
		json_object_set_new(row, "first_half_kept_bytes", gy_out_json_u64(site->old_bytes));
		json_object_set_new(row, "names", gy_out_json_text(gy_stack_names_line(
							  every->names, site->stack)));
		json_object_set_new(row, "stack",
				    gy_stack_names_json(every->names, site->stack));
		json_array_append_new(list, row);
	}
	json_object_set_new(object, "stacks", list);
	return object;
}
