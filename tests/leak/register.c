/* register.c - a block whose only pointer is in a register that a callee keeps, while the thread
 * sleeps in read. */
/* truth: none */
#include "corpus.h"

static NOINLINE uintptr_t take(void)
{
	return HIDE(made(96));
}

int main(void)
{
	uintptr_t hidden = take();
	char byte;
	long got;

	say_ready();
	/* The pointer is shown in rbx for as long as the system calls take, and nowhere else. */
	__asm__ volatile("notq %%rbx\n"
			 "1:\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "movq %[byte], %%rsi\n\t"
			 "movl $1, %%edx\n\t"
			 "syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jg 1b\n\t"
			 "notq %%rbx"
			 : "=&a"(got), "+b"(hidden)
			 : [byte] "r"(&byte)
			 : "rdi", "rsi", "rdx", "rcx", "r11", "memory");
	free(SHOW(hidden));
	return got < 0;
}
