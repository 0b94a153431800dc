#!/bin/sh
# What libgyre.so shows to the outside: its symbols, the libraries that it needs, its USDT probes.
. "$GYRE_SRC/tests/lib.sh"

[ -f "$GYRE_LIB" ] || { not_ok "libgyre.so is there" "no $GYRE_LIB: run make"; exit 1; }

cat >"$TMPDIR/family" <<'LIST'
aligned_alloc
calloc
cfree
free
free_aligned_sized
free_sized
malloc
malloc_trim
malloc_usable_size
memalign
posix_memalign
pvalloc
realloc
reallocarray
valloc
LIST
# glibc's own names for the same functions, and what reports on or steers a heap
cat >"$TMPDIR/optional" <<'LIST'
__libc_calloc
__libc_free
__libc_malloc
__libc_memalign
__libc_pvalloc
__libc_realloc
__libc_valloc
__posix_memalign
mallinfo
mallinfo2
malloc_info
malloc_stats
mallopt
LIST
# signal masks, of which the collector's signal is kept out
cat >"$TMPDIR/masks" <<'LIST'
__ppoll_chk
epoll_pwait
epoll_pwait2
ppoll
pselect
pthread_attr_setsigmask_np
pthread_sigmask
sigprocmask
sigsuspend
sigtimedwait
sigwait
sigwaitinfo
LIST
# waits that are blocking regions, and what sets the handlers that may come there
cat >"$TMPDIR/waits" <<'LIST'
__poll_chk
__sysv_signal
accept
accept4
bsd_signal
clock_nanosleep
epoll_wait
nanosleep
pause
poll
pthread_cond_clockwait
pthread_cond_timedwait
pthread_cond_wait
select
sem_clockwait
sem_timedwait
sem_wait
sigaction
signal
sigset
sleep
ssignal
sysv_signal
usleep
LIST
# new and delete: plain, nothrow, sized, aligned, in the forms that C++17 has
for op in nw na; do
	printf '%s\n' "_Z${op}m" "_Z${op}mRKSt9nothrow_t" "_Z${op}mSt11align_val_t" "_Z${op}mSt11align_val_tRKSt9nothrow_t"
done >>"$TMPDIR/family"
for op in dl da; do
	printf '%s\n' "_Z${op}Pv" "_Z${op}Pvm" "_Z${op}PvRKSt9nothrow_t" "_Z${op}PvSt11align_val_t" "_Z${op}PvmSt11align_val_t" \
		"_Z${op}PvSt11align_val_tRKSt9nothrow_t"
done >>"$TMPDIR/family"
# the functions that the public headers declare, and what their inline parts need
cat "$GYRE_SRC"/lib/include/gyre/*.h | grep -vE '^(static|template|inline) ?' |
	sed -n 's/^[a-z].*[ *]\(gyre_[a-z0-9_]*\)(.*/\1/p; s/^extern .*[ *]\(gyre_[a-z0-9_]*\);.*/\1/p' >"$TMPDIR/public"

nm -D --defined-only "$GYRE_LIB" | awk '{ sub(/@.*/, "", $3); if ($2 ~ /[TWVDBRi]/) print $3 }' | sort -u >"$TMPDIR/exported"
sort -u "$TMPDIR/family" "$TMPDIR/public" "$TMPDIR/masks" "$TMPDIR/waits" >"$TMPDIR/wanted"
sort -u "$TMPDIR/wanted" "$TMPDIR/optional" >"$TMPDIR/allowed"

missing=$(comm -13 "$TMPDIR/exported" "$TMPDIR/wanted" | tr '\n' ' ')
if [ -z "$missing" ]; then ok "all of the malloc family, new, delete and the public headers is exported"; else
	not_ok "all of the malloc family, new, delete and the public headers is exported" "missing: $missing"
fi
extra=$(comm -23 "$TMPDIR/exported" "$TMPDIR/allowed" | tr '\n' ' ')
if [ -z "$extra" ]; then ok "nothing else is exported"; else not_ok "nothing else is exported" "$extra"; fi

versioned=$(nm -D --defined-only "$GYRE_LIB" | grep '@' | head -n 3)
if [ -z "$versioned" ]; then ok "exported names carry no version"; else not_ok "exported names carry no version" "$versioned"; fi

