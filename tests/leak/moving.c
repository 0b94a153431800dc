/* moving.c - blocks whose pointers never stay in one place: between lists, heap, stack and back,
 * by four threads. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

#define THREADS 4u
#define BLOCKS 256u

struct carrier {
	void *load;
	char room[24];
};

static KEPT struct carrier *places[THREADS][BLOCKS];
static int stop;

/* Every block stays alive for good; what points to it is made anew all the time. */
static void *move(void *argument)
{
	struct carrier **own = argument;
	unsigned long seed = (uintptr_t)argument;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned from, to;
		struct carrier *fresh, *old;

		seed = seed * 6364136223846793005ul + 1442695040888963407ul;
		from = (unsigned)(seed >> 33) % BLOCKS;
		to = (unsigned)(seed >> 45) % BLOCKS;
		old = own[from];
		own[from] = own[to];
		own[to] = old;
		if (!own[from])
			continue;
		fresh = made(sizeof(*fresh));
		fresh->load = own[from]->load;
		old = own[from];
		own[from] = fresh;
		free(old);
		if (seed >> 50 == 0)
			usleep(100);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	for (unsigned t = 0; t < THREADS; t++)
		for (unsigned i = 0; i < BLOCKS; i += 2) {
			places[t][i] = made(sizeof(struct carrier));
			places[t][i]->load = made(200);
		}
	for (unsigned t = 0; t < THREADS; t++)
		if (pthread_create(&threads[t], NULL, move, places[t]))
			return 3;
	stay();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	return 0;
}
