/* channel_test.c - channels and select (sync/channel.c, select.c), of plain elements. Traced ones
 * are in tests/sync/collected.test. */
#include "sync_unit.h"

#include "sync/channel.h"

#include <sched.h>

static struct gyre_chan *chan, *chans[4];
static unsigned long sums[THREADS_MAX], counts[THREADS_MAX];

static struct gyre_chan *chan_new(size_t bytes, size_t capacity)
{
	struct gyre_chan *made = gyre_chan_new(bytes, capacity, GYRE_PLAIN);

	cr_assert_not_null(made);
	return made;
}

Test(channel, elements_come_in_order)
{
	static const size_t sizes[] = {0, 1, 3, 8, 16, 100, 65536};

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		size_t bytes = sizes[s];
		unsigned char *in = malloc(bytes + 1), *out = malloc(bytes + 1);

		chan = chan_new(bytes, 5);
		cr_assert_eq(gyre_chan_capacity(chan), 5);
		for (unsigned round = 0; round < 3; round++) {
			for (unsigned i = 0; i < 5; i++) {
				memset(in, (int)(round * 5 + i), bytes);
				cr_assert_eq(gyre_chan_try_send(chan, in), 0);
			}
			cr_assert_eq(gyre_chan_try_send(chan, in), -1);
			cr_assert_eq(errno, EAGAIN);
			cr_assert_eq(gyre_chan_count(chan), 5);
			for (unsigned i = 0; i < 5; i++) {
				memset(in, (int)(round * 5 + i), bytes);
				cr_assert_eq(gyre_chan_recv(chan, out), 0);
				cr_assert_eq(memcmp(in, out, bytes), 0);
			}
			cr_assert_eq(gyre_chan_try_recv(chan, out), -1);
			cr_assert_eq(errno, EAGAIN);
		}
		gyre_chan_free(chan);
		free(in);
		free(out);
	}
}

Test(channel, what_cannot_be_made)
{
	cr_assert_null(gyre_chan_new(65537, 1, GYRE_PLAIN));
	cr_assert_eq(errno, EINVAL);
	cr_assert_null(gyre_chan_new(4, 1, GYRE_TRACED));
	cr_assert_null(gyre_chan_new(8, SIZE_MAX / 4, GYRE_PLAIN));
	cr_assert_null(gyre_chan_new(65536, 1 << 20, GYRE_PLAIN));
	gyre_chan_free(NULL);
}

Test(channel, CHAN_5_closed_is_drained_first)
{
	long value = 1;

	chan = chan_new(sizeof(value), 2);
	gyre_chan_send(chan, &value);
	gyre_chan_close(chan);
	value = 5;
	cr_assert_eq(gyre_chan_recv(chan, &value), 0);
	cr_assert_eq(value, 1);
	cr_assert_eq(gyre_chan_recv(chan, &value), -1);
	cr_assert_eq(errno, EPIPE);
	cr_assert_eq(value, 0);
	cr_assert_eq(gyre_chan_recv(chan, NULL), -1);
	gyre_chan_free(chan);
}

Test(channel, timeouts)
{
	uint64_t begin = unit_now_ms();
	long value = 1;

	for (size_t capacity = 0; capacity < 2; capacity++) {
		chan = chan_new(sizeof(value), capacity);
		cr_assert_eq(gyre_chan_recv_timed(chan, &value, 10 * MS), -1);
		cr_assert_eq(errno, ETIMEDOUT);
		cr_assert_eq(value, 1);
		if (capacity)
			gyre_chan_send(chan, &value);
		cr_assert_eq(gyre_chan_send_timed(chan, &value, 10 * MS), -1);
		cr_assert_eq(errno, ETIMEDOUT);
		cr_assert_eq(gyre_chan_send_timed(chan, &value, 0), -1);
		cr_assert_eq(errno, EAGAIN);
		cr_assert_null(chan->senders.first); /* CHAN-4 */
		cr_assert_null(chan->receivers.first);
		gyre_chan_free(chan);
	}
	cr_assert_geq(unit_now_ms() - begin, 38);
}

