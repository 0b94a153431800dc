/* command.c - what each command does. The semantics are Redis's, for those that are here.
 *
 * A command that reads a value looks it up under the shard's lock, and copies it out after the lock
 * is gone: the local variable keeps the object (KV-2), whatever a writer does meanwhile.
 */
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define OK "+OK\r\n"
#define NO_MEMORY "-OOM command not allowed: out of memory\r\n"
#define TOO_LARGE "-OOM value is larger than a quarter of the memory budget\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"

struct call {
	const struct bytes *words;
	size_t count;
	struct output *out;
	uint64_t now_ms;
	enum outcome outcome;
};

static bool same(struct bytes word, const char *text)
{
	return word.length == strlen(text) && !strncasecmp(word.data, text, word.length);
}

static bool integer(const char *data, size_t length, int64_t *number)
{
	char line[32], *end;

	if (!length || length >= sizeof(line) || !strchr("-0123456789", data[0]))
		return false;
	memcpy(line, data, length);
	line[length] = 0;
	errno = 0;
	*number = strtoll(line, &end, 10);
	return !errno && end == line + length;
}

static void reply_stored(struct output *out, enum stored stored)
{
	reply_text(out, stored == STORED ? OK : stored == STORED_TOO_LARGE ? TOO_LARGE : NO_MEMORY);
}

static struct value *value_of(struct bytes word)
{
	struct value *value = value_new(word.length);

	if (value)
		memcpy(value->data, word.data, word.length);
	return value;
}

/* The value of a key, or NULL. */
static struct value *look_up(struct bytes key, uint64_t now_ms)
{
	uint32_t hash;
	struct shard *shard = table_lock(key, &hash);
	struct entry *entry = table_find(shard, hash, key, now_ms);
	struct value *value = entry ? entry->value : NULL;

	table_unlock(shard);
	if (value)
		COUNT(hits, 1);
	else
		COUNT(misses, 1);
	return value;
}

static void reply_value(struct output *out, const struct value *value)
{
	if (value)
		reply_bulk(out, value->data, value->length);
	else
		reply_null(out);
}

/* ---- strings ---- */

static void run_get(struct call *call)
{
	reply_value(call->out, look_up(call->words[1], call->now_ms));
}

static void run_mget(struct call *call)
{
	reply_array(call->out, call->count - 1);
	for (size_t i = 1; i < call->count; i++)
		reply_value(call->out, look_up(call->words[i], call->now_ms));
}

struct conditions {
	bool if_absent, if_present, old;
	uint64_t expires_ms;
};

/* A time from now, or since 1970 (`at`), in units of so many milliseconds. */
static bool when(struct bytes word, int64_t unit_ms, bool at, uint64_t now_ms, uint64_t *expires_ms)
{
	int64_t number;

	if (!integer(word.data, word.length, &number) || number <= 0 || number > INT64_MAX / 4000)
		return false;
	*expires_ms = (uint64_t)(number * unit_ms) + (at ? 0 : now_ms);
	return true;
}

static const char *set_conditions(struct call *call, struct conditions *set)
{
	for (size_t i = 3; i < call->count; i++) {
		struct bytes word = call->words[i];
		bool seconds = same(word, "EX") || same(word, "EXAT");

		if (same(word, "NX") && !set->if_present) {
			set->if_absent = true;
		} else if (same(word, "XX") && !set->if_absent) {
			set->if_present = true;
		} else if (same(word, "GET")) {
			set->old = true;
		} else if (same(word, "KEEPTTL") && !set->expires_ms) {
			set->expires_ms = KEEP;
		} else if ((seconds || same(word, "PX") || same(word, "PXAT")) &&
			   !set->expires_ms && i + 1 < call->count) {
			if (!when(call->words[++i], seconds ? 1000 : 1, word.length == 4,
				  call->now_ms, &set->expires_ms))
				return "-ERR invalid expire time in 'set' command\r\n";
		} else {
			return SYNTAX;
		}
	}
	return NULL;
}

