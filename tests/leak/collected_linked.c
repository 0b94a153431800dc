/* collected_linked.c - blocks held by objects of the collector's alone: typed, conservative,
 * large. */
/* truth: none */
#include "corpus.h"

#include <gyre/gc.h>

struct holder {
	struct holder *next;
	void *block;
};

static const struct gyre_type holder_type = GYRE_TYPE(struct holder, next);
static struct holder *first;
static void **large;

static NOINLINE void fill(void)
{
	for (unsigned i = 0; i < 500; i++) {
		struct holder *holder = gyre_new(&holder_type);

		if (!holder)
			_exit(3);
		holder->block = made(64);
		gyre_set(&holder->next, first);
		first = holder;
	}
	large = gyre_new_conservative(100000);
	if (!large)
		_exit(3);
	for (unsigned i = 0; i < 10000; i += 100)
		large[i] = made(64);
}

int main(void)
{
	fill();
	return stay();
}
