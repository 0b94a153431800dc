/* top_look.h - what `gyre top` knows of a process at a look, and what moved since the look before.
 *
 * All of it is in the control page and in /proc: to look stops nobody, attaches nothing, and asks
 * the process for no more than a fresh snapshot.
 *
 *      counters   the page's, and their rates since the look before
 *      sites      allocation stacks of the sampled profile: what each holds, what it takes and what
 *                 it gains, scaled to all allocations. Between two looks a second apart a stack has
 *                 few samples, so these rates are of the looks of the last RATE_SECONDS.
 *      history    memory in use at each look, for the curve
 */
#ifndef GYRE_TOOLS_TOP_LOOK_H
#define GYRE_TOOLS_TOP_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "symbols.h"
#include "target.h"

#define GY_TOP_HISTORY 512

enum gy_top_sort { TOP_BY_RATE, TOP_BY_HELD, TOP_BY_GROWTH, TOP_SORTS };
extern const char *const gy_top_sort_names[TOP_SORTS];

struct gy_top_site {
	uint64_t hash; /* of the frames */
	uint64_t held_bytes, held_objects;
	double bytes_per_s, growth_per_s;
	uint32_t depth;
	uint64_t frames[GYRE_CONTROL_FRAMES];
};

/* Per second, since the look before; 0 at the first. */
struct gy_top_rates {
	double mallocs, frees, heap_bytes, samples, cycles, cpu, gc_cpu; /* cpu: processors */
	double allocated_bytes, released_bytes;
};

struct gy_top {
	struct gy_target *target;
	struct gy_symbols *symbols;
	struct gy_snapshot snapshot; /* of the last look */
	bool looked;
	uint64_t time_ns, cpu_ns, rss_bytes, threads;
	double seconds; /* since the look before; 0: there was none */
	struct gy_top_rates rates;
	struct gy_top_site *sites; /* in the order that was asked for */
	size_t site_count;
	uint64_t sampled_bytes; /* held, all sites */
	uint64_t history[GY_TOP_HISTORY]; /* in use; the newest is history[(n - 1) % ...] */
	size_t history_count;
	struct gy_top_past *past; /* the looks that rates are made from */
};

/* gy_top_open - the target has a control page. 0, or -1 with the error told. */
int gy_top_open(struct gy_top *top, struct gy_target *target);
void gy_top_close(struct gy_top *top);
/* gy_top_look - 0, or -errno as gy_control_read: -ESRCH, and the last look stays, when the process
 * has ended. */
int gy_top_look(struct gy_top *top);
void gy_top_sort(struct gy_top *top, enum gy_top_sort order);
/* gy_top_site_line - "f <- g <- main", as far as `bytes` go. */
void gy_top_site_line(const struct gy_top *top, const struct gy_top_site *site, char *line,
		      size_t bytes);

#endif
