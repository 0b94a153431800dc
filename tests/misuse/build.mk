# Sized delete is C++14's; clang 14 asks for a flag.
TEST_FLAGS_wrong_delete := -fsized-deallocation
TEST_FLAGS_wrong_delete_static := -fsized-deallocation