static void set(struct call *call, struct bytes key, struct bytes word, struct conditions how)
{
	struct value *value = value_of(word), *old;
	struct shard *shard;
	struct entry *entry;
	enum stored stored = STORED;
	bool done;
	uint32_t hash;

	if (!value) {
		reply_text(call->out, NO_MEMORY);
		return;
	}
	shard = table_lock(key, &hash);
	entry = how.if_absent || how.if_present || how.old
			? table_find(shard, hash, key, call->now_ms) : NULL;
	old = entry ? entry->value : NULL;
	done = (!how.if_absent || !entry) && (!how.if_present || entry);
	if (done)
		stored = table_store(shard, hash, key, value, how.expires_ms);
	table_unlock(shard);
	if (stored != STORED)
		reply_stored(call->out, stored);
	else if (how.old)
		reply_value(call->out, old);
	else if (done)
		reply_text(call->out, OK);
	else
		reply_null(call->out);
}

static void run_set(struct call *call)
{
	struct conditions how = {0};
	const char *error = call->count > 3 ? set_conditions(call, &how) : NULL;

	if (error)
		reply_text(call->out, error);
	else
		set(call, call->words[1], call->words[2], how);
}

static void run_setnx(struct call *call)
{
	uint32_t hash;
	struct value *value = value_of(call->words[2]);
	struct shard *shard;
	bool there;
	enum stored stored = STORED;

	if (!value) {
		reply_text(call->out, NO_MEMORY);
		return;
	}
	shard = table_lock(call->words[1], &hash);
	there = table_find(shard, hash, call->words[1], call->now_ms);
	if (!there)
		stored = table_store(shard, hash, call->words[1], value, 0);
	table_unlock(shard);
	if (stored != STORED)
		reply_stored(call->out, stored);
	else
		reply_integer(call->out, !there);
}

static void set_for(struct call *call, int64_t unit_ms)
{
	struct conditions how = {0};

	if (when(call->words[2], unit_ms, false, call->now_ms, &how.expires_ms))
		set(call, call->words[1], call->words[3], how);
	else
		reply_text(call->out, "-ERR invalid expire time\r\n");
}

static void run_setex(struct call *call)
{
	set_for(call, 1000);
}

static void run_psetex(struct call *call)
{
	set_for(call, 1);
}

static void run_getset(struct call *call)
{
	set(call, call->words[1], call->words[2], (struct conditions){.old = true});
}

static void run_mset(struct call *call)
{
	enum stored stored = STORED;

	if (call->count % 2 == 0) {
		reply_error(call->out, "ERR wrong number of arguments for 'mset' command");
		return;
	}
	for (size_t i = 1; i < call->count && stored == STORED; i += 2) {
		struct value *value = value_of(call->words[i + 1]);
		struct shard *shard;
		uint32_t hash;

		if (!value) {
			stored = STORED_NO_MEMORY;
			break;
		}
		shard = table_lock(call->words[i], &hash);
		stored = table_store(shard, hash, call->words[i], value, 0);
		table_unlock(shard);
	}
	reply_stored(call->out, stored);
}

static void run_strlen(struct call *call)
{
	struct value *value = look_up(call->words[1], call->now_ms);

	reply_integer(call->out, value ? (int64_t)value->length : 0);
}

static void run_append(struct call *call)
{
	struct bytes key = call->words[1], more = call->words[2];
	uint32_t hash;
	struct shard *shard = table_lock(key, &hash);
	struct entry *entry = table_find(shard, hash, key, call->now_ms);
	size_t before = entry ? entry->value->length : 0;
	struct value *value = before + more.length > BULK_MOST ? NULL
							       : value_new(before + more.length);
	enum stored stored = STORED_NO_MEMORY;

	if (value) {
		if (before)
			memcpy(value->data, entry->value->data, before);
		memcpy(value->data + before, more.data, more.length);
		stored = table_store(shard, hash, key, value, entry ? KEEP : 0);
	}
	table_unlock(shard);
	if (stored == STORED)
		reply_integer(call->out, (int64_t)(before + more.length));
	else
		reply_stored(call->out, stored);
}

static void add(struct call *call, int64_t by)
{
	struct bytes key = call->words[1];
	uint32_t hash;
	struct shard *shard = table_lock(key, &hash);
	struct entry *entry = table_find(shard, hash, key, call->now_ms);
	enum stored stored = STORED_NO_MEMORY;
	struct value *value;
	int64_t number = 0;
	char text[32];

	if ((entry && !integer(entry->value->data, entry->value->length, &number)) ||
	    __builtin_add_overflow(number, by, &number)) {
		table_unlock(shard);
		reply_text(call->out, NOT_INTEGER);
		return;
	}
	snprintf(text, sizeof(text), "%" PRId64, number);
	value = value_of((struct bytes){text, strlen(text)});
	if (value)
		stored = table_store(shard, hash, key, value, entry ? KEEP : 0);
	table_unlock(shard);
	if (stored == STORED)
		reply_integer(call->out, number);
	else
		reply_stored(call->out, stored);
}

