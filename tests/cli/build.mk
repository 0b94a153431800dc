# The unit tests of the command include its sources; these are what the sources need.
TEST_LIBS_command_test := -ljansson
