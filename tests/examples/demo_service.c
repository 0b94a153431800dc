/* demo_service.c - a small service to look at: `make demo` runs it and points gyre at it.
 *
 *     feeder ──> request queue ──> 3 workers ──> replies (counted, freed)
 *                                    │
 *                                    ├── parse_request     text to fields, many short blocks
 *                                    ├── cache_lookup      a shared LRU cache of documents, tens of MB
 *                                    ├── render_reply      a buffer that grows by realloc
 *                                    └── audit_append      keeps a little of every 50th request: it grows
 *
 * Nothing in here is special: it calls malloc and free, and is linked with -lgyre. The functions have
 * speaking names and are kept out of line, so that the stacks that gyre shows read like the picture.
 * It uses gyre.h in one place, for the line that it prints at the end.
 *
 * demo_service [seconds]   runs until then, or until SIGTERM; prints "ready PID" when it is up.
 */
#include <gyre/gyre.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OUT_OF_LINE __attribute__((noinline))

enum {
	WORKERS = 3,
	QUEUE_SLOTS = 256,
	CACHE_BUCKETS = 4096,
	CACHE_DOCUMENTS = 3000,
	DOCUMENT_KINDS = 20000,
	FIELDS = 8,
	REQUEST_BYTES = 640,
	REPLY_BODY = 1200,
};

struct request {
	struct request *next;
	char *text;
};

struct document {
	struct document *chain, *newer, *older;
	unsigned int key;
	size_t bytes;
	char *body;
};

struct audit_record {
	struct audit_record *next;
	char *line;
};

struct fields {
	char *name[FIELDS], *value[FIELDS];
	size_t count;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled, room;
	struct request *first, **last;
	size_t length;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0};

static struct {
	pthread_mutex_t lock;
	struct document *buckets[CACHE_BUCKETS], *newest, *oldest;
	size_t documents;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
	pthread_mutex_t lock;
	struct audit_record *records;
} audit = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool stopping;
static atomic_ulong served, reply_bytes;

static void *must(void *block)
{
	if (!block) {
		perror("demo_service");
		exit(1);
	}
	return block;
}

static unsigned int random_next(unsigned int *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* ---- requests: the feeder makes them, a worker frees them */

OUT_OF_LINE static struct request *request_make(unsigned int *state)
{
	struct request *request = must(malloc(sizeof(*request)));
	unsigned int pick = random_next(state) % 8 ? random_next(state) % 1500
						   : random_next(state) % DOCUMENT_KINDS;

	request->text = must(malloc(REQUEST_BYTES));
	snprintf(request->text, REQUEST_BYTES,
		 "verb=get;document=%u;user=u%u;session=%064x;accept=text, application/json;"
		 "trace=%032x-%016x;agent=demo/1.0 (a client of the demo service; like many);"
		 "language=en, de;q=0.8, fr;q=0.5",
		 pick, random_next(state) % 1000, random_next(state), random_next(state),
		 random_next(state));
	request->next = NULL;
	return request;
}

OUT_OF_LINE static void request_free(struct request *request)
{
	free(request->text);
	free(request);
}

static void queue_put(struct request *request)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.length >= QUEUE_SLOTS && !stopping)
		pthread_cond_wait(&queue.room, &queue.lock);
	if (!queue.first)
		queue.last = &queue.first;
	*queue.last = request;
	queue.last = &request->next;
	queue.length++;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

static struct request *queue_take(void)
{
	struct request *request;

	pthread_mutex_lock(&queue.lock);
	while (!queue.first && !stopping)
		pthread_cond_wait(&queue.filled, &queue.lock);
	request = queue.first;
	if (request) {
		queue.first = request->next;
		queue.length--;
		pthread_cond_signal(&queue.room);
	}
	pthread_mutex_unlock(&queue.lock);
	return request;
}

/* ---- parsing: each name and value in a block of its own */

OUT_OF_LINE static char *copy_text(const char *from, size_t length)
{
	char *copy = must(malloc(length + 1));

	memcpy(copy, from, length);
	copy[length] = 0;
	return copy;
}

OUT_OF_LINE static void parse_request(const char *text, struct fields *fields)
{
	fields->count = 0;
	while (*text && fields->count < FIELDS) {
		size_t name = strcspn(text, "=");
		size_t value = strcspn(text + name, ";");

		fields->name[fields->count] = copy_text(text, name);
		fields->value[fields->count] = copy_text(text + name + 1, value ? value - 1 : 0);
		fields->count++;
		text += name + value;
		if (*text)
			text++;
	}
}

OUT_OF_LINE static void fields_free(struct fields *fields)
{
	for (size_t i = 0; i < fields->count; i++) {
		free(fields->name[i]);
		free(fields->value[i]);
	}
}

static const char *field(const struct fields *fields, const char *name)
{
	for (size_t i = 0; i < fields->count; i++)
		if (!strcmp(fields->name[i], name))
			return fields->value[i];
	return "";
}

/* ---- the cache: least recently used goes first */

static void cache_unlink(struct document *document)
{
	*(document->newer ? &document->newer->older : &cache.newest) = document->older;
	*(document->older ? &document->older->newer : &cache.oldest) = document->newer;
}

