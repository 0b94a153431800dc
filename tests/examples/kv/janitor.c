/* janitor.c - two threads that hear from the others by channels.
 *
 *	orders -> the janitor   removes what is over its time, ten times a second; empties the table
 *	lines  -> the writer    writes the log: whoever has something to say waits for no disk
 *
 * Closing a channel ends its thread, once what was sent before has been done.
 */
#include "kv.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define PERIOD_NS (100 * 1000000ll)

struct order {
	struct gyre_wait_group *done;
};

struct line {
	char text[200];
};

static struct gyre_chan *orders, *lines;
static pthread_t janitor, writer;

static void *look_after(void *unused)
{
	struct order order;

	(void)unused;
	for (;;) {
		if (!gyre_chan_recv_timed(orders, &order, PERIOD_NS)) {
			table_clear();
			gyre_wait_group_done(order.done);
		} else if (errno == ETIMEDOUT) {
			table_expire(clock_ms());
		} else { /* EPIPE: closed, and nothing is left in it */
			return NULL;
		}
	}
}

static void *write_log(void *unused)
{
	struct line line;

	(void)unused;
	while (!gyre_chan_recv(lines, &line)) {
		gyre_blocking_begin();
		fprintf(stderr, "kv: %s\n", line.text);
		gyre_blocking_end();
	}
	return NULL;
}

bool janitor_start(void)
{
	orders = gyre_chan_new(sizeof(struct order), 0, GYRE_PLAIN);
	lines = gyre_chan_new(sizeof(struct line), 256, GYRE_PLAIN);
	return orders && lines && !pthread_create(&janitor, NULL, look_after, NULL) &&
	       !pthread_create(&writer, NULL, write_log, NULL);
}

void janitor_clear(void)
{
	struct gyre_wait_group done = GYRE_WAIT_GROUP_INIT;
	struct order order = {&done};

	gyre_wait_group_add(&done, 1);
	gyre_chan_send(orders, &order);
	gyre_wait_group_wait(&done);
}

void log_line(const char *format, ...)
{
	struct line line = {{0}};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line.text, sizeof(line.text), format, arguments);
	va_end(arguments);
	if (gyre_chan_try_send(lines, &line))
		COUNT(log_dropped, 1);
}

void janitor_stop(void)
{
	gyre_chan_close(orders);
	pthread_join(janitor, NULL);
	gyre_chan_close(lines);
	pthread_join(writer, NULL);
	gyre_chan_free(orders);
	gyre_chan_free(lines);
}
