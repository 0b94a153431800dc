# Programs that stop the world take the small runner of tests/lite: Criterion keeps a thread in each
# test's process that has all signals blocked, and such a thread is what WORLD-4 gives up at.
lite_unit := world_test roots_test
$(foreach name,$(lite_unit),$(eval TEST_FLAGS_$(name) := -Itests/lite))
$(foreach name,$(lite_unit),$(eval TEST_LIBS_$(name) := $(if $(filter thread,$(SAN)),,tests/lite/runner.c)))
# The probe that carries events leads into the test.
TEST_LIBS_events_test := -Wl,--wrap=gy_probe_events $(TEST_LIBS_events_test)
