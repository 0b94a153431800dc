/* fork.h - the heap across fork. See fork.c's essay. */
#ifndef GY_MUTATOR_FORK_H
#define GY_MUTATOR_FORK_H

#include "base/compiler.h"

/* Calls of the layers above, inside prepare/parent/child (control/): set before the first fork. */
struct gy_fork_hooks {
	void (*prepare)(void);
	void (*parent)(void);
	void (*child)(void);
};

void gy_fork_init(const struct gy_fork_hooks *hooks);

#endif
