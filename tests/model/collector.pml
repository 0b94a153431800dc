/* collector.pml - the collector's protocol, for spin: pause with fix-up, snapshot, deletion barrier with
 * per-thread buffers, flushes, termination without handshake, birth in black, two cycles in a row.
 *
 *	spin -a collector.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * What is in it. Objects have one field. Two mutators with two registers each load, store (gyre_set),
 * and where asked for exchange (gyre_atomic_exchange), forget and allocate, in any order, as many times as OPS0
 * and OPS1 say. One marker scans. The collector pauses, marks, terminates, sweeps; CYCLES times. What must
 * hold: whatever a mutator can reach when marking has ended is marked (or was born black), and no
 * mutator ever finds an object that was swept.
 *
 * Step by step as in the code, wherever another thread could see the difference: the inline store (flag
 * test | store), the slow half (load | append | store), exchange (load | flag, shade | compare-and-swap), a
 * flush (become busy, unless closed | mark, empty, idle), the marker (take, read field | mark what was
 * read), gy_barrier_terminate (quiet | one buffer | the other | close). A pause is one step, for what happens
 * in it happens with all others stopped; it falls between any two steps of a mutator, but not within a
 * flush (BUSY-1). It takes registers as roots, and temporaries, which are registers too.
 *
 * Mutants: each leaves out one thing, and spin must then find an object lost (collector.test).
 *	NO_BARRIER	the slow half appends nothing
 *	SPLIT_STORE	a pause between flag test and store takes nobody back
 *	LATE_SHADE	the slow half stores first, then appends
 *	XCHG_FIRST	exchange swaps first, then shades what came back
 *	NO_ACTIVITY	termination does not ask whether somebody was busy meanwhile
 *	NO_CLOSE	a flush does not ask whether marking has ended
 *	ONE_BUFFER	termination looks at one thread's buffer only
 *	WHITE_BIRTH	new objects are white
 * SPLIT_SLOW (a pause within the slow half takes nobody back) is not found with as few operations as fit
 * here; why it is needed is argued in barrier.c.
 */
#ifndef OPS0
#define OPS0 2 /* operations of a mutator */
#endif
#ifndef OPS1
#define OPS1 2
#endif
#ifndef CYCLES
#define CYCLES 2
#endif
#define OBJECTS 5 /* 0 is NULL; 1 to 3 are there at first */

/* ---- memory */
byte field[OBJECTS];
bool allocated[OBJECTS], marked[OBJECTS], grey[OBJECTS];
byte reg[4];	       /* two of each mutator */
byte old[2], value[2]; /* its temporaries: registers as well */

/* ---- the barrier */
bool marking;
bool flag_seen[2];
bool in_fast[2], in_slow[2]; /* within a restartable sequence */
bool again[2];		     /* the pause found it there: back to the begin */
bool held[2];		     /* BUSY-1 */
bool filled[2];		     /* its buffer, of one entry */
bool looked[2];		     /* that entry was looked at */
byte entry[2];

/* ---- the marker */
byte busy, activity;
bool closed = true;
byte cycles;

#define QUIET (busy == 0 && !grey[1] && !grey[2] && !grey[3] && !grey[4])
#ifdef NO_ACTIVITY
#define UNDISTURBED true
#else
#define UNDISTURBED (seen == activity)
#endif

inline shade(o) /* white to grey */
{
	if
	:: o != 0 && allocated[o] && !marked[o] -> marked[o] = true; grey[o] = true
	:: else
	fi
}

inline become_busy()
{
	busy++;
	activity = (activity + 1) % 100
}

/* ---- mutators */

/* One step of a sequence that the pause takes back to `begin`. */
#define STEP(begin, what)                                                                          \
	atomic { if :: again[m] -> again[m] = false; goto begin :: else -> what fi }

inline append(o)
{
	assert(!filled[m]);
	entry[m] = o;
	filled[m] = true
}

