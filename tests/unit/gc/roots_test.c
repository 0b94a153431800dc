/* roots_test.c - a value that lies in one place only is found there: in a register, on a stack of
 * whatever kind, in thread-local storage, in a global, in a range.
 *
 * Values are looked for by gy_roots_each. They are made of a number and a key, so that the number
 * that is told to the search is not found in their stead. The thread that searches stops the world
 * itself and is not searched, unless the test says so.
 */
#include "gc/roots.h"

#include "base/config.h"
#include "heap/heap.h"
#include "mutator/world.h"
#include "os/sys.h"

#include "unit/unit.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define SIGNAL_STACK_BYTES ((size_t)128 << 10)
#define KEY 0x5a5a5a5a5a5a5a58ull

static struct gy_world_report report;

static void start(void)
{
	cr_assert(gy_heap_start());
	gy_option_values[GY_OPT_background] = 0;
	cr_assert_eq(gy_world_init(), 0);
	cr_assert_eq(gy_roots_init(), 0);
}

TestSuite(roots, .init = start, .timeout = 60);

/* ---- the search ---- */

struct search {
	uint64_t number;
	unsigned found;
	uintptr_t at;
};

#if GY_TSAN
#define RAW GY_RACY_READER
#else
#define RAW __attribute__((no_sanitize("address")))
#endif

RAW static void look(const void *start, const void *end, void *argument)
{
	struct search *search = argument;

	for (const uint64_t *at = start; at < (const uint64_t *)end; at++)
		if ((*at ^ KEY) == search->number) {
			search->found++;
			search->at = (uintptr_t)at;
		}
}

static uintptr_t value_of(uint64_t number)
{
	uint64_t hidden;

	__asm__ volatile("" : "=r"(hidden) : "0"(number));
	return hidden ^ KEY;
}

/* In how many places `number` lies while the world is stopped. */
static unsigned search_from(uint64_t number, uintptr_t own_sp)
{
	struct search search = {.number = number};

	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert(gy_roots_freeze(own_sp));
	gy_roots_each(look, &search);
	gy_world_start();
	return search.found;
}

static unsigned places_of(uint64_t number)
{
	return search_from(number, 0);
}

/* ---- globals, ranges ---- */

static volatile uintptr_t in_bss;
static volatile uintptr_t in_data = 1;
static const uintptr_t in_rodata[] = {77 ^ KEY};

Test(roots, globals_of_the_program)
{
	cr_assert_eq(places_of(11), 0u);
	in_bss = value_of(11);
	cr_assert_eq(places_of(11), 1u);
	in_data = value_of(12);
	cr_assert_eq(places_of(12), 1u);
	in_bss = in_data = 0;
	cr_assert_eq(places_of(11), 0u);
	cr_assert_eq(places_of(12), 0u);
	__asm__ volatile("" ::"r"(in_rodata) : "memory");
	cr_assert_eq(places_of(77), 0u, "read-only data is no root");
}

Test(roots, globals_of_libraries)
{
	void **variable = dlsym(RTLD_DEFAULT, "optarg"); /* the C library's own */

	cr_assert_not_null(variable);
	cr_assert_eq(places_of(13), 0u);
	*variable = (void *)value_of(13);
	cr_assert_geq(places_of(13), 1u);
	*variable = NULL;
	cr_assert_eq(places_of(13), 0u);
}

