/* stats.h - the heap's numbers, gathered from their owners. See stats.c. */
#ifndef GY_CONTROL_STATS_H
#define GY_CONTROL_STATS_H

#include "control/control_page.h"
#include "heap/size_class.h"

#include <stdbool.h>

#define GY_STATS_CLASSES (GY_CLASS_COUNT - 1)

/* Fills both (classes may be NULL): class 1 comes at index 0. Takes the registry's, the central
 * lists' and the page heap's locks, one after the other. */
void gy_stats_gather(struct gyre_control_totals *totals,
		     struct gyre_control_class classes[GY_STATS_CLASSES]);

/* The collector's part; commanded_cycle is the caller's. Takes the collector's locks, if it
 * runs. */
void gy_stats_gather_gc(struct gyre_control_gc *gc);

/* Under no lock behind `control`. `asked`: somebody waits for this snapshot. */
void gy_stats_gather_events(struct gyre_control_events *events, bool asked);

#endif
