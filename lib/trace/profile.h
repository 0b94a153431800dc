/* profile.h - the sampled profile: allocation stacks and what was allocated and freed there.
 *
 * The table is an array of struct gyre_control_bucket. In a process with a control page it lies in
 * that page, where the CLI reads it from outside without stopping anybody; before the page exists,
 * or where there is none, it lies in metadata.
 *
 *	index:   0 ................................ count - 2 | count - 1
 *	         open addressing by stack hash,               | the overflow bucket: depth 1,
 *	         linear probing of PROFILE_PROBES at most     | frame 0; takes what found no place
 *
 * PROFILE-1  A bucket's counters change together, under its seq (CTL-3): seq is odd meanwhile. A
 *            copy taken between two equal even seqs is consistent, whatever runs.
 * PROFILE-2  Frames are written once, before depth becomes other than 0, and stay: a pointer to
 *            them is good for the life of the process, also after the table has moved.
 * PROFILE-3  Counters never run backwards, and for each bucket alloc - free is what the live
 *            samples (live.h) of that bucket add up to: a sample that could not be recorded is
 *            counted nowhere but as lost.
 * PROFILE-4  The page is shared memory that others may scribble on: what is read from it is
 *            bounded before it is used, and only numbers of the profile can suffer.
 * PROFILE-5  In a forked child the profile begins with what was live at the fork, because the
 *            page still belongs to the parent, who goes on writing to it.
 *
 * Writers hold gy_sampler_lock. Readers take no lock; one that finds a bucket amid a change again
 * and again waits for the writer.
 *
 * Bytes are those of the blocks (rounded up to the size class), not those asked for, so that they
 * add up to the heap. Weights stand for all allocations, not only for those sampled (sampler.h).
 */
#ifndef GY_TRACE_PROFILE_H
#define GY_TRACE_PROFILE_H

#include "control/control_page.h"
#include "trace/live.h"

#include <gyre/gyre.h>

#define GY_PROFILE_FRAMES GYRE_CONTROL_FRAMES
#define GY_PROFILE_NO_BUCKET UINT32_MAX

/* Moves the profile to `buckets`, zeroed shared memory that stays mapped. In a forked child: called
 * before the parent's page is unmapped; that mapping must not be MADV_DONTFORK. Takes
 * gy_sampler_lock. */
void gy_profile_init(struct gyre_control_bucket *buckets, unsigned count);

/* gyre_profile_each (gyre.h): 0, what visit returned, -EINVAL, or -EOPNOTSUPP. */
int gy_profile_each(int (*visit)(const struct gyre_profile_entry *entry, void *context),
		    void *context);

uint64_t gy_profile_hash(const uintptr_t *frames, unsigned depth);
/* The bucket of a stack, made if need be; the overflow bucket if there is no place, and
 * GY_PROFILE_NO_BUCKET if there is no table at all. */
uint32_t gy_profile_bucket_locked(const uintptr_t *frames, unsigned depth, uint64_t hash);
/* A bucket together with its table, not 0 (0 for the overflow bucket); and the bucket again, or
 * GY_PROFILE_NO_BUCKET if that is not the table any more. */
uint64_t gy_profile_note_locked(uint32_t bucket);
uint32_t gy_profile_noted_locked(uint64_t note);
/* It was allocated. false: it is booked, but in the overflow bucket. */
bool gy_profile_add_locked(const struct gy_live_sample *sample);
void gy_profile_subtract_locked(const struct gy_live_sample *sample); /* it was freed */
/* Before a live sample is removed that will be subtracted: in a forked child's first call the table
 * moves, and what is live is counted there (PROFILE-5). false: there is no memory for a table. */
bool gy_profile_own_locked(void);
/* The frames of a bucket and how many they are; valid for ever (PROFILE-2). */
const uint64_t *gy_profile_frames_locked(uint32_t bucket, unsigned *depth);
/* In the child, before any other use: the table is the parent's (PROFILE-5). */
void gy_profile_fork_child_locked(void);
/* Panics if the buckets are not what the live samples add up to. */
void gy_profile_check_locked(void);

#endif
