/* maps_test.c - mappings, readable pages, pages that were touched. */
#include "os/maps.h"

#include "base/config.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <sys/stat.h>

#define PAGE ((size_t)4096)

static struct gy_maps maps;

static char *map_pages(size_t pages)
{
	char *start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	cr_assert_neq(start, MAP_FAILED);
	return start;
}

static const struct gy_mapping *find(const void *address)
{
	return gy_maps_find(&maps, (uintptr_t)address);
}

Test(maps, each_address_has_its_mapping)
{
	static char data[64] = "x";
	char *pages = map_pages(6), local = 0;
	const struct gy_mapping *mapping;

	cr_assert_eq(mprotect(pages + PAGE, PAGE, PROT_READ), 0);
	cr_assert_eq(mprotect(pages + 3 * PAGE, PAGE, PROT_NONE), 0);
	cr_assert_eq(munmap(pages + 5 * PAGE, PAGE), 0);
	cr_assert_eq(gy_maps_read(&maps), 0);
	for (size_t i = 1; i < maps.count; i++)
		cr_assert_leq(maps.mappings[i - 1].end, maps.mappings[i].start);

	mapping = find(pages);
	cr_assert_not_null(mapping);
	cr_assert(mapping->readable && mapping->writable && !mapping->inode);
	cr_assert_eq(mapping->end, (uintptr_t)pages + PAGE);
	mapping = find(pages + 2 * PAGE - 1);
	cr_assert(mapping->readable && !mapping->writable);
	cr_assert_eq(mapping->start, (uintptr_t)pages + PAGE);
	mapping = find(pages + 3 * PAGE);
	cr_assert(!mapping->readable && !mapping->writable);
	cr_assert_null(find(pages + 5 * PAGE));
	cr_assert_null(find(NULL));
	cr_assert_not_null(find(&local));
	mapping = find(data);
	cr_assert(mapping->writable && mapping->inode != 0);
	mapping = find((const void *)(uintptr_t)&find);
	cr_assert(mapping->readable && !mapping->writable && mapping->inode != 0);

	cr_assert_eq(gy_maps_stack_end(&maps, (uintptr_t)pages + 10), (uintptr_t)pages + PAGE);
	cr_assert_eq(gy_maps_stack_end(&maps, (uintptr_t)pages + 3 * PAGE + 5),
		     (uintptr_t)pages + 3 * PAGE + 5);
	cr_assert_eq(gy_maps_stack_end(&maps, (uintptr_t)pages + 4 * PAGE),
		     (uintptr_t)pages + 5 * PAGE);
	cr_assert_eq(gy_maps_stack_end(&maps, 0), 0u);
}

/* Two files' pages behind the file's end, right behind a stack's: who reads these is ended. */
Test(maps, a_stack_ends_where_a_file_is_mapped)
{
	char *pages = map_pages(4);
	int file = memfd_create("short", 0);

	cr_assert_eq(madvise(pages, PAGE, MADV_DONTDUMP), 0); /* two mappings of one kind */
	cr_assert_eq(mmap(pages + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_FIXED, file, 0),
		     pages + 2 * PAGE);
	cr_assert_eq(gy_maps_read(&maps), 0);
	cr_assert_neq(find(pages), find(pages + PAGE));
	cr_assert_eq(gy_maps_stack_end(&maps, (uintptr_t)pages + 10), (uintptr_t)pages + 2 * PAGE);
	cr_assert_eq(gy_maps_stack_end(&maps, (uintptr_t)pages + 2 * PAGE),
		     (uintptr_t)pages + 4 * PAGE);
	close(file);
}

