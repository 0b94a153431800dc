/* root_objects.c - the global variables of every loaded object.
 *
 * dl_iterate_phdr would tell them, but it takes the loader's lock, which a stopped thread may hold,
 * and it needs more of the C library than our own threads have (NATIVE-2). So the list is read that
 * the loader keeps for debuggers: struct r_debug and its link_maps. The loader sets r_state before
 * it changes the list and sets it back after; a thread that was stopped in between shows (ROOT-1).
 * Objects opened by dlmopen are on lists of their own, linked since glibc 2.35, and never unlinked.
 *
 * A link_map does not tell where the program headers are. They follow the ELF header, and that is
 * at the object's base address unless its first segment was linked elsewhere. What is found there
 * is believed only if it describes the dynamic section that the link_map names (OBJECT-1); such
 * objects are remembered, so that the next pause asks the kernel nothing. Failing that the mappings
 * are looked through.
 *
 * Of each object: writable PT_LOAD segments, less PT_GNU_RELRO (whole pages of it). Read anew in
 * each pause: a library may have been replaced by another at the same place.
 */
#include "gc/root_find.h"

#include "os/loader.h"
#include "os/vm.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#define OBJECTS_MOST 65536u /* a longer list is a loop */
#define KNOWN_MOST 512u
#define TLS_SURPLUS ((size_t)4096) /* what the loader keeps for libraries to come, and its own */

/* Where an object's program headers are. */
struct headers {
	const ElfW(Phdr) * table;
	unsigned count;
	uintptr_t bias; /* added to its addresses */
};

struct known {
	const struct link_map *map;
	uintptr_t base;
	const void *dynamic;
	struct headers headers;
};

/* Since glibc 2.35; r_version 2. */
struct debug_list {
	struct r_debug base;
	struct debug_list *next;
};

static struct {
	struct known known[KNOWN_MOST]; /* by place in the list; [stopper] */
	struct headers program;
	const struct debug_list *debug;           /* NULL: not known, or no loader */
	size_t tls_static_bytes, tls_block_bytes; /* of this pause */
} objects;

size_t gy_root_tls_static_most(void)
{
	return objects.tls_static_bytes;
}

size_t gy_root_tls_block_most(void)
{
	return objects.tls_block_bytes;
}

/* ---- the program, and where the list is ---- */

static const ElfW(Phdr) * segment_of_type(const struct headers *headers, uint32_t type)
{
	for (unsigned i = 0; i < headers->count; i++)
		if (headers->table[i].p_type == type)
			return &headers->table[i];
	return NULL;
}

/* The kernel tells where the program's headers are; that they tell where they are themselves
 * (PT_PHDR) is usual. Where not, the ELF header stands at the front of their page. */
static void find_program(void)
{
	struct headers *program = &objects.program;
	uintptr_t table = getauxval(AT_PHDR);
	const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)(table & ~(GY_KERNEL_PAGE_BYTES - 1));
	const ElfW(Phdr) * self, *first;

	program->table = (const ElfW(Phdr) *)table;
	program->count = (unsigned)getauxval(AT_PHNUM);
	if (!table)
		return;
	self = segment_of_type(program, PT_PHDR);
	first = segment_of_type(program, PT_LOAD);
	if (self)
		program->bias = table - self->p_vaddr;
	else if (first && !memcmp(header->e_ident, ELFMAG, SELFMAG) && header->e_type == ET_DYN)
		program->bias = (uintptr_t)header - first->p_vaddr;
}

/* The loader leaves the address in the program's dynamic section, for debuggers. */
static const struct debug_list *debug_from_program(void)
{
	const ElfW(Phdr) *segment = segment_of_type(&objects.program, PT_DYNAMIC);
	const ElfW(Dyn) * entry;

	if (!segment)
		return NULL;
	entry = (const ElfW(Dyn) *)(objects.program.bias + segment->p_vaddr);
	for (; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_DEBUG)
			return (const struct debug_list *)entry->d_un.d_ptr;
	return NULL;
}

void gy_root_objects_init(void)
{
	find_program();
	/* Asked for by its name last: a program that mentions it has a copy, which is of its
	 * start. */
	objects.debug = debug_from_program();
	if (!objects.debug && gy_loader_symbol)
		objects.debug = gy_loader_symbol(NULL, "_r_debug");
}

/* ---- an object's headers ---- */

/* OBJECT-1. The first page of `header` can be read. */
static bool describes(const ElfW(Ehdr) * header, const struct link_map *map,
		      struct headers *headers)
{
	const ElfW(Phdr) * dynamic, *first;

	if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_phentsize != sizeof(*dynamic) ||
	    header->e_phoff + header->e_phnum * sizeof(*dynamic) > GY_KERNEL_PAGE_BYTES)
		return false;
	headers->table = (const ElfW(Phdr) *)(const void *)((const char *)header + header->e_phoff);
	headers->count = header->e_phnum;
	headers->bias = map->l_addr;
	dynamic = segment_of_type(headers, PT_DYNAMIC);
	first = segment_of_type(headers, PT_LOAD);
	return dynamic && first && headers->bias + dynamic->p_vaddr == (uintptr_t)map->l_ld &&
	       headers->bias + first->p_vaddr - first->p_offset == (uintptr_t)header;
}

