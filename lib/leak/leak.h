/* leak.h - lost blocks: malloc'd, never freed, and nothing in the process leads to them any more.
 *
 * A block that nothing points to stays that way, whatever the program does: to get its address
 * again it would have to read it somewhere. So reachability can be tested while the program runs,
 * as often as one likes, and whatever is reached once, or freed, or changes, is not lost. What is
 * left over is lost for sure in as far as the rounds could see all places a pointer may be in.
 *
 *	census   every span's blocks, under its class's lock, a span at a time; bins, transfer
 *	         arrays
 *	mark     round 1: from the roots through the blocks, as the collector marks. What was not
 *	         reached are candidates
 *	look     round 2 and on: all memory in order; whatever points to a candidate takes it off,
 *	         and all that it leads to (look.c). At least `rounds` in all, and until one takes
 *	         nothing off, 16 at most
 *	sort     direct and indirect, sizes, ages, stacks
 *
 * Nobody is stopped, signalled or made to fault for this, and nothing is put in the way of malloc
 * and free. With GYRE_LEAK_STOP all threads stand still instead, as for a collection, for one
 * census and one mark: that proves the answer, at the price of a pause of that length and of system
 * calls that end with EINTR.
 *
 * LEAK-1  One scan at a time, on a thread of the library's (NATIVE rules). It takes no lock of ours
 *         for longer than one span, one cache or one sample takes, and none of the C library's.
 * LEAK-2  Nothing of ours is a root: not what caches, records and tables remember of blocks, not
 *         this scan's memory, stack and registers (own_memory.h; roots.c, LROOT-1).
 * LEAK-3  A block is reported only if every round found it allocated and none found a word that
 *         leads to it. So a pointer that moves must be where no round looks at that moment, every
 *         time, while its block is neither freed nor written to in seconds.
 * LEAK-4  What cannot be seen hides a lost block or makes one up; which, is told here:
 *         - old values in stack frames, in registers and in freed memory that was taken again and
 *           not written to hide a lost block: the scan is conservative;
 *         - pointers that are kept as anything but their value (XOR, compressed, in another
 *           process, in a file, in a device, in a request to the kernel that /proc does not tell)
 *           make one up; for tags there is a mask;
 *         - without registers from outside, a pointer that lies in nothing but a register of a
 *           thread throughout all rounds makes one up. The report counts the threads.
 * LEAK-5  It ends: by itself, by its deadline, when its asker cancels it or is gone (the lease), or
 *         when the process changes its user; and gives its memory back. In a forked child there is
 *         no scan.
 * LEAK-6  A scan uses at most share_permille of one CPU, in slices of a quarter of a millisecond
 *         (pace.c), and memory for itself within memory_bytes.
 *
 * Sources: LeakSanitizer (direct and indirect; a flood from what is unreached); Boehm's find-leak
 * mode; Maebe, Ronsse, De Bosschere: "Precise detection of memory leaks" (2004), for what else can
 * be meant by lost.
 */
#ifndef GY_LEAK_LEAK_H
#define GY_LEAK_LEAK_H

#include "base/compiler.h"
#include "control/control_page.h"
#include "leak/leak_report.h"

/* Checks a request, fills in what it leaves open, and starts its scan. 0 and the scan's number, or
 * -errno as in struct gyre_control_leak. Under no lock; may run inside an allocation. */
int gy_leak_begin(const struct gyre_control_leak *request, uint32_t *scan);
/* Sleeps until that scan is done, and returns its result, or NULL: another one has taken its place.
 * It is whole until gy_leak_release. */
const struct gyre_leak_header *gy_leak_wait(uint32_t scan);
void gy_leak_release(uint32_t scan);
/* The header, under way or done, of that scan; NULL: another one has taken its place. */
const struct gyre_leak_header *gy_leak_report_of(uint32_t scan);

int gy_leak_ignore(uintptr_t address);
int gy_leak_unignore(uintptr_t address);

void gy_leak_ignore_fork_prepare(void);
void gy_leak_ignore_fork_parent(void);
void gy_leak_ignore_fork_child(void);
void gy_leak_fork_child(void);

#endif