/* Threads 0 and 1 send, 2 and 3 receive; every element comes once, those of one sender in order. */
static void *send_or_receive(void *number)
{
	unsigned self = (unsigned)(uintptr_t)number;
	unsigned each = rounds(20000);

	if (self < 2) {
		for (uint64_t i = 0; i < each; i++) {
			uint64_t element[2] = {self, i};

			if (i % 7 == 0)
				while (gyre_chan_send_timed(chan, element, 5000))
					;
			else
				gyre_chan_send(chan, element);
		}
	} else {
		uint64_t next[2] = {0, 0};

		for (unsigned i = 0; i < each; i++) {
			uint64_t element[2];

			if (i % 5 == 0)
				while (gyre_chan_recv_timed(chan, element, 5000))
					;
			else
				cr_assert_eq(gyre_chan_recv(chan, element), 0);
			cr_assert_lt(element[0], 2);
			cr_assert_geq(element[1], next[element[0]]);
			next[element[0]] = element[1] + 1;
			sums[self] += element[1];
		}
	}
	return NULL;
}

static void check_sums(void)
{
	unsigned long each = rounds(20000);

	cr_assert_eq(sums[2] + sums[3], each * (each - 1));
	cr_assert_null(chan->senders.first);
	cr_assert_null(chan->receivers.first);
	cr_assert_eq(gyre_chan_count(chan), 0);
	gyre_chan_free(chan);
}

RACE(channel, CHAN_2_each_element_once_unbuffered)
{
	chan = chan_new(16, 0);
	together(4, send_or_receive);
	check_sums();
}

RACE(channel, CHAN_2_each_element_once_buffer_of_one)
{
	chan = chan_new(16, 1);
	together(4, send_or_receive);
	check_sums();
}

RACE(channel, CHAN_2_each_element_once_buffered)
{
	chan = chan_new(16, 64);
	together(4, send_or_receive);
	check_sums();
}

static void *receive_to_the_end(void *number)
{
	long value;

	while (!gyre_chan_recv(chan, &value))
		counts[(uintptr_t)number]++;
	cr_assert_eq(errno, EPIPE);
	return NULL;
}

RACE(channel, CHAN_5_close_wakes_all_receivers)
{
	for (unsigned round = 0; round < rounds(200); round++) {
		pthread_t handles[4];
		unsigned long sum = 0;

		chan = chan_new(sizeof(long), round % 3);
		memset(counts, 0, sizeof(counts));
		for (uintptr_t i = 0; i < 4; i++)
			pthread_create(&handles[i], NULL, receive_to_the_end, (void *)i);
		for (long i = 0; i < 10; i++)
			gyre_chan_send(chan, &i);
		gyre_chan_close(chan);
		for (unsigned i = 0; i < 4; i++) {
			pthread_join(handles[i], NULL);
			sum += counts[i];
		}
		cr_assert_eq(sum, 10);
		gyre_chan_free(chan);
	}
}

/* ---- who was served touches the channel no more: whoever served it may have freed it ---- */

static struct gyre_chan *answers; /* [atomic] where the next answer is to go, or NULL */
static bool answered, answer_by_select;

static void *answer(GY_UNUSED void *unused)
{
	for (long round = 0; round < (long)rounds(4000); round++) {
		struct gyre_case only = {.element = &round, .direction = GYRE_SEND};

		while (!(only.chan = __atomic_exchange_n(&answers, NULL, __ATOMIC_ACQUIRE)))
			sched_yield();
		if (answer_by_select)
			cr_assert_eq(gyre_select(&only, 1, GYRE_FOREVER), 0);
		else
			gyre_chan_send(only.chan, &round);
		/* Orders nothing: the reader's writes to what was the channel are unordered too. */
		WRITE_RELAXED(answered, true);
	}
	return NULL;
}

/* Asks, gets the answer on a channel of its own, frees that, and uses its memory for something. */
static void free_when_answered(size_t capacity)
{
	size_t bytes = sizeof(struct gyre_chan) + capacity * sizeof(long);
	pthread_t thread;

	pthread_create(&thread, NULL, answer, NULL);
	for (long round = 0; round < (long)rounds(4000); round++) {
		struct gyre_chan *once = chan_new(sizeof(long), capacity);
		unsigned char *again;
		long value = -1;

		WRITE_RELAXED(answered, false);
		__atomic_store_n(&answers, once, __ATOMIC_RELEASE);
		for (long i = 0; i < round % 64 * 50; i++)
			__asm__ volatile("pause");
		cr_assert_eq(gyre_chan_recv(once, &value), 0);
		cr_assert_eq(value, round);
		gyre_chan_free(once);
		again = gy_heap_alloc(bytes, 0);
		memset(again, 0xa5, bytes);
		while (!READ_RELAXED(answered))
			sched_yield();
		for (size_t i = 0; i < bytes; i++)
			cr_assert_eq(again[i], 0xa5, "byte %zu of %p, %p", i, (void *)again,
				     (void *)once);
		gy_heap_free(again, 0);
	}
	pthread_join(thread, NULL);
}