needed=$(readelf -dW "$GYRE_LIB" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | tr '\n' ' ')
if [ "$needed" = "libc.so.6 " ]; then ok "libgyre.so needs libc alone"; else not_ok "libgyre.so needs libc alone" "it needs $needed"; fi

soname=$(readelf -dW "$GYRE_LIB" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
if [ "$soname" = libgyre.so.0 ]; then ok "its soname is libgyre.so.0"; else not_ok "its soname is libgyre.so.0" "$soname"; fi

if readelf -dW "$GYRE_LIB" | grep -q 'BIND_NOW\|NOW'; then ok "it is bound at load"; else not_ok "it is bound at load" "no BIND_NOW"; fi
if readelf -lW "$GYRE_LIB" | grep -q 'GNU_STACK.*RWE'; then not_ok "its stack is not executable" "GNU_STACK is RWE"; else
	ok "its stack is not executable"
fi
if readelf -dW "$GYRE_LIB" | grep -q TEXTREL; then not_ok "no text relocations" "TEXTREL"; else ok "no text relocations"; fi
if readelf -rW "$GYRE_LIB" | grep -q 'TLSDESC\|DTPMOD'; then
	not_ok "thread-local storage is reached without a call" "$(readelf -rW "$GYRE_LIB" | grep 'TLSDESC\|DTPMOD' | head -n 1)"
else
	ok "thread-local storage is reached without a call"
fi

# In the static archive, whatever is global is one of these names too.
nm -g --defined-only "$GYRE_BUILD/libgyre.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^_\.stapsdt/ { print $3 }' | sort -u >"$TMPDIR/static"
extra=$(comm -23 "$TMPDIR/static" "$TMPDIR/allowed" | tr '\n' ' ')
if [ -s "$TMPDIR/static" ] && [ -z "$extra" ]; then ok "libgyre.a defines the same names and no other"; else
	not_ok "libgyre.a defines the same names and no other" "${extra:-it defines none}"
fi

# Probes: name, provider, location and semaphore from the ELF notes.
readelf -nW "$GYRE_LIB" | awk '
	/Provider:/ { provider = $NF } /Name:/ { name = $2 }
	/Location:/ { gsub(",", ""); print provider, name, $2, $6; }' >"$TMPDIR/notes"
sed -n 's/^PROBE([a-z]*, \([a-z_0-9]*\), .*/\1/p' "$GYRE_SRC/lib/base/probes.def" >"$TMPDIR/probes"
[ -s "$TMPDIR/probes" ] || not_ok "probes.def lists probes" "none found"
while read -r name; do
	count=$(grep -c "^gyre $name " "$TMPDIR/notes")
	where=$(sed -n "s/^gyre $name \([^ ]*\) .*/\1/p" "$TMPDIR/notes" | head -n 1)
	semaphore=$(sed -n "s/^gyre $name [^ ]* \(.*\)/\1/p" "$TMPDIR/notes" | head -n 1)
	if [ "$count" != 1 ]; then
		not_ok "probe $name" "$count sites in the ELF notes, not 1"
	elif [ $((semaphore)) = 0 ]; then
		not_ok "probe $name" "no semaphore"
	else
		# one instruction, one byte long, 0x90: a five-byte nop would be rewritten to a call while traced
		code=$(objdump -d --start-address="$where" --stop-address=$((where + 16)) "$GYRE_LIB" |
			sed -n 's/^ *[0-9a-f]*:\t\([0-9a-f ]*[0-9a-f]\) *\t.*/\1/p' | head -n 1)
		if [ "$code" = 90 ]; then ok "probe $name: one site, a one-byte nop, a semaphore"; else
			not_ok "probe $name" "its instruction is '$code', not 90"
		fi
	fi
done <"$TMPDIR/probes"
extra=$(awk '{ print $2 }' "$TMPDIR/notes" | sort -u | comm -23 - "$(sort "$TMPDIR/probes" >"$TMPDIR/sorted"; echo "$TMPDIR/sorted")")
if [ -z "$extra" ]; then ok "no probe outside probes.def"; else not_ok "no probe outside probes.def" "$extra"; fi
