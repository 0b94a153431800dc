/* sqlite_leak_lib.c - an extension of sqlite3 with one function, leak(n): it loses n blocks of 500
 * bytes, allocated in `forgetful`. Of sqlite's interface it takes two functions, which stand here,
 * as its header is not everywhere; they come from the program's libsqlite3. */
#include <stdlib.h>
#include <string.h>

int sqlite3_create_function(void *database, const char *name, int count, int encoding, void *data,
			    void (*run)(void *, int, void **), void *step, void *final);
int sqlite3_value_int(void *value);
void sqlite3_result_int(void *context, int value);

__attribute__((noinline)) void forgetful(int count);
int sqlite3_extension_init(void *database, char **error, const void *api);

__attribute__((noinline)) void forgetful(int count)
{
	while (count-- > 0) {
		char *block = malloc(500);

		if (block)
			memset(block, 1, 500);
		__asm__ volatile("" : : "r"(block) : "memory");
	}
}

static void leak(void *context, int count, void **values)
{
	(void)count;
	forgetful(sqlite3_value_int(values[0]));
	sqlite3_result_int(context, 0);
}

int sqlite3_extension_init(void *database, char **error, const void *api)
{
	(void)error;
	(void)api;
	return sqlite3_create_function(database, "leak", 1, 1, NULL, leak, NULL, NULL);
}
