/* holder_lib.c - a library with global variables, for loaded.c. */
extern void *holder_blocks[50];
void *holder_blocks[50];
