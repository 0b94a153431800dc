/* kv.h - a cache server with Redis's protocol (RESP2) on all of Gyre: its parts, who may do what.
 *
 *	main.c      options, start, graceful stop
 *	net.c       threads that serve connections, each on an io_uring of its own; the acceptor
 *	resp.c      bytes to commands, replies to bytes
 *	command.c   what each command does
 *	table.c     the entries, on the collected heap: shards, time to live, least recently used
 *	janitor.c   channels to two threads: one removes what is over its time, one writes the log
 *
 * What lives where: entries and values are objects of the collector's, and nobody frees them: a
 * reader that has looked up a value keeps it by holding it in a local variable, while a writer
 * replaces it. Connections and their buffers are malloc'd and freed by their thread.
 *
 * KV-1  A malloc'd block holds no pointer to an object.
 * KV-2  A value never changes once it is in the table; an entry does, under its shard's lock.
 * KV-3  Every wait of a thread is a blocking region (or a channel's, which is one).
 * KV-4  A connection belongs to one thread from the channel on that brought it there.
 */
#ifndef KV_H
#define KV_H

#include <gyre/gc.h>
#include <gyre/gyre.h>
#include <gyre/sync.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
	uint16_t port;
	unsigned threads;
	uint64_t connections; /* at once; beyond, a new one is told so and closed */
	uint64_t memory_bytes; /* of entries and values; beyond, the least recently used go */
	const char *bind;
};

extern struct options options;

/* Counters: each added to by any thread, relaxed. */
struct counters {
	uint64_t connections, connections_total, refused;
	uint64_t commands, hits, misses, expired, evicted, log_dropped;
};

extern struct counters counters;

#define COUNT(what, n) __atomic_fetch_add(&counters.what, (n), __ATOMIC_RELAXED)
#define COUNTED(what) __atomic_load_n(&counters.what, __ATOMIC_RELAXED)

uint64_t clock_ms(void); /* since 1970 */

/* ---- table.c ---- */

struct bytes {
	const char *data;
	size_t length;
};

/* KV-2 */
struct value {
	size_t length;
	char data[];
};

struct entry {
	struct entry *next; /* [shard] in its bucket */
	struct value *value; /* [shard] */
	uint64_t expires_ms; /* [shard] 0: never */
	uint32_t hash;
	uint32_t used; /* [shard] the shard's clock when it was looked up last */
	uint32_t key_length;
	char key[];
};

struct shard;

bool table_init(void);
struct shard *table_lock(struct bytes key, uint32_t *hash);
void table_unlock(struct shard *shard); /* and evicts, where there is more than the budget */

/* With the shard locked: the entry, or NULL. What is over its time is removed first. */
struct entry *table_find(struct shard *shard, uint32_t hash, struct bytes key, uint64_t now_ms);

enum stored { STORED, STORED_NO_MEMORY, STORED_TOO_LARGE };
/* expires_ms: KEEP leaves it as it is. */
#define KEEP UINT64_MAX
enum stored table_store(struct shard *shard, uint32_t hash, struct bytes key, struct value *value,
			uint64_t expires_ms);
bool table_remove(struct shard *shard, uint32_t hash, struct bytes key, uint64_t now_ms);

struct value *value_new(size_t length); /* NULL: no memory */

void table_expire_at(struct shard *shard, struct entry *entry, uint64_t expires_ms);
void table_expire(uint64_t now_ms); /* a part of the table; called again and again */
void table_clear(void);
size_t table_count(void);
uint64_t table_bytes(void);

/* ---- resp.c ---- */

/* Bytes on their way out. */
struct output {
	char *data;
	size_t length, room;
	bool failed; /* no memory: the connection is to be closed */
};

void reply_raw(struct output *out, const char *data, size_t length);
void reply_text(struct output *out, const char *text); /* whole, with its \r\n */
void reply_error(struct output *out, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void reply_integer(struct output *out, int64_t number);
void reply_bulk(struct output *out, const char *data, size_t length);
void reply_null(struct output *out);
void reply_array(struct output *out, size_t count);

#define WORDS_MOST (1u << 20)
#define BULK_MOST (64u << 20)
#define LINE_MOST (64u << 10)

/* A command that is still coming in. Offsets, since the buffer moves. */
struct parser {
	size_t at;      /* of the next byte to look at */
	size_t wanted;  /* words of the command; 0: none has begun */
	size_t count;   /* words there */
	size_t room;
	struct word {
		size_t offset, length;
	} *words;
};

enum parsed { PARSED, PARSED_MORE, PARSED_ERROR, PARSED_NO_MEMORY };
enum parsed parse(struct parser *parser, const char *data, size_t length, const char **error);
void parser_next(struct parser *parser); /* forget the command, go on behind it */

/* ---- command.c ---- */

enum outcome { GO_ON, CLOSE, SHUT_DOWN };
enum outcome command_run(const struct bytes *words, size_t count, struct output *out,
			 uint64_t now_ms);

/* ---- net.c ---- */

bool net_start(void); /* false: said why */
void net_stop(void);  /* answers what has come, closes */

/* ---- janitor.c ---- */

bool janitor_start(void);
void janitor_clear(void); /* ask for the table to be emptied; waits until it is */
void janitor_stop(void);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- main.c ---- */

void ask_to_stop(void);

#endif
