/* plugin_host.c - a program in C that loads and unloads C++ plugins over and over.
 *
 *   plugin_host PLUGIN ...
 */
#include "interpose/tap.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

enum { LOOPS = 300, THREADS = 8 };

static const char *path;

static const char *visit(void)
{
	void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const char *(*run)(void);
	const char *why;

	if (!plugin)
		return dlerror();
	*(void **)&run = dlsym(plugin, "plugin_run");
	why = run ? run() : "no plugin_run";
	dlclose(plugin);
	return why;
}

static void *visit_in_thread(void *argument)
{
	const char *why = NULL;

	(void)argument;
	for (unsigned i = 0; i < 10 && !why; i++) {
		void *block = malloc(i * 1000);

		/* Handlers are process-wide: one visitor at a time is what the plugin expects. */
		static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

		pthread_mutex_lock(&one);
		why = visit();
		pthread_mutex_unlock(&one);
		free(block);
	}
	return why ? strdup(why) : NULL;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		pthread_t threads[THREADS];
		char name[200];
		const char *why = NULL;

		path = argv[i];
		snprintf(name, sizeof(name), "300 loads of %s from a C program",
			 strrchr(path, '/') + 1);
		group(name);
		for (unsigned loop = 0; loop < LOOPS && !why; loop++)
			why = visit();
		EXPECT(!why, "%s", why);
		for (unsigned t = 0; t < THREADS; t++)
			EXPECT(!pthread_create(&threads[t], NULL, visit_in_thread, NULL),
			       "thread %u", t);
		for (unsigned t = 0; t < THREADS; t++) {
			void *text = NULL;

			pthread_join(threads[t], &text);
			EXPECT(!text, "%s", (char *)text);
			free(text);
		}
		group_end();
	}
	return tap_all_failures != 0;
}
