/* panic.c - see panic.h. */
#include "base/panic.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

void gy_message_begin(struct gy_text *text)
{
	extern char *program_invocation_short_name;

	gy_text_add(text, "gyre: ");
	gy_text_add_u64(text, (uint64_t)getpid());
	gy_text_add(text, " ");
	gy_text_add(text, program_invocation_short_name ? program_invocation_short_name : "?");
	gy_text_add(text, ": ");
}

void gy_message_write(struct gy_text *text)
{
	int saved = errno;
	size_t sent = 0;

	if (text->length + 1 >= text->capacity)
		text->length = text->capacity - 2;
	text->bytes[text->length++] = '\n';
	while (sent < text->length) {
		/* Not the C library's write, which may end a thread that was cancelled. */
		long n = syscall(SYS_write, STDERR_FILENO, text->bytes + sent,
				 text->length - sent);

		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	errno = saved;
}

void gy_panic(const char *what)
{
	char buffer[512];
	struct gy_text text = GY_TEXT(buffer);

	gy_message_begin(&text);
	gy_text_add(&text, what);
	gy_message_write(&text);
	abort();
}

void gy_panic_at(const char *file, unsigned line, const char *what)
{
	char buffer[512];
	struct gy_text text = GY_TEXT(buffer);

	gy_message_begin(&text);
	gy_text_add(&text, "internal check failed at ");
	gy_text_add(&text, file);
	gy_text_add(&text, ":");
	gy_text_add_u64(&text, line);
	gy_text_add(&text, ": ");
	gy_text_add(&text, what);
	gy_message_write(&text);
	abort();
}
