/* output.h - one emitter: each command says its facts once, and they come out as text or as JSON.
 *
 *      text (default)                          -j, -p
 *      gy_out_begin  a titled section          an object (nested: under `key`)
 *      gy_out_list   a table                   an array of objects under `key`
 *      gy_out_row    next line of the table    next object
 *      gy_out_u64 .. a labelled line, or a     a member `key`
 *                    cell of the open row
 *      gy_out_stream events as they happen     an array that grows while it is written
 *
 * OUT-1  Under JSON exactly one document reaches stdout, whatever happens: an error, a signal, a
 *        full disk. An error is {"error": "..."}, or the member "error" of a streamed document.
 * OUT-2  Numbers stay numbers in JSON, in base units (bytes, ns); addresses are "0x..." strings.
 * OUT-3  Text that came from a traced process (names, symbols) passes gy_out_clean first: no
 *        control characters, only valid UTF-8. A process must not steer root's terminal.
 * OUT-4  Errors and help go to stderr in text mode; text that only explains ("Tracing ...") too.
 */
#ifndef GYRE_TOOLS_OUTPUT_H
#define GYRE_TOOLS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

enum gy_out_kind {
	OUT_COUNT,   /* 12345 */
	OUT_BYTES,   /* 1.5 MiB; JSON: bytes */
	OUT_NS,      /* 2m05s; JSON: ns */
	OUT_ADDRESS, /* 0x7f..; JSON: the same, as a string */
	OUT_TEXT,
	OUT_BOOL,    /* yes, no */
	OUT_PERCENT, /* 12.3 %; JSON: 12.3 */
};

struct gy_out_column {
	const char *key, *heading;
	enum gy_out_kind kind;
};

void gy_out_init(bool json, bool pretty, bool debug);
bool gy_out_is_json(void);
bool gy_out_is_debug(void);

/* A document is begun by the first call below and finished by gy_out_finish (main.c calls it). */
void gy_out_begin(const char *key, const char *title);
void gy_out_end(void);
void gy_out_list(const char *key, const char *title, const struct gy_out_column *columns,
		 size_t count);
/* gy_out_list_narrow - columns of the open list, "key key key", that a terminal which is too narrow
 * for all does not get: the first first, as many as must go. */
void gy_out_list_narrow(const char *keys);
void gy_out_row(void);
void gy_out_list_end(void);

/* Several documents of one kind in one: as JSON an array of what each would be alone, as text one
 * behind the other. An error between two calls of gy_out_many_next is that one's alone: the member
 * "error" of its object. */
void gy_out_many_begin(void);
void gy_out_many_next(int pid);
void gy_out_many_end(void);
bool gy_out_is_many(void);

void gy_out_u64(const char *key, const char *label, enum gy_out_kind kind, uint64_t value);
void gy_out_percent(const char *key, const char *label, double part, double whole);
void gy_out_bool(const char *key, const char *label, bool value);
void gy_out_text(const char *key, const char *label, const char *value);
/* gy_out_null - a fact that could not be read: `why` in text, null in JSON. */
void gy_out_null(const char *key, const char *label, const char *why);
/* gy_out_note - a remark behind the last labelled line; text only. */
void gy_out_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* gy_out_line - a line of text of its own; nothing in JSON. */
void gy_out_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* gy_out_json - a member (or array element, key NULL) for JSON only; takes the reference. */
void gy_out_json(const char *key, json_t *value);

void gy_out_stream(const char *key);
void gy_out_stream_event(json_t *event); /* takes the reference */
void gy_out_stream_end(void);

/* gy_out_flush - 0, or -errno when stdout no longer takes what is written. */
int gy_out_flush(void);
/* gy_out_finish - close the document. Returns 0, or -errno as gy_out_flush. */
int gy_out_finish(void);

/* gy_out_error - the one error of a command: `Error: ...`, or {"error": ...}. Returns -1. */
int gy_out_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* gy_out_info - what a person would like to know meanwhile; stderr, not under JSON. */
void gy_out_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Batch mode: documents are collected into one array instead of being written. */
void gy_out_batch_begin(void);
void gy_out_batch_command(int argc, char **argv);

/* gy_out_columns - the width of the terminal on stdout; 0 where it is none.
 * gy_out_cut - how much of a line to show in so many columns, "..." to be put behind it. */
size_t gy_out_columns(void);
size_t gy_out_cut(const char *text, size_t length, size_t columns);

/* Formats; each fills `text` and returns it. */
#define GY_OUT_TEXT 48
const char *gy_out_bytes(char text[GY_OUT_TEXT], uint64_t bytes);
const char *gy_out_ns(char text[GY_OUT_TEXT], uint64_t duration_ns);
const char *gy_out_count(char text[GY_OUT_TEXT], uint64_t count);
void gy_out_clean(char *text);
json_t *gy_out_json_u64(uint64_t value);
json_t *gy_out_json_text(const char *text);
json_t *gy_out_json_address(uint64_t address);
/* gy_out_json_event - what every event of a stream begins with: its name, and its time twice. */
json_t *gy_out_json_event(const char *name, uint64_t time_ns, int64_t wall_offset_ns);

#endif
