/* A small HTTP/1.1 service on malloc and pools: it echoes, and it adds up.
 *
 *	http [port] [threads]            prints "ready: pid P port N"; ends on SIGTERM
 *
 *	POST /echo                       the body comes back
 *	POST /add/NAME                   the body is a number; adds it to NAME
 *	GET  /sums                       a line for each NAME: count, sum
 *
 * Each thread has an epoll set and a listening socket of its own (SO_REUSEPORT). A connection holds
 * a buffer only while a request is in it: buffers come from a pool, so that thousands of idle
 * connections cost little, and a busy thread meets the same few warm buffers again and again. The
 * sums are malloc'd, under a lock for readers and writers; nothing here is collected.
 */
#include <gyre/sync.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES 16384u
#define EVENTS 64

struct connection {
	int fd;
	char *buffer; /* NULL: nothing has come */
	size_t length;
	struct connection *next, *prev;
};

struct sum {
	struct sum *next;
	int64_t count, sum;
	char name[];
};

struct server {
	pthread_t thread;
	int epoll, listener;
	struct connection all; /* a ring; this is its head */
};

struct request {
	const char *method, *path, *body;
	size_t method_length, path_length, body_length, whole;
	bool close;
};

static struct gyre_pool *buffers;
static struct gyre_rwmutex sums_lock;
static struct sum *sums;
static int stop_event;

/* ---- answers ---- */

static bool send_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return false; /* gone, or reads nothing: its loss */
		if (sent > 0) {
			data += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

static bool answer(int fd, const char *status, const char *body, size_t length, bool close)
{
	char *text = malloc(256 + length);
	int head;
	bool sent;

	if (!text)
		return false;
	head = snprintf(text, 256, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, length,
			close ? "Connection: close\r\n" : "");
	memcpy(text + head, body, length);
	sent = send_all(fd, text, (size_t)head + length);
	free(text);
	return sent && !close;
}

static bool answer_text(int fd, const char *status, const char *body, bool close)
{
	return answer(fd, status, body, strlen(body), close);
}

static bool add(int fd, const struct request *request)
{
	size_t length = request->path_length - strlen("/add/");
	const char *name = request->path + strlen("/add/");
	char number[32] = "", *end;
	struct sum *sum;

	if (request->body_length >= sizeof(number) || !request->body_length || !length)
		return answer_text(fd, "400 Bad Request", "a name and a number\n", request->close);
	memcpy(number, request->body, request->body_length);
	int64_t value = strtoll(number, &end, 10);
	if (*end && *end != '\n')
		return answer_text(fd, "400 Bad Request", "no number\n", request->close);
	gyre_rwmutex_write_lock(&sums_lock);
	for (sum = sums; sum; sum = sum->next)
		if (strlen(sum->name) == length && !memcmp(sum->name, name, length))
			break;
	if (!sum && (sum = calloc(1, sizeof(*sum) + length + 1))) {
		memcpy(sum->name, name, length);
		sum->next = sums;
		sums = sum;
	}
	if (sum) {
		sum->count++;
		sum->sum = (int64_t)((uint64_t)sum->sum + (uint64_t)value);
	}
	gyre_rwmutex_write_unlock(&sums_lock);
	return sum ? answer_text(fd, "200 OK", "", request->close)
		   : answer_text(fd, "503 Service Unavailable", "no memory\n", true);
}

static bool tell_sums(int fd, const struct request *request)
{
	char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	bool sent;

	if (!stream)
		return answer_text(fd, "503 Service Unavailable", "no memory\n", true);
	gyre_rwmutex_read_lock(&sums_lock);
	for (const struct sum *sum = sums; sum; sum = sum->next)
		fprintf(stream, "%s %" PRId64 " %" PRId64 "\n", sum->name, sum->count, sum->sum);
	gyre_rwmutex_read_unlock(&sums_lock);
	fclose(stream);
	sent = answer(fd, "200 OK", text, length, request->close);
	free(text);
	return sent;
}

/* ---- requests ---- */

static bool is(const char *text, size_t length, const char *word)
{
	return length == strlen(word) && !memcmp(text, word, length);
}

static const char *next_line(const char *line, const char *end)
{
	return (const char *)memchr(line, '\r', (size_t)(end + 1 - line)) + 2;
}

/* 1: *request is the first whole one; 0: more must come; -1: it is none. */
static int parse(const char *data, size_t length, struct request *request)
{
	const char *end = memmem(data, length, "\r\n\r\n", 4), *line = memchr(data, '\r', length);
	const char *method_end, *path_end;
	char *number_end;

	if (!end)
		return length < BUFFER_BYTES ? 0 : -1;
	method_end = memchr(data, ' ', (size_t)(line - data));
	path_end = method_end ? memchr(method_end + 1, ' ', (size_t)(line - method_end - 1)) : NULL;
	if (!path_end || line - path_end < 9 || memcmp(path_end + 1, "HTTP/1.", 7))
		return -1;
	*request = (struct request){.method = data, .path = method_end + 1, .body = end + 4};
	request->method_length = (size_t)(method_end - data);
	request->path_length = (size_t)(path_end - method_end - 1);
	request->close = path_end[8] == '0';
	for (line += 2; line < end; line = next_line(line, end)) {
		if (!strncasecmp(line, "Content-Length:", 15)) {
			const char *digits = line + 15 + strspn(line + 15, " ");

			request->body_length = strtoul(digits, &number_end, 10);
			if (number_end == digits || *number_end != '\r' || *digits == '-')
				return -1;
		} else if (!strncasecmp(line, "Connection: close", 17)) {
			request->close = true;
		} else if (!strncasecmp(line, "Transfer-Encoding:", 18)) {
			return -1; /* not spoken here */
		}
	}
	request->whole = (size_t)(request->body - data) + request->body_length;
	if (request->body_length > BUFFER_BYTES || request->whole > BUFFER_BYTES)
		return -1;
	return request->whole <= length;
}

/* False: close the connection. */
static bool serve_one(int fd, const struct request *request)
{
	const char *method = request->method, *path = request->path;
	bool post = is(method, request->method_length, "POST");

	if (post && is(path, request->path_length, "/echo"))
		return answer(fd, "200 OK", request->body, request->body_length, request->close);
	if (post && request->path_length > 5 && !memcmp(path, "/add/", 5))
		return add(fd, request);
	if (is(method, request->method_length, "GET") && is(path, request->path_length, "/sums"))
		return tell_sums(fd, request);
	return answer_text(fd, "404 Not Found", "/echo, /add/NAME, /sums\n", request->close);
}

/* Reads what there is, and answers every whole request in it. False: close the connection. */
static bool serve_connection(struct connection *connection)
{
	struct request request;
	size_t done = 0;
	ssize_t got;
	int state;

	if (!connection->buffer && !(connection->buffer = gyre_pool_get(buffers)))
		return answer_text(connection->fd, "503 Service Unavailable", "no memory\n", true);
	got = recv(connection->fd, connection->buffer + connection->length,
		   BUFFER_BYTES - connection->length, MSG_DONTWAIT);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	connection->length += (size_t)got;
	for (;;) {
		state = parse(connection->buffer + done, connection->length - done, &request);
		if (state <= 0)
			break;
		if (!serve_one(connection->fd, &request))
			return false;
		done += request.whole;
	}
	if (state < 0)
		return answer_text(connection->fd, "400 Bad Request", "", true);
	connection->length -= done;
	memmove(connection->buffer, connection->buffer + done, connection->length);
	if (!connection->length) {
		gyre_pool_put(buffers, connection->buffer);
		connection->buffer = NULL;
	}
	return true;
}

/* ---- connections and threads ---- */

static void close_connection(struct connection *connection)
{
	connection->prev->next = connection->next;
	connection->next->prev = connection->prev;
	close(connection->fd);
	gyre_pool_put(buffers, connection->buffer);
	free(connection);
}

static void accept_one(struct server *server)
{
	int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	struct connection *connection = fd < 0 ? NULL : calloc(1, sizeof(*connection));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	struct timeval patience = {10, 0}; /* for a client that does not read */

	if (!connection || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event)) {
		if (fd >= 0)
			close(fd);
		free(connection);
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	connection->fd = fd;
	connection->next = &server->all;
	connection->prev = server->all.prev;
	connection->prev->next = connection->next->prev = connection;
}

static void *serve(void *argument)
{
	struct server *server = argument;
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(server->epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (events[i].data.ptr == &stop_event) {
				while (server->all.next != &server->all)
					close_connection(server->all.next);
				return NULL;
			}
			if (events[i].data.ptr == server)
				accept_one(server);
			else if (!serve_connection(connection))
				close_connection(connection);
		}
	}
}