Test(roots, ranges_come_and_go)
{
	uintptr_t *block =
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gy_root_stats stats, more;

	cr_assert_neq(block, MAP_FAILED);
	block[0] = block[1000] = block[131071] = value_of(21);
	cr_assert_eq(places_of(21), 0u, "ROOT-5: mapped memory is no root by itself");
	gy_roots_read_stats(&stats);
	cr_assert_eq(gy_root_range_add(block, 8008), 0);
	cr_assert_eq(places_of(21), 2u);
	gy_roots_read_stats(&more);
	cr_assert_geq(more.root_bytes, stats.root_bytes + 8008);
	cr_assert_eq(gy_root_range_add(block + 131071, 15), 0);
	cr_assert_eq(places_of(21), 3u);
	cr_assert_eq(gy_root_range_add(block + 1000, 8), -EINVAL);
	cr_assert_eq(gy_root_range_add(block + 999, 80), -EINVAL);
	cr_assert_eq(gy_root_range_add(block + 1001, 8), 0);
	cr_assert_eq(gy_root_range_add((char *)block + 20004, 8), -EINVAL);
	cr_assert_eq(gy_root_range_add(block + 5000, 7), -EINVAL);
	cr_assert_eq(gy_root_range_add(NULL, 8), -EINVAL);
	cr_assert_eq(gy_root_range_add(block + 5000, SIZE_MAX - 7), -EINVAL);
	cr_assert_eq(gy_root_range_remove(block + 1), -EINVAL);
	cr_assert_eq(gy_root_range_remove(block), 0);
	cr_assert_eq(gy_root_range_remove(block), -EINVAL);
	cr_assert_eq(places_of(21), 1u);
	for (unsigned i = 0; i < 1000; i++) /* the array grows */
		cr_assert_eq(gy_root_range_add(block + 2000 + 2 * ((i * 7) % 1000), 8), 0);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(gy_root_range_remove(block + 2000 + 2 * i), 0);
	cr_assert_eq(places_of(21), 1u);
}

static struct r_debug *loaders_list(void)
{
	for (ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_DEBUG)
			return (struct r_debug *)entry->d_un.d_ptr;
	return NULL;
}

Test(roots, ROOT_1_a_list_that_is_being_changed)
{
	struct r_debug *debug = loaders_list();

	cr_assert_not_null(debug);
	debug->r_state = RT_ADD;
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert_not(gy_roots_freeze(0));
	gy_world_start();
	debug->r_state = RT_CONSISTENT;
	in_bss = value_of(31);
	cr_assert_eq(places_of(31), 1u);
}

/* ---- the calling thread ---- */

static __thread volatile uintptr_t in_tls;

Test(roots, the_calling_thread_if_it_says_so)
{
	volatile uintptr_t local = value_of(41);

	in_tls = value_of(42);
	cr_assert_eq(places_of(41), 0u);
	cr_assert_geq(search_from(41, (uintptr_t)__builtin_frame_address(0) - 4096), 1u);
	cr_assert_eq(search_from(42, (uintptr_t)__builtin_frame_address(0) - 64), 1u);
	in_tls = 0;
	cr_assert_eq(search_from(42, (uintptr_t)__builtin_frame_address(0) - 64), 0u);
	cr_assert_eq(local, value_of(41));
}

/* ---- other threads ---- */

struct holder {
	pthread_t thread;
	uint64_t number;
	void (*hold)(struct holder *holder);
	uint32_t ready, quit; /* [atomic] */
	bool registered;
	struct gy_mutator mutator;
	ucontext_t here, there;
	char *memory;
};

static void holder_ready(struct holder *holder)
{
	__atomic_store_n(&holder->ready, 1, __ATOMIC_RELEASE);
}

