/* cache.c - a cache that fills while it is scanned: it grows, and nothing of it is lost. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

#define SLOTS 65536u

struct entry {
	struct entry *next;
	char *key, *value;
};

static KEPT struct entry *slots[SLOTS];
static int stop;

static void add(unsigned long number)
{
	struct entry *entry = made(sizeof(*entry));

	entry->key = made(24);
	entry->value = made(16 + number % 400);
	entry->next = slots[number * 2654435761u % SLOTS];
	slots[number * 2654435761u % SLOTS] = entry;
}

static void *fill(void *unused)
{
	(void)unused;
	for (unsigned long i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		if (i < 300000)
			add(i);
		if (i % 50 == 0)
			usleep(1000);
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;

	for (unsigned long i = 0; i < 20000; i++)
		add(i);
	if (pthread_create(&thread, NULL, fill, NULL))
		return 3;
	stay();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	return pthread_join(thread, NULL);
}