inline flush()
{
	atomic {
		held[m] = true;
#ifdef NO_CLOSE
		flag_seen[m] = true;
#else
		flag_seen[m] = !closed;
#endif
		if :: flag_seen[m] -> become_busy() :: else fi
	}
	atomic {
		if
		:: flag_seen[m] ->
			if :: !looked[m] -> shade(entry[m]) :: else fi;
			busy--
		:: else
		fi;
		filled[m] = false; looked[m] = false; entry[m] = 0;
		flag_seen[m] = false; held[m] = false
	}
}

proctype mutator(byte m; byte ops)
{
	byte a, b, at; /* a, b: which registers */

next:
	atomic {
		if
		:: ops == 0 -> goto done
		:: else
		fi;
		ops--;
		if
		:: a = m * 2; b = m * 2 + 1
		:: b = m * 2; a = m * 2 + 1
		fi;
		if
		:: reg[b] != 0 -> /* load: a = b->field */
			assert(allocated[reg[b]]);
			reg[a] = field[reg[b]];
			goto next
		:: reg[a] != 0 -> /* store: a->field = b, or NULL */
			assert(allocated[reg[a]]);
			at = reg[a];
			if :: value[m] = reg[b] :: reg[b] != 0 -> value[m] = 0 fi;
			goto fast
#ifdef WITH_FORGET
		:: reg[a] != 0 -> reg[a] = 0; goto next
#endif
#ifdef WITH_ALLOC
		:: !allocated[4] ->
			allocated[4] = true; field[4] = 0; reg[a] = 4;
#ifndef WHITE_BIRTH
			marked[4] = marking;
#endif
			goto next
#endif
#ifdef WITH_EXCHANGE
		:: reg[a] != 0 -> /* b = exchange(a->field, b) */
			assert(allocated[reg[a]]);
			at = reg[a]; value[m] = reg[b];
			goto exchange
#endif
		:: true -> goto next
		fi
	}

	/* gyre_set */
fast:
	atomic { again[m] = false; flag_seen[m] = marking; in_fast[m] = true }
	STEP(fast, in_fast[m] = false;
	     if
	     :: flag_seen[m] -> flag_seen[m] = false; goto slow
	     :: else -> field[at] = value[m]
	     fi)
	goto stored;
slow:
	atomic { again[m] = false; in_slow[m] = true; old[m] = field[at] }
#ifdef LATE_SHADE
	STEP(slow, in_slow[m] = false;
	     if
	     :: old[m] != 0 && filled[m] -> goto overfull
	     :: else -> field[at] = value[m]
	     fi)
	atomic { if :: old[m] != 0 -> append(old[m]) :: else fi }
#else
#ifndef NO_BARRIER
	STEP(slow, if
		   :: old[m] != 0 && filled[m] -> in_slow[m] = false; goto overfull
		   :: old[m] != 0 && !filled[m] -> append(old[m])
		   :: else
		   fi)
#endif
	STEP(slow, field[at] = value[m]; in_slow[m] = false)
#endif
	goto stored;
overfull:
	flush();
	goto slow;

	/* gyre_atomic_exchange */
exchange:
#ifdef XCHG_FIRST
	atomic { old[m] = field[at]; field[at] = value[m] }
	flag_seen[m] = marking;
	if
	:: flag_seen[m] && old[m] != 0 ->
		flag_seen[m] = false;
		if :: filled[m] -> flush() :: else fi;
		append(old[m])
	:: else -> flag_seen[m] = false
	fi;
#else
	old[m] = field[at];
try:
	flag_seen[m] = marking;
	if
	:: flag_seen[m] && old[m] != 0 ->
		flag_seen[m] = false;
		if :: filled[m] -> flush() :: else fi;
		append(old[m])
	:: else -> flag_seen[m] = false
	fi;
	atomic {
		if
		:: field[at] == old[m] -> field[at] = value[m]
		:: else -> old[m] = field[at]; goto try
		fi
	}
#endif
	reg[b] = old[m];
stored:
	atomic { value[m] = 0; old[m] = 0; at = 0; goto next }
done: /* gy_barrier_thread_end */
	if
	:: filled[m] -> flush()
	:: else
	fi;
	atomic { reg[m * 2] = 0; reg[m * 2 + 1] = 0 } /* it holds nothing any more */
}