RACE(channel, CHAN_7_freed_by_the_receiver)
{
	free_when_answered(0);
}

RACE(channel, CHAN_7_freed_by_the_receiver_buffered)
{
	free_when_answered(1);
}

RACE(channel, CHAN_7_freed_by_the_receiver_from_a_select)
{
	answer_by_select = true;
	free_when_answered(0);
}

static void *close_and_free(GY_UNUSED void *unused)
{
	for (unsigned round = 0; round < rounds(4000); round++) {
		struct gyre_chan *once;

		while (!(once = __atomic_exchange_n(&answers, NULL, __ATOMIC_ACQUIRE)))
			sched_yield();
		while (!READ_RELAXED(once->receivers.first))
			sched_yield();
		gyre_chan_close(once);
		gyre_chan_free(once);
		memset(gy_heap_alloc(sizeof(*once), 0), 0xa5, sizeof(*once));
	}
	return NULL;
}

RACE(channel, CHAN_7_freed_by_who_closed_it)
{
	pthread_t thread;

	pthread_create(&thread, NULL, close_and_free, NULL);
	for (unsigned round = 0; round < rounds(4000); round++) {
		long value[2] = {1, 1};
		struct gyre_case only = {.element = value, .direction = GYRE_RECV};

		only.chan = chan_new(sizeof(long), round % 2);
		__atomic_store_n(&answers, only.chan, __ATOMIC_RELEASE);
		if (round % 3) {
			cr_assert_eq(gyre_chan_recv(only.chan, value), -1);
			cr_assert_eq(errno, EPIPE);
		} else {
			cr_assert_eq(gyre_select(&only, 1, GYRE_FOREVER), 0);
			cr_assert(only.closed);
		}
		cr_assert_eq(value[0], 0);
		cr_assert_eq(value[1], 1);
	}
	pthread_join(thread, NULL);
}

MISUSE(channel, send_on_a_closed_one, "send on a closed channel")
{
	long value = 1;

	chan = gyre_chan_new(8, 1, GYRE_PLAIN);
	gyre_chan_close(chan);
	gyre_chan_send(chan, &value);
}

static void *close_later(GY_UNUSED void *unused)
{
	unit_sleep_ms(20);
	gyre_chan_close(chan);
	return NULL;
}

MISUSE(channel, CHAN_5_closed_while_a_sender_waits, "send on a closed channel")
{
	pthread_t closer;
	long value = 1;

	chan = gyre_chan_new(8, 0, GYRE_PLAIN);
	pthread_create(&closer, NULL, close_later, NULL);
	gyre_chan_send(chan, &value);
}

MISUSE(channel, close_twice, "close of a closed channel")
{
	chan = gyre_chan_new(8, 0, GYRE_PLAIN);
	gyre_chan_close(chan);
	gyre_chan_close(chan);
}

static void *receive_one(GY_UNUSED void *unused)
{
	gyre_chan_recv(chan, NULL);
	return NULL;
}

MISUSE(channel, free_while_one_waits, "free of a channel that threads wait for")
{
	pthread_t waiter;

	chan = gyre_chan_new(8, 0, GYRE_PLAIN);
	pthread_create(&waiter, NULL, receive_one, NULL);
	unit_sleep_ms(50);
	gyre_chan_free(chan);
}

MISUSE(channel, select_sends_on_a_closed_one, "send on a closed channel")
{
	long value = 1;
	struct gyre_case cases[] = {{NULL, NULL, GYRE_RECV, false},
				    {gyre_chan_new(8, 1, GYRE_PLAIN), &value, GYRE_SEND, false}};

	gyre_chan_close(cases[1].chan);
	gyre_select(cases, 2, GYRE_FOREVER);
}

/* ---- select ---- */

