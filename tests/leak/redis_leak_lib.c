/* redis_leak_lib.c - a module of redis-server with one command, LEAK n: it loses n blocks of 1,000
 * bytes, allocated in `forgetful`. The few lines of the modules' interface that it takes stand
 * here, as redis's own header is not everywhere. */
#include <stdlib.h>
#include <string.h>

struct context {
	void *get_api;
};

static int (*get_api)(const char *name, void *function);
static void (*set_attributes)(struct context *context, const char *name, int version, int api);
static int (*create_command)(struct context *context, const char *name,
			     int (*run)(struct context *, void **, int), const char *flags,
			     int first, int last, int step);
static int (*string_to_number)(const void *string, long long *number);
static int (*reply_number)(struct context *context, long long number);

__attribute__((noinline)) void forgetful(long long count);
int RedisModule_OnLoad(struct context *context, void **words, int count);

__attribute__((noinline)) void forgetful(long long count)
{
	while (count-- > 0) {
		char *block = malloc(1000);

		if (block)
			memset(block, 1, 1000);
		__asm__ volatile("" : : "r"(block) : "memory");
	}
}

static int leak(struct context *context, void **words, int count)
{
	long long number = 0;

	if (count == 2)
		string_to_number(words[1], &number);
	forgetful(number);
	return reply_number(context, number);
}

int RedisModule_OnLoad(struct context *context, void **words, int count)
{
	(void)words;
	(void)count;
	memcpy(&get_api, &context->get_api, sizeof(get_api));
	get_api("RedisModule_SetModuleAttribs", &set_attributes);
	get_api("RedisModule_CreateCommand", &create_command);
	get_api("RedisModule_StringToLongLong", &string_to_number);
	get_api("RedisModule_ReplyWithLongLong", &reply_number);
	set_attributes(context, "leak", 1, 1);
	return create_command(context, "leak", leak, "", 0, 0, 0);
}
