/* loader.c - see loader.h. */
#include "os/loader.h"

#include <dlfcn.h>

void *gy_loader_open(const char *name)
{
	return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

void *gy_loader_symbol(void *library, const char *name)
{
	return dlsym(library ? library : RTLD_DEFAULT, name);
}
