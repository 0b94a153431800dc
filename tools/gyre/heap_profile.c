/* heap_profile.c - `gyre heap profile` and `gyre heap flame`: who holds, or allocated, the memory.
 *
 * The sampled profile of a live process (profile_page.h), in the form that was asked for:
 *
 *      text      a table by function, as `pprof -top` has it (the default)
 *      pprof     a file for `go tool pprof`; always with all four values
 *      folded    one line for each stack
 *      json      everything; the same as -j
 *      flame     an SVG (its own command)
 *
 * Without `output` the result is standard output. Under -j that is a JSON document and nothing else
 * (OUT-1): another form then needs a file, and the document says what was written.
 */
#include "heap_profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flame.h"
#include "folded.h"
#include "output.h"
#include "output_file.h"
#include "output_form.h"
#include "pprof.h"
#include "profile_json.h"
#include "profile_page.h"
#include "snapshot.h"
#include "words.h"

#define TOP_DEFAULT 30
#define NAME_SHOWN 90

struct request {
	struct gy_target target;
	struct gy_snapshot snapshot;
	struct gy_symbols *symbols;
	struct gy_profile *profile;
	struct gy_profile_functions *functions;
	bool alloc, objects;
	enum gy_form form;
	const char *output;
	uint64_t top;
	size_t type;
};

/* ---------------------------------------------------------------- text */

static const struct gy_out_column columns[] = {
	{"flat", "FLAT", OUT_BYTES},         {"flat_percent", "FLAT%", OUT_PERCENT},
	{"sum_percent", "SUM%", OUT_PERCENT}, {"cum", "CUM", OUT_BYTES},
	{"cum_percent", "CUM%", OUT_PERCENT}, {"error", "+-", OUT_PERCENT},
	{"function", "FUNCTION", OUT_TEXT},  {"where", "WHERE", OUT_TEXT},
};

static enum gy_out_kind value_kind(const struct request *request)
{
	return request->objects ? OUT_COUNT : OUT_BYTES;
}

static void row_out(const struct request *request, const struct gy_profile_function *function,
		    uint64_t sum)
{
	const char *file = function->file ? strrchr(function->file, '/') : NULL;
	size_t length = strlen(function->name);
	size_t shown = gy_out_cut(function->name, length, NAME_SHOWN);
	double total = (double)request->functions->total;
	char name[NAME_SHOWN + 4], where[256], error[32];

	gy_out_row();
	gy_out_u64("flat", NULL, value_kind(request), function->flat);
	gy_out_percent("flat_percent", NULL, (double)function->flat, total);
	gy_out_percent("sum_percent", NULL, (double)sum, total);
	gy_out_u64("cum", NULL, value_kind(request), function->cum);
	gy_out_percent("cum_percent", NULL, (double)function->cum, total);
	snprintf(error, sizeof(error), "%.0f %%",
		 function->cum ? 100 * function->cum_error / (double)function->cum : 0);
	gy_out_text("error", NULL, error);
	snprintf(name, sizeof(name), "%.*s%s", (int)shown, function->name,
		 shown < length ? "..." : "");
	gy_out_text("function", NULL, name);
	if (function->file)
		snprintf(where, sizeof(where), "%s:%d", file ? file + 1 : function->file,
			 function->line);
	else
		snprintf(where, sizeof(where), "%s%s%s",
			 *function->module && *function->module != '[' ? "[" : "", function->module,
			 *function->module && *function->module != '[' ? "]" : "");
	gy_out_text("where", NULL, where);
}

