/* net.c - connections.
 *
 *	acceptor --(channel of descriptors, and an eventfd to wake)--> thread of a ring
 *
 *	recv done -> parse, run all whole commands, collect replies -> send, and recv again
 *
 * Each serving thread has an io_uring. It hands over what it wants and waits in one system call,
 * for many connections at once. While it waits it is in a blocking region, so the collector never
 * signals it there (KV-3).
 *
 * A connection has at most one receive and one send under way. Replies are collected in one buffer
 * while another is being sent; a client that does not read its replies is not read from.
 *
 * The acceptor counts connections, so that a crowd on its way to the threads is counted too.
 *
 * NET-1  A connection is freed when it is closing and neither a receive nor a send is under way:
 *        until then the kernel may write into its buffers.
 * NET-2  Beside what a ring may have under way, the submission queue only fills up within one turn
 *        of the loop: then it is submitted at once.
 */
#include "kv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES 1024u
#define IN_FIRST 4096u
#define IN_KEPT (64u << 10)
#define OUT_MOST (1u << 20) /* of replies that wait: beyond, the client is not read from */
#define IN_MOST ((size_t)BULK_MOST * 2)

struct connection {
	int fd;
	bool receiving, sending, closing;
	char *in;
	size_t in_length, in_room;
	struct parser parser;
	struct output out, on_its_way;
	size_t sent; /* of on_its_way */
	struct connection *next, *prev;
};

struct server {
	pthread_t thread;
	struct io_uring ring;
	struct gyre_chan *incoming; /* of descriptors */
	int wake;		    /* eventfd */
	uint64_t woken;		    /* where its value is read to */
	struct connection all;	    /* a ring of them, this one is its head */
	bool stopping;
	int status; /* of its start */
	struct gyre_wait_group *started;
};

/* What a completion is of: in the low bits of the connection's address. */
enum { OF_WAKE, OF_RECV, OF_SEND };

static struct server *servers;
static pthread_t acceptor;
static int listener = -1;
static uint32_t stop; /* atomic */

/* ---- the ring ---- */

static struct io_uring_sqe *entry(struct server *server)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&server->ring)))
		io_uring_submit(&server->ring); /* NET-2 */
	return sqe;
}

static void want_wake(struct server *server)
{
	struct io_uring_sqe *sqe = entry(server);

	io_uring_prep_read(sqe, server->wake, &server->woken, sizeof(server->woken), 0);
	sqe->user_data = OF_WAKE;
}

static void want_recv(struct server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = entry(server);

	io_uring_prep_recv(sqe, connection->fd, connection->in + connection->in_length,
			   connection->in_room - connection->in_length, 0);
	sqe->user_data = (uintptr_t)connection | OF_RECV;
	connection->receiving = true;
}

static void want_send(struct server *server, struct connection *connection)
{
	struct io_uring_sqe *sqe = entry(server);
	struct output *out = &connection->on_its_way;

	io_uring_prep_send(sqe, connection->fd, out->data + connection->sent,
			   out->length - connection->sent, MSG_NOSIGNAL);
	sqe->user_data = (uintptr_t)connection | OF_SEND;
	connection->sending = true;
}

/* ---- a connection's life ---- */