static int listen_on(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t length = sizeof(address);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1024) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		fprintf(stderr, "http: cannot listen on port %u: %s\n", *port, strerror(errno));
		exit(1);
	}
	*port = ntohs(address.sin_port);
	return fd;
}

static void watch(int epoll, int fd, void *data)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
		perror("http: epoll");
		exit(1);
	}
}

static void *make_buffer(void *unused)
{
	(void)unused;
	return malloc(BUFFER_BYTES);
}

static void drop_buffer(void *buffer, void *unused)
{
	(void)unused;
	free(buffer);
}

int main(int argc, char **argv)
{
	uint16_t port = argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 0) : 0;
	size_t threads = argc > 2 ? strtoul(argv[2], NULL, 0) : 2;
	struct server *servers = NULL;
	uint64_t one = 1;
	sigset_t ends;

	if (threads > 0 && threads <= 256)
		servers = calloc(threads, sizeof(*servers));
	buffers = gyre_pool_new(GYRE_PLAIN, make_buffer, drop_buffer, NULL);
	stop_event = eventfd(0, EFD_CLOEXEC);
	if (!servers || !buffers || stop_event < 0) {
		fprintf(stderr, "usage: http [port] [threads, up to 256]\n");
		return 2;
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	for (size_t i = 0; i < threads; i++) {
		struct server *server = &servers[i];

		server->all.next = server->all.prev = &server->all;
		server->listener = listen_on(&port);
		server->epoll = epoll_create1(EPOLL_CLOEXEC);
		watch(server->epoll, server->listener, server);
		watch(server->epoll, stop_event, &stop_event);
		if (pthread_create(&server->thread, NULL, serve, server))
			return 1;
	}
	printf("ready: pid %d port %u\n", getpid(), port);
	fflush(stdout);
	while (sigwaitinfo(&ends, NULL) < 0)
		;
	if (write(stop_event, &one, sizeof(one)) < 0)
		return 1;
	for (size_t i = 0; i < threads; i++)
		pthread_join(servers[i].thread, NULL);
	gyre_pool_free(buffers);
	return 0;
}