static void head_text(const struct request *request)
{
	char age[128], total[GY_OUT_TEXT], samples[GY_OUT_TEXT], period[GY_OUT_TEXT];
	const struct gy_profile_functions *functions = request->functions;

	gy_snapshot_age_text(&request->snapshot, request->target.control, age, sizeof(age));
	if (request->objects)
		gy_out_count(total, functions->total);
	else
		gy_out_bytes(total, functions->total);
	gy_out_count(samples, gy_profile_samples(request->profile, request->type));
	gy_out_bytes(period, request->profile->period);
	gy_out_line("%s (pid %d), %s, %s", request->target.comm, request->target.pid,
		    request->alloc ? "allocated since start" : "in use", age);
	gy_out_line("%s: %s, estimated from %s samples (one in %s on average)",
		    request->profile->types[request->type].type, total, samples, period);
	if (request->profile->torn)
		gy_out_line("%llu stacks were being written and may be off by one sample",
			    (unsigned long long)request->profile->torn);
}

static int text_out(const struct request *request)
{
	const struct gy_profile_functions *functions = request->functions;
	uint64_t limit = request->top ? request->top : TOP_DEFAULT, sum = 0, shown = 0, all = 0;

	gy_out_begin(NULL, NULL);
	head_text(request);
	gy_out_list("functions", "", columns, sizeof(columns) / sizeof(columns[0]));
	gy_out_list_narrow("where");
	for (uint32_t i = 0; i < functions->count; i++) {
		const struct gy_profile_function *function = &functions->list[functions->rank[i]];

		if (!function->cum)
			break;
		all++;
		if (shown == limit)
			continue;
		sum = gy_profile_plus(sum, function->flat);
		row_out(request, function, sum);
		shown++;
	}
	gy_out_list_end();
	if (shown < all)
		gy_out_line("%llu more functions; 'top N' shows the first N",
			    (unsigned long long)(all - shown));
	gy_out_end();
	return 0;
}

/* ---------------------------------------------------------------- JSON */

static json_t *document_json(const struct request *request)
{
	json_t *document = json_object();
	json_t *profile = gy_profile_json(request->profile, request->functions, request->type,
					  (size_t)request->top);

	json_object_set_new(document, "pid", json_integer(request->target.pid));
	json_object_set_new(document, "comm", gy_out_json_text(request->target.comm));
	json_object_set_new(document, "fresh",
			    json_boolean(request->snapshot.fresh && !request->snapshot.torn));
	json_object_set_new(document, "kind", json_string(request->alloc ? "alloc" : "inuse"));
	json_object_set_new(document, "by", json_string(request->objects ? "objects" : "space"));
	json_object_update(document, profile);
	json_decref(profile);
	return document;
}

static int json_out(const struct request *request)
{
	json_t *document = document_json(request), *value;
	const char *key;

	gy_out_begin(NULL, NULL);
	json_object_foreach(document, key, value)
	{
		gy_out_json(key, json_incref(value));
	}
	gy_out_end();
	json_decref(document);
	return 0;
}

/* ---------------------------------------------------------------- bytes of a file */

static int no_memory(void)
{
	return gy_out_error("no memory for the profile");
}

static int table_bytes(const struct request *request, char **text)
{
	const struct gy_profile_functions *functions = request->functions;
	size_t length;
	FILE *out = open_memstream(text, &length);

	if (!out)
		return no_memory();
	fprintf(out, "# %s of %s (pid %d): flat, flat %%, cum, cum %%, function, file:line\n",
		request->profile->types[request->type].type, request->target.comm,
		request->target.pid);
	for (uint32_t i = 0; i < functions->count && (!request->top || i < request->top); i++) {
		const struct gy_profile_function *function = &functions->list[functions->rank[i]];
		double total = functions->total ? (double)functions->total / 100 : 1;

		if (!function->cum)
			break;
		fprintf(out, "%llu\t%.2f\t%llu\t%.2f\t%s\t%s:%d\n",
			(unsigned long long)function->flat, (double)function->flat / total,
			(unsigned long long)function->cum, (double)function->cum / total,
			function->name, function->file ? function->file : function->module,
			function->line);
	}
	return fclose(out) ? no_memory() : 0;
}