static void run_incr(struct call *call)
{
	add(call, 1);
}

static void run_decr(struct call *call)
{
	add(call, -1);
}

static void add_by(struct call *call, bool down)
{
	int64_t by;

	if (!integer(call->words[2].data, call->words[2].length, &by) || (down && by == INT64_MIN))
		reply_text(call->out, NOT_INTEGER);
	else
		add(call, down ? -by : by);
}

static void run_incrby(struct call *call)
{
	add_by(call, false);
}

static void run_decrby(struct call *call)
{
	add_by(call, true);
}

/* ---- keys ---- */

static void run_del(struct call *call)
{
	int64_t removed = 0;

	for (size_t i = 1; i < call->count; i++) {
		uint32_t hash;
		struct shard *shard = table_lock(call->words[i], &hash);

		removed += table_remove(shard, hash, call->words[i], call->now_ms);
		table_unlock(shard);
	}
	reply_integer(call->out, removed);
}

static void run_exists(struct call *call)
{
	int64_t there = 0;

	for (size_t i = 1; i < call->count; i++)
		there += look_up(call->words[i], call->now_ms) != NULL;
	reply_integer(call->out, there);
}

static void run_type(struct call *call)
{
	reply_text(call->out, look_up(call->words[1], call->now_ms) ? "+string\r\n" : "+none\r\n");
}

static void expire(struct call *call, int64_t unit_ms, bool at)
{
	struct bytes key = call->words[1];
	struct shard *shard;
	struct entry *entry;
	int64_t number;
	uint32_t hash;

	if (!integer(call->words[2].data, call->words[2].length, &number) ||
	    number > INT64_MAX / 4000 || number < INT64_MIN / 4000) {
		reply_text(call->out, NOT_INTEGER);
		return;
	}
	number = number * unit_ms + (at ? 0 : (int64_t)call->now_ms);
	shard = table_lock(key, &hash);
	entry = table_find(shard, hash, key, call->now_ms);
	if (entry && number <= (int64_t)call->now_ms)
		table_remove(shard, hash, key, call->now_ms);
	else if (entry)
		table_expire_at(shard, entry, (uint64_t)number);
	table_unlock(shard);
	reply_integer(call->out, entry != NULL);
}

static void run_expire(struct call *call)
{
	expire(call, 1000, false);
}

static void run_pexpire(struct call *call)
{
	expire(call, 1, false);
}

static void run_expireat(struct call *call)
{
	expire(call, 1000, true);
}

static void run_persist(struct call *call)
{
	uint32_t hash;
	struct shard *shard = table_lock(call->words[1], &hash);
	struct entry *entry = table_find(shard, hash, call->words[1], call->now_ms);
	bool had = entry && entry->expires_ms;

	if (had)
		table_expire_at(shard, entry, 0);
	table_unlock(shard);
	reply_integer(call->out, had);
}

static void left(struct call *call, uint64_t unit_ms)
{
	uint32_t hash;
	struct shard *shard = table_lock(call->words[1], &hash);
	struct entry *entry = table_find(shard, hash, call->words[1], call->now_ms);
	int64_t answer = !entry ? -2 : -1;

	if (entry && entry->expires_ms)
		answer = (int64_t)((entry->expires_ms - call->now_ms + unit_ms / 2) / unit_ms);
	table_unlock(shard);
	reply_integer(call->out, answer);
}

static void run_ttl(struct call *call)
{
	left(call, 1000);
}

static void run_pttl(struct call *call)
{
	left(call, 1);
}

static void run_dbsize(struct call *call)
{
	reply_integer(call->out, (int64_t)table_count());
}

static void run_flush(struct call *call)
{
	janitor_clear();
	reply_text(call->out, OK);
}

/* ---- server ---- */

static void run_ping(struct call *call)
{
	if (call->count > 1)
		reply_bulk(call->out, call->words[1].data, call->words[1].length);
	else
		reply_text(call->out, "+PONG\r\n");
}

