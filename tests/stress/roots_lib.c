/* roots_lib.c - a library that is opened later: roots_linked.c keeps objects in its variables. */
void roots_lib_put(void *object);
void *roots_lib_get(void);
void roots_lib_put_own(void *object);
void *roots_lib_get_own(void);

static void *kept;
static char filler[100000]; /* the segment ends in pages that no file has */
static void *kept_behind;
static __thread char thread_filler[3000];
static __thread void *kept_by_thread;

void roots_lib_put(void *object)
{
	filler[0] = 1;
	kept = object;
	kept_behind = 0;
}

void *roots_lib_get(void)
{
	return kept_behind ? kept_behind : kept;
}

void roots_lib_put_own(void *object)
{
	thread_filler[0] = 1;
	kept_by_thread = object;
}

void *roots_lib_get_own(void)
{
	return kept_by_thread;
}