static int bytes_make(const struct request *request, char **bytes, size_t *length)
{
	char title[GY_COMM_BYTES + 64];
	uint8_t *packed = NULL;
	json_t *document;
	int error = 0;

	*bytes = NULL;
	switch (request->form) {
	case FORM_PPROF:
		error = gy_pprof_make(request->profile, &packed, length);
		*bytes = (char *)packed;
		return error ? gy_out_error("cannot make the profile: %s", strerror(-error)) : 0;
	case FORM_FOLDED:
		*bytes = gy_folded_make(request->profile, request->type);
		break;
	case FORM_JSON:
		document = document_json(request);
		*bytes = json_dumps(document, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
		json_decref(document);
		break;
	case FORM_FLAME:
		snprintf(title, sizeof(title), "%s (pid %d): %s", request->target.comm,
			 request->target.pid,
			 request->alloc ? "allocated since start" : "in use");
		*bytes = gy_flame_make(request->profile, request->functions, request->type, title);
		break;
	case FORM_UNSET:
	case FORM_TEXT:
		error = table_bytes(request, bytes);
		break;
	}
	if (!error && !*bytes)
		error = no_memory();
	*length = *bytes ? strlen(*bytes) : 0;
	return error;
}

static int written_out(const struct request *request, size_t length)
{
	char bytes[GY_OUT_TEXT], stacks[GY_OUT_TEXT];

	if (!gy_out_is_json()) {
		gy_out_bytes(bytes, length);
		gy_out_count(stacks, request->profile->stack_count);
		gy_out_info("Wrote %s: %s, %s stacks, %s", request->output,
			    gy_form_names[request->form], stacks, bytes);
		return 0;
	}
	gy_out_begin(NULL, NULL);
	gy_out_text("output", NULL, request->output);
	gy_out_text("format", NULL, gy_form_names[request->form]);
	gy_out_u64("bytes", NULL, OUT_BYTES, length);
	gy_out_u64("stacks", NULL, OUT_COUNT, request->profile->stack_count);
	gy_out_end();
	return 0;
}

static int result_out(const struct request *request)
{
	char *bytes = NULL;
	size_t length = 0;
	int error;

	if (!request->output && request->form == FORM_JSON && gy_out_is_json())
		return json_out(request);
	if (!request->output && request->form == FORM_TEXT)
		return text_out(request);
	error = bytes_make(request, &bytes, &length);
	if (!error && request->output)
		error = gy_output_file(request->output, bytes, length);
	else if (!error && (request->form == FORM_PPROF || request->form == FORM_FLAME))
		error = gy_output_stdout(bytes, length,
					 request->form == FORM_PPROF ? "a pprof file" : "an SVG");
	else if (!error)
		fwrite(bytes, 1, length, stdout);
	if (!error && request->output)
		error = written_out(request, length);
	free(bytes);
	return error;
}

/* ---------------------------------------------------------------- the command line */

/* The word behind a keyword: its index in `choices`, or -1 with the error told. */
static int choice(int *argc, char ***argv, const char *const *choices, size_t count,
		  const char *expected)
{
	const char *word = *argc > 1 ? (*argv)[1] : "";

	for (size_t i = 0; i < count; i++)
		if (gy_word_is(word, choices[i])) {
			*argc -= 2;
			*argv += 2;
			return (int)i;
		}
	return gy_out_error("'%s' needs %s behind it", **argv, expected);
}

static int parse_form(struct request *request, int *argc, char ***argv)
{
	static const char *const forms[] = {"text", "pprof", "folded", "json"};
	int form = choice(argc, argv, forms, 4, "'text', 'pprof', 'folded' or 'json'");

	if (form < 0)
		return -1;
	request->form = FORM_TEXT + (enum gy_form)form;
	return 0;
}

static int parse_output(struct request *request, int *argc, char ***argv)
{
	if (*argc < 2 || !*(*argv)[1])
		return gy_out_error("'output' needs a path behind it");
	request->output = (*argv)[1];
	*argc -= 2;
	*argv += 2;
	return 0;
}

static int parse(struct request *request, int argc, char **argv)
{
	static const char *const kinds[] = {"inuse", "alloc"}, *const values[] = {"space",
										  "objects"};
	bool flame = request->form == FORM_FLAME;
	int chosen = 0;

	while (argc && chosen >= 0) {
		if (gy_word_is(*argv, "kind")) {
			chosen = choice(&argc, &argv, kinds, 2, "'inuse' or 'alloc'");
			request->alloc = chosen == 1;
		} else if (gy_word_is(*argv, "by")) {
			chosen = choice(&argc, &argv, values, 2, "'space' or 'objects'");
			request->objects = chosen == 1;
		} else if (gy_word_is(*argv, "output")) {
			chosen = parse_output(request, &argc, &argv);
		} else if (!flame && gy_word_is(*argv, "format")) {
			chosen = parse_form(request, &argc, &argv);
		} else if (!flame && gy_word_is(*argv, "top")) {
			chosen = gy_words_u64(&argc, &argv, false, 1, 1000000, &request->top);
		} else {
			return gy_out_error("expected 'kind', 'by', %s'output'%s, got: '%s'?",
					    flame ? "" : "'format', ", flame ? "" : " or 'top'",
					    *argv);
		}
	}
	return chosen < 0 ? -1 : 0;
}

/* A name says what the file is; 'format' overrules it. */
static enum gy_form form_by_name(const char *path)
{
	enum gy_form form = path ? gy_form_by_path(path) : FORM_UNSET;

	if (form != FORM_UNSET)
		return form;
	return gy_out_is_json() && !path ? FORM_JSON : FORM_TEXT;
}

static int form_settle(struct request *request)
{
	if (request->form == FORM_UNSET)
		request->form = form_by_name(request->output);
	request->type = request->alloc ? request->objects ? HEAP_ALLOC_OBJECTS : HEAP_ALLOC_SPACE
			: request->objects ? HEAP_INUSE_OBJECTS
					   : HEAP_INUSE_SPACE;
	if (!gy_out_is_json() || request->output)
		return 0;
	if (request->form == FORM_TEXT)
		request->form = FORM_JSON;
	if (request->form != FORM_JSON)
		return gy_out_error("under -j, standard output is JSON: add 'output FILE'");
	return 0;
}

static int profile_read(struct request *request)
{
	const struct gy_target *target = &request->target;
	int error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &request->snapshot);

	if (!error)
		error = gy_profile_from_page(target, &request->snapshot, &request->profile);
	if (error == -ENODATA)
		return gy_out_error("process %d (%s) does not sample (it runs with sample=0), so "
				    "it has no profile",
				    target->pid, target->comm);
	if (error)
		return gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error));
	request->profile->default_type = request->type;
	request->symbols = gy_symbols_open(target->pid);
	if (!request->symbols)
		return no_memory();
	gy_profile_resolve(request->profile, gy_profile_find_live, request->symbols);
	request->functions = gy_profile_functions_make(request->profile, request->type);
	return request->functions ? 0 : no_memory();
}

static int run(int argc, char **argv, enum gy_form form)
{
	struct request *request = calloc(1, sizeof(*request));
	int error;

	if (!request)
		return no_memory();
	request->form = form;
	error = gy_target_arguments(&argc, &argv, &request->target, TARGET_CONTROL);
	if (!error) {
		error = parse(request, argc, argv);
		if (!error)
			error = form_settle(request);
		if (!error)
			error = profile_read(request);
		if (!error)
			error = result_out(request);
		gy_target_close(&request->target);
	}
	gy_profile_functions_free(request->functions);
	gy_profile_free(request->profile);
	gy_symbols_close(request->symbols);
	gy_snapshot_free(&request->snapshot);
	free(request);
	return error;
}

int gy_heap_profile(int argc, char **argv)
{
	return run(argc, argv, FORM_UNSET);
}

int gy_heap_flame(int argc, char **argv)
{
	return run(argc, argv, FORM_FLAME);
}