static void run_echo(struct call *call)
{
	reply_bulk(call->out, call->words[1].data, call->words[1].length);
}

static void run_select(struct call *call)
{
	int64_t number;

	if (integer(call->words[1].data, call->words[1].length, &number) && number == 0)
		reply_text(call->out, OK);
	else
		reply_error(call->out, "ERR DB index is out of range: there is one, 0");
}

static void run_config(struct call *call)
{
	if (same(call->words[1], "GET") && call->count > 2) {
		reply_array(call->out, 2);
		reply_bulk(call->out, call->words[2].data, call->words[2].length);
		reply_bulk(call->out, "", 0);
	} else if (same(call->words[1], "RESETSTAT")) {
		reply_text(call->out, OK);
	} else {
		reply_error(call->out, "ERR CONFIG has GET and RESETSTAT here");
	}
}

static void run_nothing_to_tell(struct call *call)
{
	reply_array(call->out, 0);
}

static void run_client(struct call *call)
{
	if (same(call->words[1], "GETNAME"))
		reply_null(call->out);
	else
		reply_text(call->out, OK);
}

static void run_quit(struct call *call)
{
	reply_text(call->out, OK);
	call->outcome = CLOSE;
}

static void run_shutdown(struct call *call)
{
	call->outcome = SHUT_DOWN;
}

/* DEBUG LEAK n: forgets n blocks of malloc's on purpose, for `gyre leak scan` to find. */
static __attribute__((noinline)) void forget_a_session(size_t bytes)
{
	char *volatile session = malloc(bytes);

	if (session)
		memset(session, 0, bytes);
	session = NULL;
}

static void run_debug(struct call *call)
{
	int64_t number = 0;

	if (same(call->words[1], "SLEEP") && call->count == 3 &&
	    integer(call->words[2].data, call->words[2].length, &number) && number < 60) {
		gyre_blocking_begin();
		sleep((unsigned)number);
		gyre_blocking_end();
	} else if (same(call->words[1], "LEAK") && call->count == 3 &&
		   integer(call->words[2].data, call->words[2].length, &number) &&
		   number >= 0 && number <= 1000000) {
		for (int64_t i = 0; i < number; i++)
			forget_a_session(700);
	} else {
		reply_error(call->out, "ERR DEBUG has SLEEP seconds and LEAK blocks");
		return;
	}
	reply_text(call->out, OK);
}

static __attribute__((format(printf, 4, 5))) void put(char *text, size_t room, size_t *length,
						      const char *format, ...)
{
	va_list arguments;
	int put;

	va_start(arguments, format);
	put = vsnprintf(text + *length, room - *length, format, arguments);
	va_end(arguments);
	if (put > 0 && (size_t)put < room - *length)
		*length += (size_t)put;
}

static void run_info(struct call *call)
{
	struct gyre_gc_stats gc;
	struct gyre_stats heap;
	char text[4096];
	size_t length = 0;

	gyre_gc_stats(&gc);
	gyre_stats_read(&heap, sizeof(heap));
#define LINE(name, value) TEXT(name ":%" PRIu64 "\r\n", (uint64_t)(value))
#define TEXT(...) put(text, sizeof(text), &length, __VA_ARGS__)
	TEXT("# Server\r\nredis_version:7.0.0\r\nserver_name:gyre-kv\r\ngyre_version:%s\r\n",
	     gyre_version());
	LINE("process_id", getpid());
	LINE("tcp_port", options.port);
	LINE("io_threads", options.threads);
	TEXT("\r\n# Clients\r\n");
	LINE("connected_clients", COUNTED(connections));
	LINE("maxclients", options.connections);
	TEXT("\r\n# Memory\r\nmaxmemory_policy:allkeys-lru\r\n");
	LINE("used_memory", table_bytes());
	LINE("maxmemory", options.memory_bytes);
	TEXT("\r\n# Stats\r\n");
	LINE("total_connections_received", COUNTED(connections_total));
	LINE("rejected_connections", COUNTED(refused));
	LINE("total_commands_processed", COUNTED(commands));
	LINE("keyspace_hits", COUNTED(hits));
	LINE("keyspace_misses", COUNTED(misses));
	LINE("expired_keys", COUNTED(expired));
	LINE("evicted_keys", COUNTED(evicted));
	LINE("log_lines_dropped", COUNTED(log_dropped));
	TEXT("\r\n# Gyre heap\r\n");
	LINE("heap_alloc", heap.heap_alloc);
	LINE("heap_inuse", heap.heap_inuse);
	LINE("heap_idle", heap.heap_idle);
	LINE("heap_released", heap.heap_released);
	LINE("mallocs", heap.mallocs);
	LINE("frees", heap.frees);
	TEXT("\r\n# Gyre collector\r\ngc_heap_growth_rate:%.2f\r\n", gc.heap_growth_rate);
	LINE("gc_cycles", gc.cycles);
	LINE("gc_heap_live", gc.heap_live_bytes);
	LINE("gc_heap_inuse", gc.heap_inuse_bytes);
	LINE("gc_heap_goal", gc.heap_goal_bytes);
	LINE("gc_pause_max_us", gc.pause_max_ns / 1000);
	LINE("gc_pause_total_us", gc.pause_total_ns / 1000);
	LINE("gc_mark_cpu_ms", gc.mark_cpu_ns / 1000000);
	LINE("gc_assists", gc.assists);
	LINE("gc_memory_limit", gc.memory_limit_bytes);
	TEXT("\r\n# Keyspace\r\ndb0:keys=%zu\r\n", table_count());
#undef LINE
#undef TEXT
	reply_bulk(call->out, text, length);
}

