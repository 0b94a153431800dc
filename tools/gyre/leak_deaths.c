/* leak_deaths.c - see leak_deaths.h. The eBPF program is that of `gyre alloc trace ... sampled`. */
#include "leak_deaths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "alloc.skel.h"
#include "attach.h"
#include "notes.h"
#include "rights.h"
#include "session.h"

#define LINKS 8

struct gy_leak_deaths {
	struct gy_leak_growth *growth;
	struct alloc_bpf *programs;
	struct gy_link links[LINKS];
	size_t link_count;
	struct ring_buffer *ring;
};

static int on_event(void *context, void *data, size_t bytes)
{
	struct gy_leak_deaths *deaths = context;
	uint64_t frames[GYRE_EVENT_FRAMES];
	struct gyre_event event;

	memset(&event, 0, sizeof(event));
	memcpy(&event, data, bytes < sizeof(event) ? bytes : sizeof(event));
	for (unsigned int i = 0; i < GYRE_EVENT_FRAMES; i++)
		frames[i] = event.frames[i];
	if (event.kind == GYRE_EVENT_FREE && event.depth <= GYRE_EVENT_FRAMES &&
	    event.lifetime_ns <= event.time_ns)
		gy_leak_growth_died(deaths->growth, frames, event.depth,
				    event.time_ns - event.lifetime_ns, event.weight_bytes);
	return 0;
}

static int load(struct gy_leak_deaths *deaths, bool sleepable)
{
	struct alloc_bpf *programs = alloc_bpf__open();
	int error;

	if (!programs)
		return -errno;
	programs->rodata->gyre_sleepable = sleepable;
	gy_session_pidns(&programs->rodata->gyre_pidns_device, &programs->rodata->gyre_pidns_inode);
	bpf_program__set_autoload(programs->progs.gyre_alloc_sample, false);
	bpf_program__set_autoload(programs->progs.gyre_large_alloc, false);
	bpf_program__set_autoload(programs->progs.gyre_large_free, false);
	gy_session_prepare(programs->obj, sleepable);
	error = alloc_bpf__load(programs);
	if (error)
		alloc_bpf__destroy(programs);
	else
		deaths->programs = programs;
	return error;
}

static void image_attach(struct gy_leak_deaths *deaths, const char *path)
{
	struct gy_note *notes = calloc(GY_NOTES_MAX, sizeof(*notes));
	int count = notes ? gy_notes_read(path, notes, GY_NOTES_MAX) : 0;

	for (int i = 0; i < count && deaths->link_count < LINKS; i++)
		if (!strcmp(notes[i].name, "free_sample") &&
		    !gy_attach(&deaths->links[deaths->link_count], deaths->programs->obj,
			       deaths->programs->progs.gyre_free_sample,
			       (uint32_t)deaths->link_count, deaths->growth->target->pid, path,
			       &notes[i], 0))
			deaths->link_count++;
	free(notes);
}

static bool attach(struct gy_leak_deaths *deaths)
{
	const struct gy_target *target = deaths->growth->target;

	for (size_t i = 0; i < target->image_count; i++)
		image_attach(deaths, target->images[i].open_path);
	return deaths->link_count;
}

struct gy_leak_deaths *gy_leak_deaths_open(struct gy_leak_growth *growth)
{
	struct gy_leak_deaths *deaths;
	int error;

	if (*gy_rights_load_lack())
		return NULL;
	deaths = calloc(1, sizeof(*deaths));
	if (!deaths)
		return NULL;
	deaths->growth = growth;
	error = load(deaths, true);
	if (error && error != -EPERM && error != -EACCES && error != -ENOSYS)
		error = load(deaths, false);
	if (!error && attach(deaths))
		deaths->ring = ring_buffer__new(bpf_map__fd(deaths->programs->maps.gyre_ring),
						on_event, deaths, NULL);
	if (deaths->ring)
		return deaths;
	gy_leak_deaths_close(deaths);
	return NULL;
}

void gy_leak_deaths_close(struct gy_leak_deaths *deaths)
{
	if (!deaths)
		return;
	while (deaths->link_count)
		gy_detach(&deaths->links[--deaths->link_count]);
	if (deaths->ring)
		ring_buffer__free(deaths->ring);
	if (deaths->programs)
		alloc_bpf__destroy(deaths->programs);
	free(deaths);
}

void gy_leak_deaths_take(struct gy_leak_deaths *deaths)
{
	if (deaths)
		ring_buffer__consume(deaths->ring);
}
