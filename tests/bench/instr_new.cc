/* instr_new - instr.c's loop with operator new and delete: instr_new new|sized SIZE COUNT.
 *
 * "sized" deletes with the size (C++14), which is what compilers emit for complete types. Peers
 * that do not define the operators get libstdc++'s, which call malloc and free: that is their cost.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

/* Declared by the compiler itself with -fsized-deallocation only, which clang 14 leaves off. */
void operator delete(void *pointer, std::size_t size) noexcept;

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: instr_new new|sized SIZE COUNT\n");
		return 2;
	}
	std::size_t size = std::strtoul(argv[2], nullptr, 10);
	long count = std::strtol(argv[3], nullptr, 10);

	if (std::strcmp(argv[1], "sized") == 0) {
		for (long i = 0; i < count; i++) {
			void *volatile p = ::operator new(size);

			::operator delete(p, size);
		}
	} else {
		for (long i = 0; i < count; i++) {
			void *volatile p = ::operator new(size);

			::operator delete(p);
		}
	}
	return 0;
}