/* ---- the marker */

active proctype marker()
{
	byte o, target;

end_marker:
	do
	:: atomic {
		grey[1] || grey[2] || grey[3] || grey[4];
		become_busy();
		if
		:: grey[1] -> o = 1
		:: grey[2] -> o = 2
		:: grey[3] -> o = 3
		:: grey[4] -> o = 4
		fi;
		grey[o] = false;
		target = field[o];
		o = 0
	   }
	   atomic { shade(target); busy--; target = 0 }
	od
}

/* ---- the collector */

inline pause()
{
	atomic {
		!held[0] && !held[1];
		cycles++;
		/* gy_mark_begin empties the queues. Bits that were set after the sweep stay: it would be
		 * a bug that they are there. */
		grey[1] = false; grey[2] = false; grey[3] = false; grey[4] = false;
		looked[0] = filled[0]; looked[1] = filled[1];
		activity = 0;
#ifndef SPLIT_STORE
		if :: in_fast[0] -> again[0] = true :: else fi;
		if :: in_fast[1] -> again[1] = true :: else fi;
#endif
#ifndef SPLIT_SLOW
		if :: in_slow[0] -> again[0] = true :: else fi;
		if :: in_slow[1] -> again[1] = true :: else fi;
#endif
		shade(reg[0]); shade(reg[1]); shade(reg[2]); shade(reg[3]);
		shade(old[0]); shade(old[1]); shade(value[0]); shade(value[1]);
		closed = false;
		marking = true
	}
}

inline look_at(i)
{
	atomic {
		if
		:: filled[i] && !looked[i] ->
			looked[i] = true;
			if
			:: !marked[entry[i]] -> white = true; shade(entry[i])
			:: else
			fi
		:: else
		fi
	}
}

/* Whatever a mutator can reach is marked. */
inline check_reached()
{
	d_step {
		do
		:: r < 8 ->
			if
			:: r < 4 -> t = reg[r]
			:: r == 4 || r == 5 -> t = old[r - 4]
			:: else -> t = value[r - 6]
			fi;
			k = 0;
			do
			:: t != 0 && k < OBJECTS -> assert(marked[t]); t = field[t]; k++
			:: else -> break
			od;
			r++
		:: else -> break
		od;
		r = 0; t = 0; k = 0
	}
}

inline sweep()
{
	d_step {
		k = 1;
		do
		:: k < OBJECTS ->
			if
			:: !marked[k] -> allocated[k] = false; field[k] = 0
			:: else -> marked[k] = false
			fi;
			k++
		:: else -> break
		od;
		k = 0
	}
}

active proctype collector()
{
	byte seen, r, t, k;
	bool white;

	atomic { /* 1 -> 2 -> 3 -> NULL; 4 is free; both mutators have 1 */
		field[1] = 2; field[2] = 3;
		allocated[1] = true; allocated[2] = true; allocated[3] = true;
		reg[0] = 1; reg[2] = 1;
		run mutator(0, OPS0); run mutator(1, OPS1)
	}
	do
	:: cycles < CYCLES ->
		pause();
terminate:
		atomic { QUIET -> seen = activity }
		look_at(0);
#ifndef ONE_BUFFER
		look_at(1);
#endif
		atomic {
			if
			:: white -> white = false; goto terminate
			:: !white && QUIET && UNDISTURBED -> closed = true
			:: else -> goto terminate
			fi;
			seen = 0
		}
		check_reached();
		atomic { marking = false; sweep() } /* one step to allocation: SPACE-7 */
	:: else -> break
	od
}
