/* loaded.c - blocks held by the variables of a library that was opened by dlopen. */
/* truth: none */
#include "corpus.h"

#include <dlfcn.h>

int main(void)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 20);
	void *library, **blocks;

	if (length <= 0)
		return 3;
	path[length] = '\0';
	strcpy(strrchr(path, '/'), "/holder_lib");
	library = dlopen(path, RTLD_NOW);
	blocks = library ? dlsym(library, "holder_blocks") : NULL;
	if (!blocks)
		return 3;
	for (unsigned i = 0; i < 50; i++)
		blocks[i] = made(64);
	return stay();
}
