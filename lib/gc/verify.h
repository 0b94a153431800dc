/* verify.h - the collector against itself: a stopped re-mark that must find nothing new. */
#ifndef GY_GC_VERIFY_H
#define GY_GC_VERIFY_H

/* Number of lost objects, reported on stderr; -1: the world did not stop. The last cycle is over,
 * and none starts meanwhile (the caller has paused cycles). */
long gy_verify(void);

#endif
