/* tls_key.c - blocks that are values of pthread keys, of the first and of those behind the
 * thirty-second. */
/* truth: none */
#include "corpus.h"

#include <pthread.h>

#define KEYS 100u

static pthread_key_t keys[KEYS];

static NOINLINE void take(void)
{
	for (unsigned i = 0; i < KEYS; i++) {
		if (pthread_key_create(&keys[i], free) || pthread_setspecific(keys[i], made(80)))
			_exit(3);
	}
}

int main(void)
{
	take();
	return stay();
}
