/* loaded_object.c - see loaded_object.h. */
#include "trace/loaded_object.h"

#include <dlfcn.h>
#include <link.h>

/* gate: the C library's headers know _dl_find_object (glibc 2.35); at run time it may still lack */
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
#define HAVE_DL_FIND_OBJECT 1
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));
#else
#define HAVE_DL_FIND_OBJECT 0
struct dl_find_object {
	void *dlfo_map_start, *dlfo_map_end, *dlfo_eh_frame;
};
extern int _dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));
#endif

#define LISTED_MAX 256u

enum { LIST_EMPTY, LIST_FILLING, LIST_READY };

struct object_list {
	struct gy_loaded_object objects[LISTED_MAX];
	uint32_t count; /* [atomic: release in list_object, acquire in find_listed] OBJECT-2 */
};

static struct object_list listed, permanent;
static uint32_t list_state;      /* [atomic: relaxed; LIST_*] of `listed` */
static uint32_t permanent_count; /* of `permanent`, once it is sorted; [atomic: as above] */

static int list_object(struct dl_phdr_info *info, size_t bytes, void *context)
{
	struct object_list *list = context;
	uint32_t count = READ_RELAXED(list->count);
	struct gy_loaded_object object = {UINTPTR_MAX, 0, NULL, list == &permanent};

	(void)bytes;
	if (count == LISTED_MAX)
		return 1;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD) {
			object.start = MIN(object.start, start);
			object.end = MAX(object.end, start + header->p_memsz);
		} else if (header->p_type == PT_GNU_EH_FRAME) {
			object.eh_frame_hdr = (const uint8_t *)start;
		}
	}
	if (object.start >= object.end)
		return 0;
	list->objects[count] = object;
	__atomic_store_n(&list->count, count + 1, __ATOMIC_RELEASE);
	return 0;
}

/* At the start of the program, single-threaded: the loader's lock is nobody else's. */
__attribute__((constructor)) static void list_permanent(void)
{
	struct gy_loaded_object *objects = permanent.objects;

	dl_iterate_phdr(list_object, &permanent);
	for (uint32_t i = 1; i < permanent.count; i++) {
		struct gy_loaded_object object = objects[i];
		uint32_t j = i;

		for (; j && objects[j - 1].start > object.start; j--)
			objects[j] = objects[j - 1];
		objects[j] = object;
	}
	__atomic_store_n(&permanent_count, permanent.count, __ATOMIC_RELEASE);
}

static bool find_permanent(uintptr_t pc, struct gy_loaded_object *object)
{
	uint32_t low = 0, high = __atomic_load_n(&permanent_count, __ATOMIC_ACQUIRE);

	/* The last that starts at or before the pc. */
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (permanent.objects[middle].start <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || !gy_loaded_object_holds(&permanent.objects[low - 1], pc))
		return false;
	*object = permanent.objects[low - 1];
	return true;
}

bool gy_loaded_object_find_listed(uintptr_t pc, struct gy_loaded_object *object)
{
	uint32_t empty = LIST_EMPTY, count;

	/* A second asker meanwhile sees the part that is there; it does not wait. */
	if (unlikely(READ_RELAXED(list_state) == LIST_EMPTY) &&
	    __atomic_compare_exchange_n(&list_state, &empty, LIST_FILLING, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED)) {
		dl_iterate_phdr(list_object, &listed);
		WRITE_RELAXED(list_state, LIST_READY);
	}
	count = __atomic_load_n(&listed.count, __ATOMIC_ACQUIRE);
	for (uint32_t i = 0; i < count; i++) {
		if (gy_loaded_object_holds(&listed.objects[i], pc)) {
			*object = listed.objects[i];
			return true;
		}
	}
	*object = (struct gy_loaded_object){0, 0, NULL, false};
	return false;
}

bool gy_loaded_object_find(uintptr_t pc, struct gy_loaded_object *object)
{
	struct dl_find_object found;

	if (likely(find_permanent(pc, object)))
		return true;
	*object = (struct gy_loaded_object){0, 0, NULL, false};
	if (!HAVE_DL_FIND_OBJECT || !_dl_find_object)
		return gy_loaded_object_find_listed(pc, object);
	if (_dl_find_object((void *)pc, &found))
		return false;
	object->start = (uintptr_t)found.dlfo_map_start;
	object->end = (uintptr_t)found.dlfo_map_end;
	object->eh_frame_hdr = found.dlfo_eh_frame;
	/* In a static program glibc gives the code's segment alone, and the tables lie in another.
	 */
	if (unlikely(object->eh_frame_hdr &&
		     !gy_loaded_object_holds(object, (uintptr_t)object->eh_frame_hdr)))
		return gy_loaded_object_find_listed(pc, object);
	return true;
}
