/* leak_scan.c - `gyre leak scan`: which blocks of a running process can nothing reach?
 *
 * The words become a request (leak_client.h), the result becomes findings (leak_findings.h), and
 * these a table, JSON, a pprof file, folded stacks or a flame graph. `save` writes the JSON, which
 * a later `since` takes off.
 *
 * The exit status is 1 where something is lost that is neither known nor suppressed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flame.h"
#include "folded.h"
#include "leak.h"
#include "leak_findings.h"
#include "output.h"
#include "output_file.h"
#include "output_form.h"
#include "pprof.h"
#include "snapshot.h"
#include "words.h"

#define TOP_DEFAULT 20

struct request {
	struct gy_target target;
	struct gyre_control_leak asked;
	struct gy_leak_findings findings;
	const char *suppressions, *since, *save, *output;
	enum gy_form form;
};

/* ---------------------------------------------------------------- the command line */

static int path_read(int *argc, char ***argv, const char **path)
{
	if (*argc < 2 || !*(*argv)[1])
		return gy_out_error("'%s' needs a path behind it", **argv);
	*path = (*argv)[1];
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int form_read(struct request *request, int *argc, char ***argv)
{
	for (int form = FORM_TEXT; form <= FORM_FLAME && *argc > 1; form++)
		if (gy_word_is((*argv)[1], gy_form_names[form])) {
			request->form = (enum gy_form)form;
			*argc -= 2;
			*argv += 2;
			return 0;
		}
	return gy_out_error("'format' needs text, pprof, folded, json or svg behind it");
}

static int proof_read(struct gyre_control_leak *asked, int *argc, char ***argv)
{
	if (*argc < 2 ||
	    !(gy_word_is((*argv)[1], "stop") || gy_word_is((*argv)[1], "concurrent")))
		return gy_out_error("'proof' needs concurrent or stop behind it");
	if (gy_word_is((*argv)[1], "stop"))
		asked->flags |= GYRE_LEAK_STOP;
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int mask_read(struct gyre_control_leak *asked, int *argc, char ***argv)
{
	char *end = NULL;

	if (*argc > 1)
		asked->tag_mask = strtoull((*argv)[1], &end, 0);
	if (!end || end == (*argv)[1] || *end || *(*argv)[1] == '-')
		return gy_out_error("'tag-mask' needs a number behind it, such as "
				    "0xff00000000000007");
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int milliseconds_read(int *argc, char ***argv, uint32_t *ms)
{
	uint64_t ns = 0;
	int error = gy_words_seconds(argc, argv, &ns);

	if (!error && (ns / 1000000 > UINT32_MAX || ns < 1000000))
		return gy_out_error("a scan stops after 1ms to 49 days");
	*ms = (uint32_t)(ns / 1000000);
	return error;
}

static int number_read(int *argc, char ***argv, uint64_t least, uint64_t most, uint32_t scale,
		       uint32_t *value)
{
	uint64_t number = 0;
	int error = gy_words_u64(argc, argv, false, least, most, &number);

	*value = (uint32_t)number * scale;
	return error;
}

int gy_leak_asked_word(struct gyre_control_leak *asked, int *argc, char ***argv)
{
	const char *word = **argv;

	if (gy_leak_word(word, "exact")) {
		asked->flags |= GYRE_LEAK_EXACT;
		--*argc;
		++*argv;
		return 0;
	}
	if (gy_leak_word(word, "tag-mask"))
		return mask_read(asked, argc, argv);
	if (gy_leak_word(word, "cpu"))
		return number_read(argc, argv, 1, 100, 10, &asked->share_permille);
	if (gy_leak_word(word, "memory"))
		return gy_words_u64(argc, argv, true, 1 << 20, UINT64_MAX, &asked->memory_bytes);
	if (gy_leak_word(word, "stop-after"))
		return milliseconds_read(argc, argv, &asked->stop_after_ms);
	return gy_out_error("'%s' is no keyword here; 'gyre leak help' lists them", word);
}

static int word_read(struct request *request, int *argc, char ***argv)
{
	const char *word = **argv;

	if (gy_leak_word(word, "rounds"))
		return number_read(argc, argv, 2, GYRE_LEAK_ROUNDS, 1, &request->asked.rounds);
	if (gy_leak_word(word, "proof"))
		return proof_read(&request->asked, argc, argv);
	if (gy_leak_word(word, "suppressions"))
		return path_read(argc, argv, &request->suppressions);
	if (gy_leak_word(word, "since"))
		return path_read(argc, argv, &request->since);
	if (gy_leak_word(word, "save"))
		return path_read(argc, argv, &request->save);
	if (gy_leak_word(word, "format"))
		return form_read(request, argc, argv);
	if (gy_leak_word(word, "output"))
		return path_read(argc, argv, &request->output);
	if (gy_leak_word(word, "top"))
		return gy_words_u64(argc, argv, false, 0, UINT32_MAX, &request->findings.top);
	return gy_leak_asked_word(&request->asked, argc, argv);
}

/* A name says what the file is; 'format' overrules it. */
static enum gy_form form_by_name(const char *path)
{
	enum gy_form form = path ? gy_form_by_path(path) : FORM_UNSET;

	if (form != FORM_UNSET)
		return form;
	return path || gy_out_is_json() ? FORM_JSON : FORM_TEXT;
}

static int words_read(struct request *request, int argc, char **argv)
{
	int error = 0;

	while (argc && !error)
		error = word_read(request, &argc, &argv);
	if (error)
		return error;
	if (request->form == FORM_UNSET)
		request->form = form_by_name(request->output);
	if (gy_out_is_json() && !request->output && request->form == FORM_TEXT)
		request->form = FORM_JSON;
	if (gy_out_is_json() && !request->output && request->form != FORM_JSON)
		return gy_out_error("under -j, standard output is JSON: add 'output FILE'");
	if (request->output && request->form == FORM_TEXT)
		return gy_out_error("a file is pprof, folded, json or svg");
	if (request->suppressions) {
		request->findings.suppressions = gy_suppressions_read(request->suppressions);
		error = request->findings.suppressions ? 0 : -1;
	}
	if (!error && request->since) {
		request->findings.base = gy_leak_base_read(request->since);
		error = request->findings.base ? 0 : -1;
	}
	return error;
}

/* ---------------------------------------------------------------- the result */

static int json_bytes(const struct gy_leak_findings *findings, char **bytes)
{
	json_t *document = gy_leak_json(findings, SIZE_MAX);

	*bytes = json_dumps(document, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	json_decref(document);
	return *bytes ? 0 : -1;
}

static int flame_bytes(const struct request *request, struct gy_profile *profile, char **bytes)
{
	struct gy_profile_functions *functions =
		gy_profile_functions_make(profile, LEAK_LOST_SPACE);
	char title[GY_COMM_BYTES + 64];

	snprintf(title, sizeof(title), "%s (pid %d): lost, estimated from samples",
		 request->target.comm, request->target.pid);
	*bytes = functions ? gy_flame_make(profile, functions, LEAK_LOST_SPACE, title) : NULL;
	gy_profile_functions_free(functions);
	return *bytes ? 0 : -1;
}

static int profile_bytes(const struct request *request, char **bytes, size_t *length)
{
	struct gy_profile *profile = gy_leak_profile(&request->findings);
	uint8_t *packed = NULL;
	int error = profile ? 0 : -1;

	if (!error)
		gy_profile_resolve(profile, gy_profile_find_live, request->findings.symbols);
	if (!error && request->form == FORM_PPROF) {
		error = gy_pprof_make(profile, &packed, length);
		*bytes = (char *)packed;
	} else if (!error && request->form == FORM_FLAME) {
		error = flame_bytes(request, profile, bytes);
	} else if (!error) {
		*bytes = gy_folded_make(profile, LEAK_LOST_SPACE);
		error = *bytes ? 0 : -1;
	}
	gy_profile_free(profile);
	return error;
}

static int file_out(const struct request *request)
{
	char *bytes = NULL, size[GY_OUT_TEXT];
	size_t length = 0;
	int error = request->form == FORM_JSON ? json_bytes(&request->findings, &bytes)
					       : profile_bytes(request, &bytes, &length);

	if (error || !bytes) {
		free(bytes);
		return gy_out_error("no memory for the result");
	}
	if (request->form != FORM_PPROF)
		length = strlen(bytes);
	if (request->output)
		error = gy_output_file(request->output, bytes, length);
	else if (request->form == FORM_PPROF || request->form == FORM_FLAME)
		error = gy_output_stdout(bytes, length,
					 request->form == FORM_PPROF ? "a pprof file" : "an SVG");
	else
		fwrite(bytes, 1, length, stdout);
	free(bytes);
	if (!error && request->output)
		gy_out_info("Wrote %s: %s, %s", request->output, gy_form_names[request->form],
			    gy_out_bytes(size, length));
	return error;
}

static int save(const struct request *request)
{
	char *bytes = NULL;
	int error = json_bytes(&request->findings, &bytes);

	error = error ? gy_out_error("no memory for the result")
		      : gy_output_file(request->save, bytes, strlen(bytes));
	free(bytes);
	return error;
}

static int result_out(const struct request *request)
{
	json_t *document, *value;
	const char *key;

	if (request->save && save(request))
		return -1;
	if (request->output || (request->form != FORM_TEXT && !gy_out_is_json())) {
		if (file_out(request))
			return -1;
	} else if (gy_out_is_json()) {
		document = gy_leak_json(&request->findings,
					request->findings.top ? (size_t)request->findings.top
							      : TOP_DEFAULT);
		gy_out_begin(NULL, NULL);
		json_object_foreach(document, key, value)
		{
			gy_out_json(key, json_incref(value));
		}
		gy_out_end();
		json_decref(document);
	} else {
		gy_leak_text(&request->findings);
	}
	return gy_leak_found(&request->findings) ? GY_RESULT_FOUND : 0;
}

static int scan(struct request *request)
{
	struct gy_leak_findings *findings = &request->findings;
	struct gy_snapshot snapshot;
	int error = gy_control_read(request->target.control, GY_SNAPSHOT_WAIT_MS, &snapshot);

	if (error)
		return gy_out_error("process %d (%s): %s", request->target.pid,
				    request->target.comm, gy_control_error(error));
	findings->start_ns = snapshot.header.start_ns;
	gy_snapshot_free(&snapshot);
	findings->symbols = gy_symbols_open(request->target.pid);
	if (!findings->symbols)
		return gy_out_error("no memory for symbols");
	error = gy_leak_scan_run(&request->target, &request->asked, &findings->result);
	if (!error)
		error = gy_leak_findings_make(findings);
	return error ? error : result_out(request);
}

int gy_leak_scan(int argc, char **argv)
{
	struct request *request = calloc(1, sizeof(*request));
	int error;

	if (!request)
		return gy_out_error("no memory");
	request->asked.operation = GYRE_LEAK_SCAN;
	request->findings.target = &request->target;
	request->findings.top = TOP_DEFAULT;
	error = gy_target_arguments(&argc, &argv, &request->target, TARGET_CONTROL);
	if (!error) {
		error = words_read(request, argc, argv);
		if (!error)
			error = scan(request);
		gy_leak_findings_fini(&request->findings);
		gy_target_close(&request->target);
	}
	free(request);
	return error;
}
