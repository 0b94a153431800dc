/* profile_json.c - see profile_json.h. Numbers in base units, addresses as strings (OUT-2). */
#include "profile_json.h"

#include <string.h>

#include "output.h"

static json_t *text_or_null(const char *text)
{
	return text && *text ? gy_out_json_text(text) : json_null();
}

static json_t *percent(double part, double whole)
{
	return whole > 0 ? json_real((double)(int64_t)(1000 * part / whole + 0.5) / 10)
			 : json_null();
}

static json_t *types_json(const struct gy_profile *profile)
{
	json_t *types = json_array();

	for (size_t i = 0; i < profile->type_count; i++) {
		json_t *type = json_object();

		json_object_set_new(type, "type", json_string(profile->types[i].type));
		json_object_set_new(type, "unit", json_string(profile->types[i].unit));
		json_array_append_new(types, type);
	}
	return types;
}

static json_t *totals_json(const struct gy_profile *profile)
{
	json_t *totals = json_object();

	for (size_t i = 0; i < profile->type_count; i++)
		json_object_set_new(totals, profile->types[i].type,
				    gy_out_json_u64(gy_profile_total(profile, i)));
	return totals;
}

static json_t *functions_json(const struct gy_profile_functions *functions, size_t top)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < functions->count && (!top || i < top); i++) {
		const struct gy_profile_function *function = &functions->list[functions->rank[i]];
		json_t *row = json_object();

		if (!function->cum) { /* of the type that is shown nothing runs through it */
			json_decref(row);
			break;
		}
		json_object_set_new(row, "function", gy_out_json_text(function->name));
		json_object_set_new(row, "module", text_or_null(function->module));
		json_object_set_new(row, "file", text_or_null(function->file));
		json_object_set_new(row, "line",
				    function->file ? json_integer(function->line) : json_null());
		json_object_set_new(row, "flat", gy_out_json_u64(function->flat));
		json_object_set_new(row, "flat_percent",
				    percent((double)function->flat, (double)functions->total));
		json_object_set_new(row, "flat_error",
				    gy_out_json_u64((uint64_t)function->flat_error));
		json_object_set_new(row, "flat_samples", gy_out_json_u64(function->flat_samples));
		json_object_set_new(row, "cum", gy_out_json_u64(function->cum));
		json_object_set_new(row, "cum_percent",
				    percent((double)function->cum, (double)functions->total));
		json_object_set_new(row, "cum_error",
				    gy_out_json_u64((uint64_t)function->cum_error));
		json_object_set_new(row, "cum_samples", gy_out_json_u64(function->cum_samples));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *mappings_json(const struct gy_profile *profile)
{
	json_t *list = json_array();

	for (size_t i = 0; i < profile->mapping_count; i++) {
		const struct gy_profile_mapping *mapping = &profile->mappings[i];
		json_t *row = json_object();

		json_object_set_new(row, "start", gy_out_json_address(mapping->start));
		json_object_set_new(row, "limit", gy_out_json_address(mapping->limit));
		json_object_set_new(row, "offset", gy_out_json_address(mapping->offset));
		json_object_set_new(row, "path", gy_out_json_text(mapping->path));
		json_object_set_new(row, "build_id", text_or_null(mapping->build_id));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *frame_json(const struct gy_profile_location *location)
{
	json_t *frame;

	if (location->symbol)
		return gy_symbols_json(location->symbol);
	frame = json_object();
	json_object_set_new(frame, "address",
			    location->address ? gy_out_json_address(location->address)
					      : json_null());
	return frame;
}

static json_t *stacks_json(const struct gy_profile *profile, size_t type)
{
	json_t *list = json_array();

	for (size_t i = 0; i < profile->stack_count; i++) {
		const struct gy_profile_stack *stack = &profile->stacks[i];
		json_t *row = json_object(), *frames = json_array();

		for (size_t value = 0; value < profile->type_count; value++)
			json_object_set_new(row, profile->types[value].type,
					    gy_out_json_u64(stack->values[value]));
		json_object_set_new(row, "samples", gy_out_json_u64(stack->samples[type]));
		json_object_set_new(row, "cut", json_boolean(stack->cut));
		for (uint32_t frame = 0; frame < stack->depth; frame++)
			json_array_append_new(
				frames,
				frame_json(&profile->locations[profile->frames[stack->first +
									       frame]]));
		json_object_set_new(row, "frames", frames);
		json_array_append_new(list, row);
	}
	return list;
}

json_t *gy_profile_json(const struct gy_profile *profile,
			const struct gy_profile_functions *functions, size_t type, size_t top)
{
	json_t *document = json_object();

	json_object_set_new(document, "period_bytes", gy_out_json_u64(profile->period));
	json_object_set_new(document, "time_ns", json_integer(profile->time_ns));
	json_object_set_new(document, "duration_ns", json_integer(profile->duration_ns));
	json_object_set_new(document, "types", types_json(profile));
	json_object_set_new(document, "type", json_string(profile->types[type].type));
	json_object_set_new(document, "totals", totals_json(profile));
	json_object_set_new(document, "samples",
			    gy_out_json_u64(gy_profile_samples(profile, type)));
	json_object_set_new(document, "torn", gy_out_json_u64(profile->torn));
	json_object_set_new(document, "functions", functions_json(functions, top));
	json_object_set_new(document, "mappings", mappings_json(profile));
	json_object_set_new(document, "stacks", stacks_json(profile, type));
	return document;
}
