/* last_error.h - gy_out_error() for tests of parts of the command: what it said is looked at. */
#ifndef GYRE_TESTS_UNIT_TOOLS_LAST_ERROR_H
#define GYRE_TESTS_UNIT_TOOLS_LAST_ERROR_H

#include "../../../tools/gyre/output.h"

#include <stdarg.h>
#include <stdio.h>

static char last_error[256];

int gy_out_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(last_error, sizeof(last_error), format, arguments);
	va_end(arguments);
	return -1;
}

#endif
