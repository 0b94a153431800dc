/* handoff - blocks that one thread allocates and another one frees.
 *
 *	handoff [mode=pipe|server|many|spawn] [threads=2] [batch=256] [min=8] [max=512]
 *	        [operations=4000000]
 *
 * pipe    xmalloc's question (Lever and Boreham, "malloc() Performance in a Multithreaded Linux
 *         Environment", 2000): half of the threads only allocate, the other half only free. Every producer
 *         has one consumer; batches of pointers travel through a bounded queue, so that the queue's own
 *         lock is paid once for a batch.
 * server  Larson and Krishnan's ("Memory allocation for long-running server applications", 1998):
 *         each thread replaces random blocks of its set, then starts a successor, hands the set over and
 *         ends. Blocks outlive their thread and are freed by threads that come later.
 * many    `threads` threads at once on however few CPUs there are, each replacing blocks of a small set,
 *         and giving one in eight to its neighbour through an exchange: caches of many threads.
 * spawn   threads that are created, allocate a little, and end, one after the other, leaving half of their
 *         blocks to the creator, who frees them.
 *
 * One operation is one malloc and one free.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

enum mode { MODE_PIPE, MODE_SERVER, MODE_MANY, MODE_SPAWN };

#define QUEUE_BATCHES 16u
#define SIZES 4096u
#define SET_BLOCKS 1000u
#define EXCHANGES 1024u

struct plan {
	enum mode mode;
	size_t threads;
	size_t batch;
	uint64_t operations; /* of one thread */
	uint32_t sizes[SIZES];
};

static struct plan plan;

static void *new_block(uint32_t turn)
{
	size_t size = plan.sizes[turn % SIZES];
	char *block = malloc(size);

	if (!block)
		bench_die("malloc");
	block[0] = (char)turn;
	block[size - 1] = (char)turn;
	return block;
}

/* ---- pipe ---- */

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	pthread_cond_t drained;
	size_t head; /* batches ever put */
	size_t tail; /* batches ever taken */
	void **slots; /* QUEUE_BATCHES of plan.batch pointers */
};

static void *produce(void *argument)
{
	struct queue *queue = argument;
	uint32_t turn = 0;

	for (uint64_t done = 0; done < plan.operations; done += plan.batch) {
		pthread_mutex_lock(&queue->lock);
		while (queue->head - queue->tail == QUEUE_BATCHES)
			pthread_cond_wait(&queue->drained, &queue->lock);
		pthread_mutex_unlock(&queue->lock);

		void **slot = queue->slots + (queue->head % QUEUE_BATCHES) * plan.batch;

		for (size_t i = 0; i < plan.batch; i++)
			slot[i] = new_block(turn++);
		pthread_mutex_lock(&queue->lock);
		queue->head++;
		pthread_cond_signal(&queue->filled);
		pthread_mutex_unlock(&queue->lock);
	}
	return NULL;
}

static void *consume(void *argument)
{
	struct queue *queue = argument;

	for (uint64_t done = 0; done < plan.operations; done += plan.batch) {
		pthread_mutex_lock(&queue->lock);
		while (queue->head == queue->tail)
			pthread_cond_wait(&queue->filled, &queue->lock);
		pthread_mutex_unlock(&queue->lock);

		void **slot = queue->slots + (queue->tail % QUEUE_BATCHES) * plan.batch;

		for (size_t i = 0; i < plan.batch; i++)
			free(slot[i]);
		pthread_mutex_lock(&queue->lock);
		queue->tail++;
		pthread_cond_signal(&queue->drained);
		pthread_mutex_unlock(&queue->lock);
	}
	return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
	if (pthread_create(thread, NULL, run, argument) != 0)
		bench_die("pthread_create");
}

static void run_pipe(void)
{
	size_t pairs = plan.threads / 2;
	struct queue *queues = bench_map(pairs * sizeof(*queues));
	pthread_t *threads = bench_map(pairs * 2 * sizeof(*threads));

	for (size_t i = 0; i < pairs; i++) {
		pthread_mutex_init(&queues[i].lock, NULL);
		pthread_cond_init(&queues[i].filled, NULL);
		pthread_cond_init(&queues[i].drained, NULL);
		queues[i].slots = bench_map(QUEUE_BATCHES * plan.batch * sizeof(void *));
		start(&threads[2 * i], produce, &queues[i]);
		start(&threads[2 * i + 1], consume, &queues[i]);
	}
	for (size_t i = 0; i < pairs * 2; i++)
		pthread_join(threads[i], NULL);
}

/* ---- server ---- */

struct session {
	void *blocks[SET_BLOCKS];
	struct bench_rng rng;
	unsigned generations; /* successors still to come */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	int is_ended;
};

#define GENERATIONS 50u

