/* trace.h - the commands of `gyre trace`, and what they share. */
#ifndef GYRE_TOOLS_TRACE_H
#define GYRE_TOOLS_TRACE_H

#include <stdio.h>

#include "profile_model.h"
#include "record_file.h"
#include "recording.h"

int gy_trace_record(int argc, char **argv);
int gy_trace_report(int argc, char **argv);
int gy_trace_export(int argc, char **argv);

/* gy_trace_damage_out - what stands against a recording: that it is damaged, or was not ended. */
void gy_trace_damage_out(const struct gy_recording *recording);
const char *gy_trace_operation(uint32_t operation);

/* gy_trace_profile - the allocations of a recording by stack, symbols found. NULL with the error
 * told. Free it before the recording. */
struct gy_profile *gy_trace_profile(struct gy_recording *recording);

/* gy_trace_chrome - the whole recording in the Trace Event Format. 0, or -errno. */
int gy_trace_chrome(struct gy_recording *recording, FILE *file);

/* Blocks that were allocated and not freed, by address (trace_live.c). */
struct gy_trace_block {
	uint64_t address, bytes, ns;
	uint32_t stack, class_index;
};

struct gy_trace_live;

struct gy_trace_live *gy_trace_live_new(void);
void gy_trace_live_free(struct gy_trace_live *live);
/* gy_trace_live_add - 0 or -ENOMEM. A block that was there is replaced: its end was lost. */
int gy_trace_live_add(struct gy_trace_live *live, const struct gy_trace_block *block);
/* gy_trace_live_end - take it out. False: it was there before the recording began. */
bool gy_trace_live_end(struct gy_trace_live *live, uint64_t address, struct gy_trace_block *block);
void gy_trace_live_each(struct gy_trace_live *live,
			void (*visit)(void *context, const struct gy_trace_block *block),
			void *context);

#endif