static void cache_link_newest(struct document *document)
{
	document->newer = NULL;
	document->older = cache.newest;
	*(cache.newest ? &cache.newest->newer : &cache.oldest) = document;
	cache.newest = document;
}

OUT_OF_LINE static void cache_evict_oldest(void)
{
	struct document *document = cache.oldest;
	struct document **at = &cache.buckets[document->key % CACHE_BUCKETS];

	while (*at != document)
		at = &(*at)->chain;
	*at = document->chain;
	cache_unlink(document);
	cache.documents--;
	free(document->body);
	free(document);
}

OUT_OF_LINE static struct document *document_load(unsigned int key)
{
	struct document *document = must(malloc(sizeof(*document)));

	document->key = key;
	document->bytes = 500 + (key * 2654435761u >> 16) % 12000;
	document->body = must(malloc(document->bytes));
	memset(document->body, 'a' + (int)(key % 26), document->bytes);
	return document;
}

/* Copies at most `capacity` bytes of the document into `copy`; the lock is held meanwhile. */
OUT_OF_LINE static size_t cache_lookup(unsigned int key, char *copy, size_t capacity)
{
	struct document *document;
	size_t bytes;

	pthread_mutex_lock(&cache.lock);
	document = cache.buckets[key % CACHE_BUCKETS];
	while (document && document->key != key)
		document = document->chain;
	if (document) {
		cache_unlink(document);
	} else {
		document = document_load(key);
		document->chain = cache.buckets[key % CACHE_BUCKETS];
		cache.buckets[key % CACHE_BUCKETS] = document;
		cache.documents++;
	}
	cache_link_newest(document);
	if (cache.documents > CACHE_DOCUMENTS)
		cache_evict_oldest();
	bytes = document->bytes < capacity ? document->bytes : capacity;
	memcpy(copy, document->body, bytes);
	pthread_mutex_unlock(&cache.lock);
	return bytes;
}

/* ---- replies and the audit trail */

OUT_OF_LINE static char *render_reply(const struct fields *fields, size_t *length)
{
	char body[REPLY_BODY];
	size_t bytes = cache_lookup((unsigned int)strtoul(field(fields, "document"), NULL, 10), body,
				    sizeof(body));
	size_t capacity = 512, used;
	char *reply = must(malloc(capacity));

	used = (size_t)snprintf(reply, capacity, "200 ok user=%s session=%s\n", field(fields, "user"),
				field(fields, "session"));
	for (size_t at = 0; at < bytes; at += 80) {
		size_t line = bytes - at < 80 ? bytes - at : 80;

		if (used + line + 2 > capacity) {
			capacity *= 2;
			reply = must(realloc(reply, capacity));
		}
		memcpy(reply + used, body + at, line);
		used += line;
		reply[used++] = '\n';
	}
	*length = used;
	return reply;
}

OUT_OF_LINE static void audit_append(const struct fields *fields)
{
	struct audit_record *record = must(malloc(sizeof(*record)));

	record->line = must(malloc(512));
	snprintf(record->line, 512, "user %s read %s", field(fields, "user"),
		 field(fields, "document"));
	pthread_mutex_lock(&audit.lock);
	record->next = audit.records;
	audit.records = record;
	pthread_mutex_unlock(&audit.lock);
}

OUT_OF_LINE static void handle_request(struct request *request)
{
	struct fields fields;
	size_t length;
	char *reply;

	parse_request(request->text, &fields);
	reply = render_reply(&fields, &length);
	if (atomic_fetch_add(&served, 1) % 50 == 0)
		audit_append(&fields);
	atomic_fetch_add(&reply_bytes, length);
	free(reply);
	fields_free(&fields);
	request_free(request);
}

static void *worker_run(void *unused)
{
	struct request *request;

	(void)unused;
	while ((request = queue_take()))
		handle_request(request);
	return NULL;
}

static void *feeder_run(void *unused)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	unsigned int state = 42;

	(void)unused;
	while (!stopping) {
		for (int i = 0; i < 14; i++)
			queue_put(request_make(&state));
		nanosleep(&pause, NULL); /* a service at some load, not a benchmark */
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t feeder, workers[WORKERS];
	struct gyre_stats stats;
	struct timespec limit = {.tv_sec = argc > 1 ? atoi(argv[1]) : 600};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before the threads, so that all inherit it */
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, worker_run, NULL);
	pthread_create(&feeder, NULL, feeder_run, NULL);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);

	sigtimedwait(&signals, NULL, &limit);
	stopping = true;
	pthread_mutex_lock(&queue.lock);
	pthread_cond_broadcast(&queue.filled);
	pthread_cond_broadcast(&queue.room);
	pthread_mutex_unlock(&queue.lock);
	pthread_join(feeder, NULL);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);

	if (gyre_stats_read(&stats, sizeof(stats)) == 0)
		printf("served %lu requests (%lu MB of replies) with %llu allocations; heap now %.1f MB\n",
		       served, reply_bytes >> 20, (unsigned long long)stats.mallocs,
		       (double)stats.heap_alloc / 1e6);
	return 0;
}