static void holder_wait(struct holder *holder)
{
	holder_ready(holder);
	while (!__atomic_load_n(&holder->quit, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
}

static void *holder_main(void *argument)
{
	struct holder *holder = argument;

	if (holder->registered)
		gy_mutator_add(&holder->mutator);
	holder->hold(holder);
	if (holder->registered)
		gy_mutator_remove(&holder->mutator);
	return NULL;
}

/* How often is the number found while a thread holds it like that? Once per kind of thread. */
static void holder_test(void (*hold)(struct holder *holder), uint64_t number, unsigned least)
{
	for (unsigned registered = 0; registered < 2; registered++)
		for (unsigned small = 0; small < 2; small++) {
			struct holder *holder = calloc(1, sizeof(*holder));
			pthread_attr_t attributes;
			unsigned found;

			*holder = (struct holder){
				.number = number, .hold = hold, .registered = registered};
			pthread_attr_init(&attributes);
			if (small)
				pthread_attr_setstacksize(&attributes, 128 << 10);
			cr_assert_eq(
				pthread_create(&holder->thread, &attributes, holder_main, holder),
				0);
			while (!__atomic_load_n(&holder->ready, __ATOMIC_ACQUIRE))
				unit_sleep_ms(1);
			for (unsigned i = 0; i < 3; i++) {
				found = places_of(number);
				cr_assert_geq(found, least, "registered %u, small %u, time %u",
					      registered, small, i);
			}
			__atomic_store_n(&holder->quit, 1, __ATOMIC_RELEASE);
			cr_assert_eq(pthread_join(holder->thread, NULL), 0);
			pthread_attr_destroy(&attributes);
			free(holder);
		}
}

static void hold_on_stack(struct holder *holder)
{
	volatile uintptr_t deep[100];

	deep[50] = value_of(holder->number);
	holder_wait(holder);
	cr_assert_eq(deep[50], value_of(holder->number));
}

Test(roots, a_threads_stack)
{
	holder_test(hold_on_stack, 51, 1);
}

/* Below the stack pointer: the red zone of a leaf. */
static void hold_in_red_zone(struct holder *holder)
{
#if defined(__x86_64__)
	__asm__ volatile("	leaq -8192(%%rsp), %%rsp\n" /* away from what this function uses */
			 "	movq %[value], -112(%%rsp)\n"
			 "	xorl %k[value], %k[value]\n"
			 "	movl $1, %[ready]\n"
			 "1:	cmpl $0, %[quit]\n"
			 "	je 1b\n"
			 "	leaq 8192(%%rsp), %%rsp\n"
			 : [ready] "=m"(*(&holder->ready))
			 : [value] "r"(value_of(holder->number)), [quit] "m"(*(&holder->quit))
			 : "memory", "cc");
#else
	holder_wait(holder);
#endif
}

static void hold_in_register(struct holder *holder)
{
#if defined(__x86_64__)
	__asm__ volatile("	movl $1, (%[ready])\n"
			 "1:	cmpl $0, (%[quit])\n"
			 "	je 1b\n"
			 :
			 : "a"(value_of(holder->number)), [ready] "r"(&holder->ready),
			   [quit] "r"(&holder->quit)
			 : "memory", "cc");
#else
	holder_wait(holder);
#endif
}

/* Two halves: the value is found whatever lane it is in. */
static void hold_in_vector(struct holder *holder)
{
#if defined(__x86_64__)
	__asm__ volatile("	movq %%rax, %%xmm13\n"
			 "	pslldq $8, %%xmm13\n"
			 "	xorl %%eax, %%eax\n"
			 "	movl $1, (%[ready])\n"
			 "1:	cmpl $0, (%[quit])\n"
			 "	je 1b\n"
			 "	pxor %%xmm13, %%xmm13\n"
			 :
			 : "a"(value_of(holder->number)), [ready] "r"(&holder->ready),
			   [quit] "r"(&holder->quit)
			 : "memory", "cc", "xmm13");
#else
	holder_wait(holder);
#endif
}

#if defined(__x86_64__)
__attribute__((target("avx"))) static void hold_in_wide_vector(struct holder *holder)
{
	__asm__ volatile("	vmovq %%rax, %%xmm12\n"
			 "	vpermilpd $0, %%xmm12, %%xmm12\n"
			 "	vinsertf128 $1, %%xmm12, %%ymm12, %%ymm12\n"
			 "	vxorps %%xmm11, %%xmm11, %%xmm11\n"
			 "	vblendps $15, %%ymm11, %%ymm12, %%ymm12\n"
			 "	xorl %%eax, %%eax\n"
			 "	movl $1, (%[ready])\n"
			 "1:	cmpl $0, (%[quit])\n"
			 "	je 1b\n"
			 "	vzeroupper\n"
			 :
			 : "a"(value_of(holder->number)), [ready] "r"(&holder->ready),
			   [quit] "r"(&holder->quit)
			 : "memory", "cc", "xmm11", "xmm12");
}
#endif

Test(roots, registers_and_red_zone)
{
	holder_test(hold_in_register, 52, 1);
	holder_test(hold_in_vector, 53, 1);
	holder_test(hold_in_red_zone, 54, 1);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx"))
		holder_test(hold_in_wide_vector, 55, 1);
#endif
}

/* ---- thread-local storage ---- */

static void hold_in_tls(struct holder *holder)
{
	in_tls = value_of(holder->number);
	holder_wait(holder);
}

Test(roots, static_thread_local_storage)
{
	holder_test(hold_in_tls, 61, 1);
}

/* Of the main thread it lies apart from its stack. */
static void *search_from_thread(void *argument)
{
	uint64_t *number = argument;

	*number = search_from(*number, 0);
	return NULL;
}

Test(roots, the_main_threads_stack_and_thread_local_storage)
{
	volatile uintptr_t local = value_of(62);
	uint64_t number = 62;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, search_from_thread, &number), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_geq(number, 1u);
	in_tls = value_of(63);
	number = 63;
	cr_assert_eq(pthread_create(&thread, NULL, search_from_thread, &number), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_geq(number, 1u);
	cr_assert_eq(local, value_of(62));
}

static pthread_key_t keys[200];

static void hold_in_first_key(struct holder *holder)
{
	pthread_setspecific(keys[0], (void *)value_of(holder->number));
	holder_wait(holder);
	pthread_setspecific(keys[0], NULL);
}

static void hold_in_late_key(struct holder *holder)
{
	pthread_setspecific(keys[180], (void *)value_of(holder->number));
	holder_wait(holder);
	pthread_setspecific(keys[180], NULL);
}

Test(roots, values_of_pthread_setspecific)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		cr_assert_eq(pthread_key_create(&keys[i], NULL), 0);
	holder_test(hold_in_first_key, 64, 1);
	holder_test(hold_in_late_key, 65, 1);
}

/* ---- blocking regions ---- */

static void hold_in_region(struct holder *holder)
{
	volatile uintptr_t local = value_of(holder->number);

	if (holder->registered)
		gy_blocking_begin(&holder->mutator);
	holder_wait(holder);
	if (holder->registered)
		gy_blocking_end(&holder->mutator);
	local = 0;
	(void)local;
}

Test(roots, BLOCK_1_a_thread_in_a_region)
{
	holder_test(hold_in_region, 71, 1);
}

/* What a returned call has left below the stack pointer of a thread that waits in a region. */
static void hold_below_region(struct holder *holder)
{
#if defined(__x86_64__)
	if (!holder->registered) {
		holder_ready(holder);
		return;
	}
	gy_blocking_begin(&holder->mutator);
	__asm__ volatile("	movq %[value], -8(%[sp])\n"
			 "	movq %[value], -64(%[sp])\n"
			 "	movq %[value], -120(%[sp])\n"
			 "	xorl %k[value], %k[value]\n"
			 "	movl $1, (%[ready])\n"
			 "1:	pause\n"
			 "	cmpl $0, (%[quit])\n"
			 "	je 1b\n"
			 :
			 : [value] "a"(value_of(holder->number)), [ready] "r"(&holder->ready),
			   [quit] "r"(&holder->quit), [sp] "r"(holder->mutator.blocked_sp)
			 : "memory", "cc");
	gy_blocking_end(&holder->mutator);
#else
	holder_ready(holder);
#endif
}

Test(roots, THREAD_3_a_thread_in_a_region_has_no_red_zone)
{
	struct holder *holder = calloc(1, sizeof(*holder));

	*holder = (struct holder){.number = 72, .hold = hold_below_region, .registered = true};
	cr_assert_eq(pthread_create(&holder->thread, NULL, holder_main, holder), 0);
	while (!__atomic_load_n(&holder->ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(places_of(72), 0u);
	__atomic_store_n(&holder->quit, 1, __ATOMIC_RELEASE);
	cr_assert_eq(pthread_join(holder->thread, NULL), 0);
	free(holder);
}

/* ---- other stacks ---- */

static struct holder *current_holder; /* makecontext passes ints */

static void coroutine_main(void)
{
	struct holder *holder = current_holder;
	volatile uintptr_t local = value_of(holder->number);

	holder_wait(holder);
	local = 0;
	(void)local;
}

/* What waits on the thread's own stack is held too. */
static void run_coroutine(struct holder *holder, char *stack, size_t bytes)
{
	volatile uintptr_t local = value_of(holder->number);

	current_holder = holder;
	getcontext(&holder->there);
	holder->there.uc_stack.ss_sp = stack;
	holder->there.uc_stack.ss_size = bytes;
	holder->there.uc_link = &holder->here;
	makecontext(&holder->there, coroutine_main, 0);
	swapcontext(&holder->here, &holder->there);
	local = 0;
	(void)local;
}

static void hold_in_mapped_coroutine(struct holder *holder)
{
	size_t bytes = 256 << 10;
	char *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	run_coroutine(holder, stack, bytes);
	munmap(stack, bytes);
}

static void hold_in_heap_coroutine(struct holder *holder)
{
	size_t bytes = 64 << 10;
	char *stack = gy_heap_alloc(bytes, 0);

	run_coroutine(holder, stack, bytes);
	gy_heap_free(stack, 0);
}

Test(roots, coroutines_and_what_they_left)
{
	if (UNIT_SLOW)
		cr_skip("sanitizers must be told of coroutines");
	holder_test(hold_in_mapped_coroutine, 81, 2);
	holder_test(hold_in_heap_coroutine, 82, 2);
}

/* A main thread on a coroutine. */
static void *search_when_ready(void *argument)
{
	struct holder *holder = argument;

	while (!__atomic_load_n(&holder->ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	holder->memory = (char *)(uintptr_t)places_of(holder->number);
	__atomic_store_n(&holder->quit, 1, __ATOMIC_RELEASE);
	return NULL;
}

Test(roots, the_main_thread_on_a_coroutine)
{
	static struct holder holder = {.number = 83};
	pthread_t thread;

	if (UNIT_SLOW)
		cr_skip("sanitizers must be told of coroutines");
	cr_assert_eq(pthread_create(&thread, NULL, search_when_ready, &holder), 0);
	hold_in_mapped_coroutine(&holder);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_geq((uintptr_t)holder.memory, 2u);
}

static __thread struct holder *handling;

static void hold_in_handler(int number)
{
	volatile uintptr_t local = value_of(handling->number);

	(void)number;
	holder_wait(handling);
	local = 0;
	(void)local;
}

static void raise_with(struct holder *holder, int flags)
{
	struct sigaction action = {.sa_handler = hold_in_handler, .sa_flags = flags};
	volatile uintptr_t local = value_of(holder->number);

	handling = holder;
	sigaction(SIGUSR2, &action, NULL);
	syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2);
	local = 0;
	(void)local;
}

static void hold_on_signal_stack(struct holder *holder)
{
	stack_t stack = {.ss_size = SIGNAL_STACK_BYTES};

	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	sigaltstack(&stack, NULL);
	raise_with(holder, SA_ONSTACK);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	munmap(stack.ss_sp, stack.ss_size);
}

static void hold_in_plain_handler(struct holder *holder)
{
	raise_with(holder, 0);
}

static void hold_on_disarmed_stack(struct holder *holder)
{
	stack_t stack = {.ss_size = SIGNAL_STACK_BYTES,
			 .ss_flags = (int)(1u << 31)}; /* SS_AUTODISARM */

	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	sigaltstack(&stack, NULL);
	raise_with(holder, SA_ONSTACK);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	munmap(stack.ss_sp, stack.ss_size);
}

Test(roots, signal_stacks_and_what_was_interrupted)
{
	if (UNIT_SLOW)
		cr_skip("a sanitizer runs handlers in its own way");
	holder_test(hold_in_plain_handler, 84, 2);
	holder_test(hold_on_signal_stack, 85, 2);
	holder_test(hold_on_disarmed_stack, 86, 2);
}

/* ---- ROOT-6 ---- */

static uintptr_t loop_low, loop_high, loop_back;

static uintptr_t fix_up(uintptr_t pc)
{
	return pc - loop_low < loop_high - loop_low ? loop_back : 0;
}

/* Spins in a place from which it would never come away, were its PC not changed. A signal handler
 * of the program's own hides it from the stop's. */
static void hold_in_loop(struct holder *holder)
{
#if defined(__x86_64__)
	struct sigaction action = {.sa_handler = hold_in_handler,
				   .sa_flags = holder->memory ? SA_ONSTACK : 0};
	stack_t stack = {.ss_sp = holder->memory, .ss_size = SIGNAL_STACK_BYTES};

	if (holder->memory)
		sigaltstack(&stack, NULL);
	handling = holder;
	sigaction(SIGUSR2, &action, NULL);
	__asm__ volatile("	leaq 1f(%%rip), %%rax\n"
			 "	movq %%rax, %[low]\n"
			 "	leaq 2f(%%rip), %%rax\n"
			 "	movq %%rax, %[high]\n"
			 "	movq %%rax, %[back]\n"
			 "	movl $1, %[quit]\n" /* here: it is in the loop */
			 "1:	pause\n"
			 "	jmp 1b\n"
			 "2:\n"
			 : [low] "=m"(loop_low), [high] "=m"(loop_high), [back] "=m"(loop_back),
			   [quit] "=m"(*(&holder->quit))
			 :
			 : "rax", "memory", "cc");
#else
	(void)holder;
#endif
}

static void frame_test(bool on_signal_stack)
{
	static struct holder holder;
	struct gy_marker *marker;

	gy_mark_begin();
	marker = gy_marker_take();
	cr_assert_not_null(marker);
	holder = (struct holder){.number = 87, .hold = hold_in_loop};
	holder.memory = on_signal_stack ? malloc(SIGNAL_STACK_BYTES) : NULL;
	gy_world_fixup = fix_up;
	cr_assert_eq(pthread_create(&holder.thread, NULL, holder_main, &holder), 0);
	while (!__atomic_load_n(&holder.quit, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	unit_sleep_ms(2);
	__atomic_store_n(&holder.quit, 0, __ATOMIC_RELEASE);
	pthread_kill(holder.thread, SIGUSR2);
	while (!__atomic_load_n(&holder.ready, __ATOMIC_ACQUIRE))
		unit_sleep_ms(1);
	/* It is in the program's handler, above the loop. Only scanning finds the frame. */
	cr_assert_eq(gy_world_stop(&report), 0);
	cr_assert(gy_roots_freeze(0));
	cr_assert_gt(gy_roots_scan(marker), 0u);
	gy_world_start();
	gy_marker_give(marker);
	__atomic_store_n(&holder.quit, 1, __ATOMIC_RELEASE);
	cr_assert_eq(pthread_join(holder.thread, NULL), 0);
	free(holder.memory);
}

Test(roots, ROOT_6_interrupted_places_under_the_programs_handlers)
{
	if (UNIT_SLOW)
		cr_skip("a sanitizer runs handlers in its own way");
	frame_test(false);
	frame_test(true);
}
