/* channel.pml - channels and select of lib/sync (channel.h, CHAN-1 to -5), for spin.
 *
 *	spin -a channel.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * What is in it. Two channels of capacity CAP. Threads 0 and 1 send EACH and EACH_1 numbered elements, thread
 * i to channel i; with TIMED a send may give up while it waits, and is begun anew. Threads 2 and 3 receive: 2 by
 * select over both channels, 3 from channel 0, or, with SELECTS, by select too; until both channels are
 * closed. Thread 4 closes both when the senders are done. One step for each stretch under the locks, for
 * each change of `served`, for the exchange of a waiter's state, for the kernel's check-and-sleep, and for
 * each place that a select takes out of a queue. What must hold: each element is received once, those of
 * one channel in order by whoever receives, no two serve one wait; and nobody sleeps for ever.
 *
 * Two elements of sender 0 and one of sender 1 are enough for what order means: channel 0 is the one that
 * both receivers use, channel 1 is there for select to choose. That is half a million states; two of each are
 * many times as many (sync.test, the long run).
 *
 * Mutants: each leaves out one thing, and spin must then find a fault (sync.test).
 *	NOT_SERVED_ONCE	who finds a place does not ask whether its wait was served elsewhere
 *	PLACE_BY_PLACE	select looks at one channel and takes its place there, then the next
 *	GIVE_UP_BLIND	who gives up does not ask whether it was served
 *	WAKE_BY_LOAD	a waker looks whether the waiter sleeps, then stores WOKEN
 */
#ifndef CAP
#define CAP 0
#endif
#define LOOKS 0
#define SLEEPS 1
#define WOKEN 2
#define NOBODY 255
#ifndef EACH
#define EACH 2 /* elements of sender 0 */
#endif
#ifndef EACH_1
#define EACH_1 EACH /* of sender 1 */
#endif

/* channels */
byte buffer[4], count[2]; /* channel c: from 2 * c */
byte queue[16], queued[4]; /* who waits: q = c for receivers of channel c, 2 + c for senders; from 4 * q */
bool closed[2];

/* waits, by thread */
byte served[4];   /* 0, or channel + 1; 9: gave up */
byte state[4], element[4];
bool asleep[4], shut[4];

byte sent_all, next_in[2], got;
byte last_seen[8]; /* receiver r of channel c, at 2 * r + c */

inline enqueue(eq, ew)
{
	queue[4 * (eq) + queued[eq]] = ew;
	queued[eq]++
}

inline dequeue_first(dq, dw)
{
	dw = queue[4 * (dq)];
	queued[dq]--;
	queue[4 * (dq)] = queue[4 * (dq) + 1];
	queue[4 * (dq) + 1] = queue[4 * (dq) + 2];
	queue[4 * (dq) + 2] = queue[4 * (dq) + 3];
	queue[4 * (dq) + 3] = 0
}

/* The first that is not served, now served by channel c; or, without a buffer, the last, if it still
 * looks (CHAN-8: how often it may is left to chance); NOBODY: none. */
#define LAST(lq) (4 * (lq) + queued[lq] - 1)
inline take_waiting(tq, tc, tw)
{
	tw = NOBODY;
	if
	:: CAP == 0 && queued[tq] > 1 && state[queue[LAST(tq)]] == LOOKS &&
	   served[queue[LAST(tq)]] == 0 ->
		tw = queue[LAST(tq)];
		queue[LAST(tq)] = 0;
		queued[tq]--;
		served[tw] = tc + 1
	:: true
	fi;
	do
	:: queued[tq] > 0 && tw == NOBODY ->
		dequeue_first(tq, tw);
#ifndef NOT_SERVED_ONCE
		if
		:: served[tw] == 0 -> served[tw] = tc + 1
		:: else -> tw = NOBODY
		fi
#else
		served[tw] = tc + 1
#endif
	:: else -> break
	od
}

inline leave_queue(lq, lw)
{
	byte at = 0;
	do
	:: at < queued[lq] && queue[4 * (lq) + at] != lw -> at++
	:: else -> break
	od;
	if
	:: at < queued[lq] ->
		do
		:: at < 3 -> queue[4 * (lq) + at] = queue[4 * (lq) + at + 1]; at++
		:: else -> break
		od;
		queue[4 * (lq) + 3] = 0;
		queued[lq]--
	:: else
	fi;
	at = 0
}

inline wake(ww, wb)
{
#ifdef WAKE_BY_LOAD
	wb = state[ww];
	state[ww] = WOKEN;
#else
	atomic { wb = state[ww]; state[ww] = WOKEN };
#endif
	if
	:: wb == SLEEPS -> asleep[ww] = false
	:: else
	fi
}

inline sleep_until_woken(sw)
{
	if
	:: atomic { state[sw] == LOOKS -> state[sw] = SLEEPS }
	:: state[sw] != LOOKS
	fi;
	do
	:: state[sw] == WOKEN -> break
	:: atomic { state[sw] == SLEEPS -> asleep[sw] = true };
		asleep[sw] == false
	od
}