/* More than the first array holds, and paths longer than a line's part that is read. */
Test(maps, many_mappings_and_long_paths)
{
	enum { MANY = 3000 };
	char directory[4096], name[200], *pages = map_pages(2 * MANY);
	const struct gy_mapping *mapping;
	void *file;
	int fd;

	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(mprotect(pages + 2 * i * PAGE, PAGE, PROT_READ), 0);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	strcpy(directory, "/dev/shm/gyre_maps_XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	for (unsigned i = 0; i < 3; i++) {
		strcat(directory, "/");
		strcat(directory, name);
		cr_assert_eq(mkdir(directory, 0700), 0);
	}
	strcat(directory, "/file");
	fd = open(directory, O_RDWR | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)(4 * PAGE)), 0);
	file = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, (off_t)PAGE);
	cr_assert_neq(file, MAP_FAILED);

	for (unsigned round = 0; round < 2; round++) {
		cr_assert_eq(gy_maps_read(&maps), 0);
		for (unsigned i = 0; i < MANY; i++) {
			mapping = find(pages + 2 * i * PAGE);
			cr_assert_not_null(mapping);
			cr_assert_eq(mapping->start, (uintptr_t)pages + 2 * i * PAGE);
			cr_assert_not(mapping->writable);
		}
		mapping = find(file);
		cr_assert_not_null(mapping);
		cr_assert_eq(mapping->offset, PAGE);
		cr_assert_neq(mapping->inode, 0u);
		for (size_t i = 1; i < maps.count; i++)
			cr_assert_leq(maps.mappings[i - 1].end, maps.mappings[i].start);
	}
	unlink(directory);
	for (unsigned i = 0; i < 4; i++) {
		*strrchr(directory, '/') = '\0';
		rmdir(directory);
	}
}

Test(maps, readable_pages)
{
	char *pages = map_pages(3);

	cr_assert_eq(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
	cr_assert_eq(munmap(pages + 2 * PAGE, PAGE), 0);
	errno = 7;
	cr_assert(gy_page_is_readable((uintptr_t)pages));
	cr_assert_not(gy_page_is_readable((uintptr_t)pages + PAGE));
	cr_assert_not(gy_page_is_readable((uintptr_t)pages + 2 * PAGE));
	cr_assert_not(gy_page_is_readable(0));
	cr_assert_not(gy_page_is_readable((uintptr_t)1 << 60));
	gy_option_values[GY_OPT_fault_call] = GY_SYS_rt_sigprocmask;
	gy_option_values[GY_OPT_fault_count] = 1000;
	cr_assert(gy_page_is_readable((uintptr_t)pages), "no fault is injected");
	cr_assert_eq(errno, 7);
}

Test(maps, pages_that_were_touched)
{
	char *pages = map_pages(2000);
	uintptr_t start = (uintptr_t)pages, end = start + 2000 * PAGE;

	cr_assert_eq(gy_pages_touched_from(start, end), end);
	pages[1999 * PAGE] = 1;
	cr_assert_eq(gy_pages_touched_from(start, end), start + 1999 * PAGE);
	pages[700 * PAGE] = 1;
	cr_assert_eq(gy_pages_touched_from(start + 8, end), start + 700 * PAGE);
	pages[0] = 1;
	cr_assert_eq(gy_pages_touched_from(start + 8, end), start + 8);
	cr_assert_eq(gy_pages_touched_from(start + 701 * PAGE, end - PAGE), end - PAGE);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_open;
	gy_option_values[GY_OPT_fault_count] = 1000;
	cr_assert_eq(gy_pages_touched_from(start + 16, end), start + 16);
}

Test(maps, calls_that_fail)
{
	gy_option_values[GY_OPT_fault_call] = GY_SYS_open;
	gy_option_values[GY_OPT_fault_count] = 1ull << 40;
	cr_assert_eq(gy_maps_read(&maps), -EMFILE);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_read;
	cr_assert_eq(gy_maps_read(&maps), -EIO);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_mmap;
	cr_assert_eq(gy_maps_read(&maps), -ENOMEM);
	gy_option_values[GY_OPT_fault_call] = 0;
	cr_assert_eq(gy_maps_read(&maps), 0);
}
