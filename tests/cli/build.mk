# The unit tests of the command include its sources; these are what the sources need.
TEST_FLAGS_command_test := -Ibpf
TEST_LIBS_command_test := -ljansson
TEST_LIBS_profile_test := $(O)/gen/profile.pb-c.o -lprotobuf-c -ldw -lelf -lz -ljansson
$(O)/tests/unit/tools/profile_test: $(O)/gen/profile.pb-c.o
