# The programs that end in _static are wholly static; those in _archive_static have libc.so and libgyre.a.
TEST_FLAGS_family_static := -static
TEST_FLAGS_life_static := -static
# Sized delete is C++14's; clang 14 asks for a flag.
$(foreach form,operators operators_linked operators_archive_static replaced replaced_linked replaced_archive_static,\
	$(eval TEST_FLAGS_$(form) := -fsized-deallocation))
TEST_FLAGS_operators_static := -static -fsized-deallocation
TEST_FLAGS_replaced_static := -static -fsized-deallocation
TEST_FLAGS_plugin_lib := -fsized-deallocation
TEST_FLAGS_plugin_own_lib := -static-libstdc++ -fsized-deallocation