proctype sender(byte self; byte each)
{
	byte i, other, before;

	do
	:: i == each -> break
	:: i < each ->
begin:
		atomic { /* gy_chan_send_locked, or a place */
			assert(!closed[self]);
			take_waiting(self, self, other);
			if
			:: other != NOBODY -> element[other] = i + 1; goto met
			:: other == NOBODY && count[self] < CAP ->
				buffer[2 * self + count[self]] = i + 1;
				count[self]++;
				goto sent
			:: else ->
				served[self] = 0;
				state[self] = LOOKS;
				element[self] = i + 1;
				enqueue(2 + self, self)
			fi
		};
#ifdef TIMED
		if
		:: true
		:: true ->
			if
#ifdef GIVE_UP_BLIND
			:: atomic { true -> served[self] = 9 }
#else
			:: atomic { served[self] == 0 -> served[self] = 9 }
			:: served[self] != 0 -> goto wait
#endif
			fi;
			atomic { leave_queue(2 + self, self) };
			goto begin
		fi;
wait:
#endif
		sleep_until_woken(self);
		goto sent;
met:
		wake(other, before);
sent:
		other = 0; before = 0;
		i++
	od;
	sent_all++
}

/* One receive under the lock of channel c: done, other (to wake or NOBODY), value; 0: closed. */
inline receive_locked(rc, rdone, rother, rvalue)
{
	rdone = true;
	take_waiting(2 + rc, rc, rother);
	if
	:: rother != NOBODY && CAP == 0 -> rvalue = element[rother]
	:: rother != NOBODY && CAP > 0 ->
		rvalue = buffer[2 * rc];
		buffer[2 * rc] = buffer[2 * rc + 1];
		buffer[2 * rc + count[rc] - 1] = element[rother]
	:: rother == NOBODY && count[rc] > 0 ->
		rvalue = buffer[2 * rc];
		buffer[2 * rc] = buffer[2 * rc + 1];
		buffer[2 * rc + 1] = 0;
		count[rc]--
	:: rother == NOBODY && count[rc] == 0 && closed[rc] -> rvalue = 0
	:: else -> rdone = false
	fi
}

inline account(as, ac, av)
{
	atomic {
		assert(av > last_seen[2 * (as - 2) + ac]); /* in order */
		last_seen[2 * (as - 2) + ac] = av;
		next_in[ac]++;
		got++
	}
}

proctype receiver(byte self; bool selects)
{
	byte other, before, value, c;
	bool done, over[2];

	over[1] = !selects;
	do
	:: over[0] && over[1] -> break
	:: else ->
		c = NOBODY;
		atomic { /* under all locks: something, or places in all queues */
			done = false;
			if /* by chance */
			:: !over[0] -> receive_locked(0, done, other, value);
				if
				:: done -> c = 0
				:: else
				fi
			:: !over[1] -> receive_locked(1, done, other, value);
				if
				:: done -> c = 1
				:: else
				fi
			fi;
			if
			:: !done && !over[0] -> receive_locked(0, done, other, value);
				if
				:: done -> c = 0
				:: else
				fi
			:: else
			fi;
			if
			:: !done && !over[1] -> receive_locked(1, done, other, value);
				if
				:: done -> c = 1
				:: else
				fi
			:: else
			fi;
			if
			:: done -> goto took
			:: else
			fi;
			served[self] = 0;
			state[self] = LOOKS;
			shut[self] = false;
#ifndef PLACE_BY_PLACE
			if
			:: !over[0] -> enqueue(0, self)
			:: else
			fi;
			if
			:: !over[1] -> enqueue(1, self)
			:: else
			fi
#endif
		};
#ifdef PLACE_BY_PLACE
		atomic {
			if
			:: !over[0] -> enqueue(0, self)
			:: else
			fi
		};
		atomic {
			if
			:: !over[1] -> enqueue(1, self)
			:: else
			fi
		};
#endif
		sleep_until_woken(self);
		c = served[self] - 1;
		value = element[self];
		atomic { leave_queue(0, self) };
		atomic { leave_queue(1, self) };
		if
		:: shut[self] -> over[c] = true
		:: else -> account(self, c, value)
		fi;
		goto next;
took:
		if
		:: other != NOBODY -> wake(other, before)
		:: else
		fi;
		if
		:: value == 0 -> over[c] = true
		:: else -> account(self, c, value)
		fi;
next:
		other = 0; before = 0; value = 0; c = 0; done = false
	od
}

proctype closer()
{
	byte c, other, before;

	sent_all == 2;
	do
	:: c == 2 -> break
	:: c < 2 ->
		atomic { closed[c] = true };
		do
		:: atomic { /* all at once in the code; nobody can come in between: closed */
			take_waiting(c, c, other);
			if
			:: other != NOBODY -> shut[other] = true
			:: else
			fi };
			if
			:: other == NOBODY -> break
			:: else -> wake(other, before)
			fi
		od;
		other = 0; before = 0;
		c++
	od
}

init {
	atomic {
		run sender(0, EACH);
		run sender(1, EACH_1);
		run receiver(2, true);
#ifdef SELECTS
		run receiver(3, true);
#else
		run receiver(3, false);
#endif
		run closer()
	};
	_nr_pr == 1;
	assert(got == EACH + EACH_1 && next_in[0] == EACH && next_in[1] == EACH_1);
	assert(count[0] == 0 && count[1] == 0)
}
