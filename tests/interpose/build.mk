# The programs that end in _static are wholly static; those in _archive_static have libc.so and libgyre.a.
TEST_FLAGS_family_static := -static
TEST_FLAGS_operators_static := -static
TEST_FLAGS_replaced_static := -static
TEST_FLAGS_life_static := -static
TEST_FLAGS_plugin_own_lib := -static-libstdc++