static void open_connection(struct server *server, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int one = 1;

	if (connection)
		connection->in = malloc(IN_FIRST);
	if (!connection || !connection->in) {
		log_line("no memory for another connection");
		free(connection);
		close(fd);
		COUNT(refused, 1);
		COUNT(connections, (uint64_t)-1);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	connection->fd = fd;
	connection->in_room = IN_FIRST;
	connection->next = &server->all;
	connection->prev = server->all.prev;
	connection->prev->next = connection->next->prev = connection;
	want_recv(server, connection);
}

static void free_connection(struct connection *connection)
{
	connection->prev->next = connection->next;
	connection->next->prev = connection->prev;
	close(connection->fd);
	free(connection->in);
	free(connection->out.data);
	free(connection->on_its_way.data);
	free(connection->parser.words);
	free(connection);
	COUNT(connections, (uint64_t)-1);
}

/* What was in front of the command that is coming in is done with. */
static void drop_done(struct connection *connection, size_t done)
{
	struct parser *parser = &connection->parser;

	if (!done)
		return;
	connection->in_length -= done;
	memmove(connection->in, connection->in + done, connection->in_length);
	parser->at -= done;
	for (size_t i = 0; i < parser->count; i++)
		parser->words[i].offset -= done;
	if (!connection->in_length && connection->in_room > IN_KEPT) {
		char *in = realloc(connection->in, IN_FIRST);

		if (in) {
			connection->in = in;
			connection->in_room = IN_FIRST;
		}
	}
}

/* Room for more of a command; false: it is too long, or there is no memory. */
static bool make_room(struct connection *connection)
{
	size_t room = connection->in_room * 2;
	char *in;

	if (connection->in_length < connection->in_room)
		return true;
	if (room > IN_MOST || !(in = realloc(connection->in, room))) {
		reply_text(&connection->out, room > IN_MOST ? "-ERR Protocol error: too big\r\n"
							    : "-OOM for this command\r\n");
		return false;
	}
	connection->in = in;
	connection->in_room = room;
	return true;
}

static void run_words(struct connection *connection, uint64_t now_ms)
{
	struct parser *parser = &connection->parser;
	struct bytes few[16], *words = few;

	if (!parser->count)
		return;
	if (parser->count > sizeof(few) / sizeof(*few) &&
	    !(words = malloc(parser->count * sizeof(*words)))) {
		reply_error(&connection->out, "OOM no memory for the command");
		return;
	}
	for (size_t i = 0; i < parser->count; i++)
		words[i] = (struct bytes){connection->in + parser->words[i].offset,
					  parser->words[i].length};
	switch (command_run(words, parser->count, &connection->out, now_ms)) {
	case GO_ON:
		break;
	case SHUT_DOWN:
		ask_to_stop();
		/* fallthrough */
	case CLOSE:
		connection->closing = true;
		break;
	}
	if (words != few)
		free(words);
}

/* All whole commands that have come. */
static void run_commands(struct connection *connection)
{
	struct parser *parser = &connection->parser;
	uint64_t now_ms = clock_ms(), count = 0;
	size_t done = 0;
	const char *error = "";

	while (!connection->closing && connection->out.length < OUT_MOST) {
		switch (parse(parser, connection->in, connection->in_length, &error)) {
		case PARSED:
			run_words(connection, now_ms);
			parser_next(parser);
			done = parser->at;
			count++;
			continue;
		case PARSED_ERROR:
			reply_error(&connection->out, "ERR Protocol error: %s", error);
			log_line("a client broke the protocol: %s", error);
			connection->closing = true;
			break;
		case PARSED_NO_MEMORY:
			reply_error(&connection->out, "OOM no memory for the command");
			connection->closing = true;
			break;
		case PARSED_MORE:
			break;
		}
		break;
	}
	COUNT(commands, count);
	drop_done(connection, done);
}

/* Whatever can be done for it now. */
static void go_on(struct server *server, struct connection *connection)
{
	if (!connection->receiving && !connection->closing && connection->in_length)
		run_commands(connection);
	if (connection->out.failed)
		connection->closing = true;
	if (!connection->receiving && !connection->closing && !server->stopping &&
	    (!connection->sending || connection->out.length < OUT_MOST) && !make_room(connection))
		connection->closing = true; /* and is told so below */
	if (!connection->sending && connection->out.length && !connection->out.failed) {
		struct output empty = connection->on_its_way;

		empty.length = 0;
		connection->on_its_way = connection->out;
		connection->out = empty;
		connection->sent = 0;
		want_send(server, connection);
	}
	if (!connection->receiving && !connection->closing && !server->stopping &&
	    connection->out.length < OUT_MOST)
		want_recv(server, connection);
	if (connection->closing && connection->receiving)
		shutdown(connection->fd, SHUT_RD); /* ends the receive */
	if ((connection->closing || server->stopping) && !connection->receiving &&
	    !connection->sending && (!connection->out.length || connection->out.failed))
		free_connection(connection); /* NET-1 */
}

static void received(struct server *server, struct connection *connection, int result)
{
	connection->receiving = false;
	if (result > 0)
		connection->in_length += (size_t)result;
	else if (result != -EINTR && result != -EAGAIN)
		connection->closing = true; /* the other side has closed, or is gone */
	go_on(server, connection);
}

static void sent(struct server *server, struct connection *connection, int result)
{
	struct output *out = &connection->on_its_way;

	connection->sending = false;
	if (result > 0)
		connection->sent += (size_t)result;
	if (result <= 0 && result != -EINTR && result != -EAGAIN) {
		connection->closing = true;
		connection->out.length = 0;
	} else if (connection->sent < out->length) {
		want_send(server, connection);
		return;
	}
	if (out->room > OUT_MOST) {
		free(out->data);
		*out = (struct output){0};
	}
	out->length = 0;
	go_on(server, connection);
}

/* New connections, or the end. */
static void woken(struct server *server)
{
	struct connection *connection = server->all.next, *next;
	int fd;

	while (!gyre_chan_try_recv(server->incoming, &fd))
		open_connection(server, fd);
	if (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		want_wake(server);
		return;
	}
	server->stopping = true;
	for (; connection != &server->all; connection = next) {
		next = connection->next;
		if (connection->receiving)
			shutdown(connection->fd, SHUT_RD);
		else
			go_on(server, connection);
	}
}

/* ---- threads ---- */

static int start_ring(struct server *server)
{
	int status = io_uring_queue_init(ENTRIES, &server->ring,
					 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	return status == -EINVAL ? io_uring_queue_init(ENTRIES, &server->ring, 0) : status;
}

static void turn(struct server *server)
{
	struct io_uring_cqe *cqes[256];
	unsigned count;

	gyre_blocking_begin();
	io_uring_submit_and_wait(&server->ring, 1);
	gyre_blocking_end();
	while ((count = io_uring_peek_batch_cqe(&server->ring, cqes, 256))) {
		for (unsigned i = 0; i < count; i++) {
			uintptr_t data = (uintptr_t)cqes[i]->user_data;
			struct connection *connection = (struct connection *)(data & ~(uintptr_t)3);

			switch (data & 3) {
			case OF_WAKE: woken(server); break;
			case OF_RECV: received(server, connection, cqes[i]->res); break;
			case OF_SEND: sent(server, connection, cqes[i]->res); break;
			default: break;
			}
		}
		io_uring_cq_advance(&server->ring, count);
	}
}

static void *serve(void *argument)
{
	struct server *server = argument;

	server->status = start_ring(server);
	gyre_wait_group_done(server->started);
	if (server->status)
		return NULL;
	want_wake(server);
	while (!server->stopping || server->all.next != &server->all)
		turn(server);
	io_uring_queue_exit(&server->ring);
	return NULL;
}

/* More than may be: it hears so, and may come again. */
static void refuse(int fd)
{
	static const char answer[] = "-ERR max number of clients reached\r\n";

	if (send(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_line("a refused client did not hear of it: %s", strerror(errno));
	close(fd);
	COUNT(refused, 1);
}

static void hand_over(struct server *server, int fd)
{
	uint64_t one = 1;

	COUNT(connections, 1);
	COUNT(connections_total, 1);
	gyre_chan_send(server->incoming, &fd);
	if (write(server->wake, &one, sizeof(one)) < 0)
		log_line("eventfd: %s", strerror(errno));
}

static void *accept_all(void *unused)
{
	unsigned next = 0;

	(void)unused;
	for (;;) {
		int fd;

		gyre_blocking_begin();
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		gyre_blocking_end();
		if (fd >= 0 && COUNTED(connections) >= options.connections) {
			refuse(fd);
		} else if (fd >= 0) {
			hand_over(&servers[next++ % options.threads], fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			log_line("no more connections for now: %s", strerror(errno));
			COUNT(refused, 1);
			gyre_blocking_begin();
			usleep(100000);
			gyre_blocking_end();
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return NULL; /* shut down: net_stop */
		}
	}
}

static bool start_listener(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
	socklen_t length = sizeof(address);
	int one = 1;

	if (inet_pton(AF_INET, options.bind, &address.sin_addr) != 1) {
		fprintf(stderr, "kv: %s is no IPv4 address\n", options.bind);
		return false;
	}
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 4096) ||
	    getsockname(listener, (struct sockaddr *)&address, &length)) {
		fprintf(stderr, "kv: cannot listen on %s:%u: %s\n", options.bind, options.port,
			strerror(errno));
		return false;
	}
	options.port = ntohs(address.sin_port);
	return true;
}

static bool start_server(struct server *server)
{
	struct gyre_wait_group started = GYRE_WAIT_GROUP_INIT;

	server->all.next = server->all.prev = &server->all;
	server->incoming = gyre_chan_new(sizeof(int), 1024, GYRE_PLAIN);
	server->wake = eventfd(0, EFD_CLOEXEC);
	server->started = &started;
	gyre_wait_group_add(&started, 1);
	if (!server->incoming || server->wake < 0 ||
	    pthread_create(&server->thread, NULL, serve, server)) {
		fprintf(stderr, "kv: cannot start a thread: %s\n", strerror(errno));
		return false;
	}
	gyre_wait_group_wait(&started);
	if (server->status)
		fprintf(stderr, "kv: io_uring is not to be had here: %s\n",
			strerror(-server->status));
	return !server->status;
}

bool net_start(void)
{
	servers = calloc(options.threads, sizeof(*servers));
	if (!servers || !start_listener())
		return false;
	for (unsigned i = 0; i < options.threads; i++)
		if (!start_server(&servers[i]))
			return false;
	return !pthread_create(&acceptor, NULL, accept_all, NULL);
}

void net_stop(void)
{
	uint64_t one = 1;

	shutdown(listener, SHUT_RDWR);
	pthread_join(acceptor, NULL);
	close(listener);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < options.threads; i++) {
		if (write(servers[i].wake, &one, sizeof(one)) < 0)
			fprintf(stderr, "kv: eventfd: %s\n", strerror(errno));
		pthread_join(servers[i].thread, NULL);
		gyre_chan_free(servers[i].incoming);
		close(servers[i].wake);
	}
	free(servers);
}