/* ---- which is which ---- */

static const struct command {
	const char *name;
	size_t least, most; /* words, the name included */
	void (*run)(struct call *call);
} commands[] = {
	{"GET", 2, 2, run_get},
	{"SET", 3, 8, run_set},
	{"PING", 1, 2, run_ping},
	{"INCR", 2, 2, run_incr},
	{"DEL", 2, SIZE_MAX, run_del},
	{"MGET", 2, SIZE_MAX, run_mget},
	{"MSET", 3, SIZE_MAX, run_mset},
	{"EXISTS", 2, SIZE_MAX, run_exists},
	{"EXPIRE", 3, 3, run_expire},
	{"PEXPIRE", 3, 3, run_pexpire},
	{"EXPIREAT", 3, 3, run_expireat},
	{"TTL", 2, 2, run_ttl},
	{"PTTL", 2, 2, run_pttl},
	{"PERSIST", 2, 2, run_persist},
	{"SETEX", 4, 4, run_setex},
	{"PSETEX", 4, 4, run_psetex},
	{"SETNX", 3, 3, run_setnx},
	{"GETSET", 3, 3, run_getset},
	{"APPEND", 3, 3, run_append},
	{"STRLEN", 2, 2, run_strlen},
	{"DECR", 2, 2, run_decr},
	{"INCRBY", 3, 3, run_incrby},
	{"DECRBY", 3, 3, run_decrby},
	{"UNLINK", 2, SIZE_MAX, run_del},
	{"TYPE", 2, 2, run_type},
	{"ECHO", 2, 2, run_echo},
	{"DBSIZE", 1, 1, run_dbsize},
	{"FLUSHALL", 1, 2, run_flush},
	{"FLUSHDB", 1, 2, run_flush},
	{"SELECT", 2, 2, run_select},
	{"INFO", 1, SIZE_MAX, run_info},
	{"CONFIG", 2, SIZE_MAX, run_config},
	{"COMMAND", 1, SIZE_MAX, run_nothing_to_tell},
	{"CLIENT", 2, SIZE_MAX, run_client},
	{"DEBUG", 2, 3, run_debug},
	{"QUIT", 1, 1, run_quit},
	{"SHUTDOWN", 1, 2, run_shutdown},
};

enum outcome command_run(const struct bytes *words, size_t count, struct output *out,
			 uint64_t now_ms)
{
	struct call call = {words, count, out, now_ms, GO_ON};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		const struct command *command = &commands[i];

		if ((words[0].data[0] | 0x20) != (command->name[0] | 0x20) ||
		    !same(words[0], command->name))
			continue;
		if (count < command->least || count > command->most)
			reply_error(out, "ERR wrong number of arguments for '%s' command",
				    command->name);
		else
			command->run(&call);
		return call.outcome;
	}
	reply_error(out, "ERR unknown command '%.*s'",
		    (int)(words[0].length < 64 ? words[0].length : 64), words[0].data);
	return GO_ON;
}
