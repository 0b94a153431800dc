/* page_fuzz.c - the control page and the sampled profile in it: snapshot, profile model, and all
 * forms that a profile is written in. */
#include <unistd.h>
#define usleep(microseconds) ((void)(microseconds))
#include "../../tools/gyre/control.c"
#include "profile_page.h"
/* The maps of this process and the files in them are no input of this fuzzer. */
#define gy_profile_mappings_read(profile, process) ((void)(profile), (void)(process))
#include "../../tools/gyre/profile_page.c"

#include "flame.h"
#include "folded.h"
#include "fuzz.h"
#include "pprof.h"
#include "profile_functions.h"
#include "profile_json.h"
#include "snapshot.h"

static int page = -1;

static const struct gy_symbol *nameless(void *context, uint64_t return_address)
{
	struct gy_symbol *symbol = context;

	symbol->address = return_address;
	return symbol;
}

static void forms(struct gy_profile *profile)
{
	static struct gy_symbol symbol = {.level_count = 1};
	struct gy_profile_functions *functions;
	uint8_t *bytes = NULL;
	size_t length = 0;

	gy_profile_resolve(profile, nameless, &symbol);
	for (size_t type = 0; type < profile->type_count; type++) {
		functions = gy_profile_functions_make(profile, type);
		fuzz_must(functions != NULL);
		json_decref(gy_profile_json(profile, functions, type, 10));
		free(gy_flame_make(profile, functions, type, "a <title> & more"));
		gy_profile_functions_free(functions);
		free(gy_folded_make(profile, type));
	}
	fuzz_must(!gy_pprof_make(profile, &bytes, &length));
	free(bytes);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet(true);
	page = fuzz_file(GYRE_CONTROL_NAME);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct gy_target target = {.pid = getpid(), .pid_fd = -1, .comm = "fuzz", .exe = "/fuzz"};
	struct gyre_control header;
	struct gy_profile *profile;
	struct gy_snapshot snapshot;
	char text[128];
	int error;

	if (length < sizeof(header))
		return 0;
	/* The number of this process: without it all is said (CR-3). */
	memcpy(&header, bytes, sizeof(header));
	header.pid = (uint32_t)getpid();
	fuzz_fill(page, bytes, length);
	fuzz_must(pwrite(page, &header, sizeof(header), 0) == sizeof(header));
	target.control = gy_control_open(target.pid, &error);
	if (!target.control)
		return 0;
	error = gy_control_read(target.control, 0, &snapshot);
	if (!error) {
		gy_snapshot_age_text(&snapshot, target.control, text, sizeof(text));
		if (!gy_profile_from_page(&target, &snapshot, &profile)) {
			forms(profile);
			gy_profile_free(profile);
		}
		gy_snapshot_free(&snapshot);
	}
	gy_control_close(target.control);
	return 0;
}