static void *serve(void *argument)
{
	struct session *session = argument;
	uint64_t turns = plan.operations / GENERATIONS;
	uint32_t turn = (uint32_t)bench_next(&session->rng);
	pthread_t successor;

	pthread_detach(pthread_self());
	for (uint64_t i = 0; i < turns; i++) {
		size_t at = bench_below(&session->rng, SET_BLOCKS);

		free(session->blocks[at]);
		session->blocks[at] = new_block(turn++);
	}
	if (--session->generations > 0) {
		start(&successor, serve, session);
		return NULL;
	}
	pthread_mutex_lock(&session->lock);
	session->is_ended = 1;
	pthread_cond_signal(&session->ended);
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

static void run_server(void)
{
	struct session *sessions = bench_map(plan.threads * sizeof(*sessions));
	pthread_t thread;

	for (size_t i = 0; i < plan.threads; i++) {
		sessions[i].rng = bench_rng_begin(i + 1);
		sessions[i].generations = GENERATIONS;
		pthread_mutex_init(&sessions[i].lock, NULL);
		pthread_cond_init(&sessions[i].ended, NULL);
		for (uint32_t j = 0; j < SET_BLOCKS; j++)
			sessions[i].blocks[j] = new_block(j);
	}
	for (size_t i = 0; i < plan.threads; i++)
		start(&thread, serve, &sessions[i]);
	for (size_t i = 0; i < plan.threads; i++) {
		pthread_mutex_lock(&sessions[i].lock);
		while (!sessions[i].is_ended)
			pthread_cond_wait(&sessions[i].ended, &sessions[i].lock);
		pthread_mutex_unlock(&sessions[i].lock);
	}
}

/* ---- many ---- */

static _Atomic(void *) exchange[EXCHANGES];

static void *crowd(void *argument)
{
	void *blocks[64] = { NULL };
	struct bench_rng rng = bench_rng_begin((uint64_t)(uintptr_t)argument);
	uint32_t turn = (uint32_t)bench_next(&rng);

	for (uint64_t i = 0; i < plan.operations; i++) {
		uint64_t dice = bench_next(&rng);
		void *block = new_block(turn++);

		if ((dice & 7) == 0)
			block = atomic_exchange(&exchange[(dice >> 16) % EXCHANGES], block);
		free(blocks[(dice >> 8) % 64]);
		blocks[(dice >> 8) % 64] = block;
	}
	for (size_t i = 0; i < 64; i++)
		free(blocks[i]);
	return NULL;
}

static void run_many(void)
{
	pthread_t *threads = bench_map(plan.threads * sizeof(*threads));

	for (size_t i = 0; i < plan.threads; i++)
		start(&threads[i], crowd, (void *)(uintptr_t)(i + 1));
	for (size_t i = 0; i < plan.threads; i++)
		pthread_join(threads[i], NULL);
}

/* ---- spawn ---- */

static void *visitor(void *argument)
{
	void **left = argument;
	void *own[128];

	for (uint32_t i = 0; i < 128; i++) {
		own[i] = new_block(i);
		left[i] = new_block(i * 3);
	}
	for (uint32_t i = 0; i < 128; i++)
		free(own[i]);
	return NULL;
}

static void run_spawn(void)
{
	void **left = bench_map(plan.threads * 128 * sizeof(*left));
	pthread_t *threads = bench_map(plan.threads * sizeof(*threads));

	for (uint64_t done = 0; done < plan.operations * plan.threads;
	     done += 256 * plan.threads) {
		for (size_t i = 0; i < plan.threads; i++)
			start(&threads[i], visitor, left + i * 128);
		for (size_t i = 0; i < plan.threads; i++)
			pthread_join(threads[i], NULL);
		for (size_t i = 0; i < plan.threads * 128; i++)
			free(left[i]);
	}
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_rng rng = bench_rng_begin(3);
	struct bench_clock clock;
	size_t min, max;

	plan.mode = (enum mode)bench_arg_word(&args, "mode", "pipe|server|many|spawn", 0);
	plan.threads = bench_arg_u64(&args, "threads", 2);
	plan.batch = bench_arg_u64(&args, "batch", 256);
	min = bench_arg_u64(&args, "min", 8);
	max = bench_arg_u64(&args, "max", 512);
	plan.operations = bench_arg_u64(&args, "operations", 4000000);
	bench_args_end(&args);
	for (size_t i = 0; i < SIZES; i++)
		plan.sizes[i] = (uint32_t)bench_log_uniform(&rng, min, max);

	double operations = (double)plan.operations;

	plan.operations /= plan.mode == MODE_PIPE ? plan.threads / 2 : plan.threads;
	clock = bench_begin();
	switch (plan.mode) {
	case MODE_PIPE:
		run_pipe();
		break;
	case MODE_SERVER:
		run_server();
		break;
	case MODE_MANY:
		run_many();
		break;
	case MODE_SPAWN:
		run_spawn();
		break;
	}
	bench_end(&clock, operations);
	return 0;
}
