/* runtime_test.c - the modules wired together: what stands before main, and what fork finds in
 * place. */
#include "heap/heap.h"
#include "heap/hooks.h"

#include "base/config.h"
#include "control/background.h"
#include "control/page.h"
#include "trace/sampler.h"

#include "unit/fast_path.h"
#include "unit/unit.h"

static bool up_in_a_constructor, allocated_in_a_constructor;

__attribute__((constructor)) static void before_main(void)
{
	void *block;

	up_in_a_constructor = gy_heap_started();
	block = unit_malloc(1000);
	allocated_in_a_constructor = block != NULL;
	unit_free(block);
}

Test(runtime, the_heap_is_up_before_other_constructors)
{
	cr_assert(up_in_a_constructor);
	cr_assert(allocated_in_a_constructor);
	gy_heap_check();
}

Test(runtime, the_hooks_are_those_of_the_layers_above)
{
	uint64_t rng = 1, same = 1;

	cr_assert_eq(gy_heap_hooks.slow_path, gy_background_slow_path);
	cr_assert_eq(gy_heap_hooks.sample_free, gy_sample_free);
	cr_assert_eq(gy_heap_hooks.sample_interval(64, 0, &rng), gy_sample_interval(64, 0, &same));
	gy_heap_hooks.started(); /* may be called any time */
}

/* HEAP-4: the hooks run under no lock; one that allocates and asks for everything proves it. */
Test(runtime, HEAP_4_slow_paths_may_allocate_and_publish)
{
	gy_option_values[GY_OPT_sample] = 1000;
	for (unsigned i = 0; i < 5000; i++)
		unit_free(unit_malloc(i * 20));
	cr_assert(gy_control_exists());
	gy_heap_check();
	gy_sampler_check();
}

static void forked(void *argument)
{
	(void)argument;
	child_check(gy_heap_started());
	unit_free(unit_malloc(100));
	gy_heap_check();
	gy_sampler_check();
	child_check(!gy_control_exists() || gy_control_request_word());
}

Test(runtime, fork_handlers_are_in_place)
{
	struct unit_child child;

	unit_free(unit_malloc(100));
	child = unit_child_run(forked, NULL);
	unit_assert_exit(child, 0);
}
