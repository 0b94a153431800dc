// wrong_delete.cc once more, with libgyre.a in a dynamic program.
#include "misuse/wrong_delete.cc"
