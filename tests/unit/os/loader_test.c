/* loader_test.c - names of the dynamic loader, where there is one. */
#include "unit/unit.h"

/* As os/loader.h, but not weak: this takes the functions out of the archive. */
void *gy_loader_open(const char *name);
void *gy_loader_symbol(void *library, const char *name);

Test(loader, finds_what_there_is)
{
	void *library = gy_loader_open("libc.so.6");

	cr_assert_not_null(library);
	cr_assert_not_null(gy_loader_symbol(library, "getpid"));
	cr_assert_eq(gy_loader_symbol(NULL, "getpid"), gy_loader_symbol(library, "getpid"));
}

Test(loader, and_says_what_there_is_not)
{
	cr_assert_null(gy_loader_open("libnonesuch-of-gyre.so.9"));
	cr_assert_null(gy_loader_symbol(NULL, "nonesuch_of_gyre"));
}
