/* parameterized.h - in Criterion a header of its own; here all is in criterion.h. */
#include <criterion/criterion.h>
