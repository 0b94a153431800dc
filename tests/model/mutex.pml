/* mutex.pml - the mutex of lib/sync/mutex.c, with its queue and its sleep (wait.c), for spin.
 *
 *	spin -a mutex.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * What is in it. THREADS threads lock and unlock ROUNDS times each. One step for each atomic operation on
 * the word, for each stretch under the queue's lock, for the exchange of a waiter's state, and for the
 * kernel's check-and-sleep. Whether a waiter has waited long enough to be handed the lock is left to chance,
 * which covers any clock. What must hold: one thread at a time is inside; PARKED is set where somebody is
 * queued, and the lock is not free with somebody queued and nobody on his way (MUTEX-2, MUTEX-3); and nobody
 * sleeps for ever: that would be an end state that is none.
 *
 * Mutants: each leaves out one thing, and spin must then find a fault (sync.test).
 *	PARK_BLIND	a thread parks without looking again whether the lock is free
 *	HAND_FREE	handing over clears LOCKED meanwhile
 *	KEEP_WOKEN	who was woken and parks again leaves WOKEN set
 *	WAKE_BY_LOAD	a waker looks whether the waiter sleeps, then stores WOKEN
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

#define LOOKS 0
#define SLEEPS 1
#define WOKEN 2
#define NOBODY 255

bool locked, parked, woken; /* the word: changed in one step */
byte queue[THREADS], queued; /* first at 0 */
byte state[THREADS], inside;
bool asleep[THREADS]; /* in the kernel */
bool handed[THREADS];
byte on_his_way; /* woken, and has not taken the lock or parked yet */

inline push(i, front)
{
	d_step {
		byte at = queued;
		do
		:: front && at > 0 -> queue[at] = queue[at - 1]; at--
		:: else -> break
		od;
		queue[at] = i;
		queued++;
		at = 0
	}
}

inline pop(i)
{
	d_step {
		byte from = 0;
		i = queue[0];
		queued--;
		do
		:: from < queued -> queue[from] = queue[from + 1]; from++
		:: else -> break
		od;
		from = 0
	}
}

proctype thread(byte self)
{
	byte rounds, other, before;
	bool was_woken, hand, in_queue;

	do
	:: rounds == ROUNDS -> break
	:: rounds < ROUNDS ->
		was_woken = false;
again:
		/* the compare-and-swap of lock */
		if
		:: atomic { !locked ->
			locked = true;
			if
			:: was_woken -> woken = false; on_his_way--
			:: else
			fi;
			goto got
		   }
		:: locked /* and now park */
		fi;
		atomic { /* under the queue's lock; the compare-and-swap in it and all */
			in_queue = false;
#ifndef PARK_BLIND
			if
			:: locked ->
#endif
				parked = true;
				in_queue = true;
#ifdef KEEP_WOKEN
				if
				:: was_woken -> on_his_way--
				:: else
				fi;
#else
				if
				:: was_woken -> woken = false; on_his_way--
				:: !was_woken && queued == 0 -> woken = false
				:: else
				fi;
#endif
				state[self] = LOOKS;
				handed[self] = false;
				push(self, was_woken)
#ifndef PARK_BLIND
			:: else
			fi
#endif
		};
		if
		:: !in_queue -> goto again
		:: in_queue
		fi;
		/* gy_waiter_wait: LOOKS to SLEEPS, then the kernel, until WOKEN */
		if
		:: atomic { state[self] == LOOKS -> state[self] = SLEEPS }
		:: state[self] == WOKEN
		fi;
		do
		:: state[self] == WOKEN -> break
		:: atomic { state[self] == SLEEPS -> asleep[self] = true };
			asleep[self] == false
		od;
		if
		:: handed[self] -> assert(locked); goto got
		:: else -> was_woken = true; goto again
		fi;
got:
		inside++;
		assert(inside == 1);
		inside--;
		/* unlock */
		if
		:: atomic { !parked || woken -> locked = false; goto unlocked }
		:: atomic { parked && !woken }
		fi;
		atomic { /* under the queue's lock */
			other = NOBODY;
			hand = false;
			if
			:: queued > 0 ->
				pop(other);
				if
				:: hand = true
				:: hand = false
				fi
			:: else
			fi;
			parked = queued > 0;
			assert(locked && !woken);
#ifdef HAND_FREE
			locked = false;
#else
			locked = hand;
#endif
			woken = other != NOBODY && !hand;
			if
			:: woken -> on_his_way++
			:: else
			fi
		};
		if
		:: other == NOBODY -> goto unlocked
		:: else
		fi;
#ifdef HAND_FREE
		atomic {
			if
			:: hand -> locked = true
			:: else
			fi
		};
#endif
		handed[other] = hand;
#ifdef WAKE_BY_LOAD
		before = state[other];
		state[other] = WOKEN;
#else
		atomic { before = state[other]; state[other] = WOKEN };
#endif
		if
		:: before == SLEEPS -> asleep[other] = false
		:: else
		fi;
unlocked:
		other = 0; before = 0; hand = false; in_queue = false;
		/* MUTEX-2, MUTEX-3: who is queued has somebody to wake him. */
		assert(queued == 0 || parked);
		assert(locked || queued == 0 || on_his_way > 0);
		rounds++
	od
}

init {
	byte i;
	atomic {
		do
		:: i < THREADS -> run thread(i); i++
		:: else -> break
		od
	}
}
