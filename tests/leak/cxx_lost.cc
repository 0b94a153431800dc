// cxx_lost.cc - objects that nobody deletes: an array with its cookie, and what its elements own.
/* truth: lost blocks=31 bytes=4336 indirect=30 */
#include "corpus.h"

#include <string>

struct row {
	char *text;
	long room;
	row() : text(static_cast<char *>(made(128))), room(0) {}
	~row() { free(text); }
};

static NOINLINE void lose()
{
	row *rows = new row[30]; // 8 bytes of cookie and 480: a block of 496

	ESCAPE(rows);
}

int main()
{
	lose();
	return stay();
}