/* The slow way: the front of the file whose mapping holds the dynamic section. */
static bool find_by_maps(const struct link_map *map, struct headers *headers)
{
	const struct gy_maps *maps = gy_root_maps();
	const struct gy_mapping *at = maps ? gy_maps_find(maps, (uintptr_t)map->l_ld) : NULL;
	uint64_t inode = at ? at->inode : 0;

	for (; at && at >= maps->mappings; at--)
		if (at->inode == inode && at->offset == 0 && at->readable)
			return describes((const ElfW(Ehdr) *)at->start, map, headers);
	return false;
}

static bool find_headers(const struct link_map *map, unsigned place, struct headers *headers)
{
	struct known *known = &objects.known[place % KNOWN_MOST];

	if (known->map == map && known->base == map->l_addr && known->dynamic == map->l_ld &&
	    describes((const ElfW(Ehdr) *)((uintptr_t)known->headers.table &
					   ~(GY_KERNEL_PAGE_BYTES - 1)),
		      map, headers))
		return true;
	known->map = NULL;
	if (!(map->l_addr && gy_page_is_readable(map->l_addr) &&
	      describes((const ElfW(Ehdr) *)map->l_addr, map, headers)) &&
	    !find_by_maps(map, headers))
		return false;
	if (((uintptr_t)headers->table & (GY_KERNEL_PAGE_BYTES - 1)) +
		    headers->count * sizeof(*headers->table) <=
	    GY_KERNEL_PAGE_BYTES)
		*known = (struct known){map, map->l_addr, map->l_ld, *headers};
	return true;
}

/* ---- segments ---- */

static bool holds(const struct headers *headers, uintptr_t address)
{
	for (unsigned i = 0; i < headers->count; i++) {
		const ElfW(Phdr) *segment = &headers->table[i];

		if (segment->p_type == PT_LOAD &&
		    address - (headers->bias + segment->p_vaddr) < segment->p_memsz)
			return true;
	}
	return false;
}

/* Each page is asked for: a program may have protected one of its own data (a guard page). */
static void add_segment(uintptr_t start, uintptr_t end, uintptr_t relro, uintptr_t relro_end)
{
	if (relro >= end || relro_end <= start || relro >= relro_end) {
		gy_root_add(start, end, GY_ROOT_CHECKED, 0);
		return;
	}
	if (start < relro)
		gy_root_add(start, relro, GY_ROOT_CHECKED, 0);
	if (relro_end < end)
		gy_root_add(relro_end, end, GY_ROOT_CHECKED, 0);
}

static void add_object(const struct headers *headers)
{
	const ElfW(Phdr) *relro = segment_of_type(headers, PT_GNU_RELRO);
	const ElfW(Phdr) *tls = segment_of_type(headers, PT_TLS);
	uintptr_t low = 0, high = 0;

	if (tls) {
		objects.tls_static_bytes += tls->p_memsz + tls->p_align;
		objects.tls_block_bytes = MAX(objects.tls_block_bytes, (size_t)tls->p_memsz);
	}
	/* ROOT-2; the program may have us linked in. */
	if (headers->table != objects.program.table && holds(headers, (uintptr_t)&objects))
		return;
	if (relro) { /* as the loader rounds what it protects */
		low = (headers->bias + relro->p_vaddr) & ~(GY_KERNEL_PAGE_BYTES - 1);
		high = (headers->bias + relro->p_vaddr + relro->p_memsz) &
		       ~(GY_KERNEL_PAGE_BYTES - 1);
	}
	for (unsigned i = 0; i < headers->count; i++) {
		const ElfW(Phdr) *segment = &headers->table[i];
		uintptr_t start = headers->bias + segment->p_vaddr;

		if (segment->p_type == PT_LOAD && segment->p_flags & PF_W)
			add_segment(start, start + segment->p_memsz, low, high);
	}
}

/* ---- the list ---- */

static bool add_list(const struct r_debug *debug, unsigned *place)
{
	if (debug->r_state != RT_CONSISTENT)
		return false;
	for (const struct link_map *map = debug->r_map; map && *place < OBJECTS_MOST;
	     map = map->l_next, (*place)++) {
		struct headers headers;

		if (map->l_ld && objects.program.table &&
		    holds(&objects.program, (uintptr_t)map->l_ld))
			continue; /* is added already */
		if (find_headers(map, *place, &headers))
			add_object(&headers);
	}
	return true;
}

GY_RACY_READER bool gy_root_objects_settled(void)
{
	const struct debug_list *list = objects.debug;

	for (unsigned i = 0; list && i < OBJECTS_MOST; i++) {
		if (READ_RELAXED(list->base.r_state) != RT_CONSISTENT)
			return false;
		list = READ_RELAXED(list->base.r_version) >= 2 ? READ_RELAXED(list->next) : NULL;
	}
	return true;
}

bool gy_root_objects_find(void)
{
	const struct debug_list *list = objects.debug;
	unsigned place = 0;

	objects.tls_static_bytes = TLS_SURPLUS;
	objects.tls_block_bytes = 0;
	if (objects.program.table)
		add_object(&objects.program);
	for (unsigned i = 0; list && i < OBJECTS_MOST; i++) {
		if (!add_list(&list->base, &place))
			return false;
		list = list->base.r_version >= 2 ? list->next : NULL;
	}
	return true;
}