Test(select, what_is_not_possible)
{
	struct gyre_case none = {0};
	uint64_t begin = unit_now_ms();

	cr_assert_eq(gyre_select(&none, 0, GYRE_FOREVER), -1);
	cr_assert_eq(errno, EINVAL);
	cr_assert_eq(gyre_select(&none, GYRE_SELECT_MAX + 1, 0), -1);
	cr_assert_eq(errno, EINVAL);
	cr_assert_eq(gyre_select(&none, 1, 0), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(gyre_select(&none, 1, 10 * MS), -1); /* a sleep */
	cr_assert_eq(errno, ETIMEDOUT);
	none.chan = chan_new(8, 1);
	cr_assert_eq(gyre_select(&none, 1, 10 * MS), -1);
	cr_assert_eq(errno, ETIMEDOUT);
	cr_assert_geq(unit_now_ms() - begin, 18);
	gyre_chan_close(none.chan);
	cr_assert_eq(gyre_select(&none, 1, GYRE_FOREVER), 0);
	cr_assert(none.closed);
	gyre_chan_free(none.chan);
}

Test(select, send_and_receive_on_one_channel_do_not_meet)
{
	long in = 1, out = 0;
	struct gyre_case both[2] = {{.element = &in, .direction = GYRE_SEND},
				    {.element = &out, .direction = GYRE_RECV}};

	both[0].chan = both[1].chan = chan_new(8, 0);
	cr_assert_eq(gyre_select(both, 2, 5 * MS), -1); /* SELECT-3 */
	cr_assert_eq(errno, ETIMEDOUT);
	cr_assert_null(both[0].chan->senders.first);
	cr_assert_null(both[0].chan->receivers.first);
	gyre_chan_free(both[0].chan);
}

/* Of channels that are all ready each is chosen as often: chi-square with 3 degrees of freedom,
 * 0.001 off limits. */
Test(select, SELECT_1_all_have_the_same_chance)
{
	unsigned each = 40000, chosen[4] = {0};
	struct gyre_case cases[4] = {0};
	double chi = 0;

	for (unsigned i = 0; i < 4; i++) {
		cases[i].chan = chan_new(0, 1);
		cases[i].direction = GYRE_RECV;
		gyre_chan_send(cases[i].chan, "");
	}
	for (unsigned i = 0; i < each * 4; i++) {
		int at = gyre_select(cases, 4, 0);

		cr_assert_geq(at, 0);
		chosen[at]++;
		gyre_chan_send(cases[at].chan, "");
	}
	for (unsigned i = 0; i < 4; i++)
		chi += ((double)chosen[i] - each) * ((double)chosen[i] - each) / each;
	cr_assert_lt(chi, 16.3, "%u %u %u %u", chosen[0], chosen[1], chosen[2], chosen[3]);
}

/* Threads 0 and 1 select over all channels to send, 2 and 3 to receive. */
static void *select_often(void *number)
{
	unsigned self = (unsigned)(uintptr_t)number;
	uint64_t value = 0;
	struct gyre_case cases[4];
	unsigned each = rounds(10000);

	for (uint64_t i = 0; i < each; i++) {
		int at;

		for (unsigned c = 0; c < 4; c++)
			cases[c] = (struct gyre_case){chans[(c + self) % 4], &value,
						      self < 2 ? GYRE_SEND : GYRE_RECV, false};
		if (self < 2)
			value = self * each + i + 1;
		do {
			at = gyre_select(cases, 4, i % 3 ? GYRE_FOREVER : 20000);
		} while (at < 0);
		sums[self] += value;
	}
	return NULL;
}

static void select_race(size_t capacity)
{
	unsigned long left = 0;

	for (unsigned i = 0; i < 4; i++)
		chans[i] = chan_new(8, i == 3 ? 0 : capacity);
	together(4, select_often);
	for (unsigned i = 0; i < 4; i++) {
		left += gyre_chan_count(chans[i]);
		cr_assert_null(chans[i]->senders.first);
		cr_assert_null(chans[i]->receivers.first);
		gyre_chan_free(chans[i]);
	}
	cr_assert_eq(left, 0);
	cr_assert_eq(sums[0] + sums[1], sums[2] + sums[3]);
}

RACE(select, CHAN_3_served_once_unbuffered)
{
	select_race(0);
}

RACE(select, CHAN_3_served_once_buffered)
{
	select_race(2);
}
