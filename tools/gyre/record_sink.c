/* record_sink.c - see record_sink.h.
 *
 *      in hand ──take──> on its way ──> done, free again
 *                            │
 *                            └──> failed: kept, because where its last whole block ends must be
 *                                 found when the file is cut (SINK-2)
 *
 * A short write is continued from where it ended. Writes may end in any order; a killed recorder
 * can so leave a hole of zeros, at which reading ends (FILE-2): what is lost is what was on its
 * way.
 */
#include "record_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "record_file.h"

#define SINK_BUFFERS 16u
#define BUFFER_BYTES ((size_t)1 << 20)
#define SYNC_DATA UINT64_MAX /* user_data of an fdatasync */

struct buffer {
	unsigned char *data;
	size_t used, written;
	uint64_t offset; /* in the file */
	uint64_t turn;   /* counts submissions */
	enum { FREE, IN_HAND, ON_ITS_WAY, FAILED } state;
};

struct gy_sink {
	int fd;
	bool uring, registered;
	struct io_uring ring;
	struct buffer buffers[SINK_BUFFERS];
	struct buffer *hand; /* NULL: none is free */
	uint64_t offset, turn;
	bool sync_wanted, syncing;
	uint64_t sync_turn; /* once all writes up to it are done */
	int error;
};

static void fail(struct gy_sink *sink, int error)
{
	if (!sink->error)
		sink->error = error;
}

/* ---------------------------------------------------------------- in order, by pwrite */

static void write_in_order(struct gy_sink *sink, struct buffer *buffer)
{
	while (buffer->written < buffer->used) {
		ssize_t put = pwrite(sink->fd, buffer->data + buffer->written,
				     buffer->used - buffer->written,
				     (off_t)(buffer->offset + buffer->written));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			fail(sink, put ? -errno : -EIO);
			buffer->state = FAILED;
			return;
		}
		buffer->written += (size_t)put;
	}
	buffer->state = FREE;
}

/* ---------------------------------------------------------------- by io_uring */

static struct io_uring_sqe *next_sqe(struct gy_sink *sink)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&sink->ring);

	if (!sqe) { /* never more are asked for than the queue holds, unless the kernel lags */
		io_uring_submit(&sink->ring);
		sqe = io_uring_get_sqe(&sink->ring);
	}
	if (!sqe)
		fail(sink, -EBUSY);
	return sqe;
}

static void submit(struct gy_sink *sink)
{
	int error = io_uring_submit(&sink->ring);

	if (error < 0 && error != -EINTR && error != -EAGAIN && error != -EBUSY)
		fail(sink, error);
}

static void write_begin(struct gy_sink *sink, struct buffer *buffer)
{
	struct io_uring_sqe *sqe = next_sqe(sink);
	unsigned char *from = buffer->data + buffer->written;
	unsigned int bytes = (unsigned int)(buffer->used - buffer->written);
	uint64_t offset = buffer->offset + buffer->written;
	unsigned int index = (unsigned int)(buffer - sink->buffers);

	if (!sqe) {
		buffer->state = FAILED;
		return;
	}
	if (sink->registered)
		io_uring_prep_write_fixed(sqe, sink->fd, from, bytes, offset, (int)index);
	else
		io_uring_prep_write(sqe, sink->fd, from, bytes, offset);
	io_uring_sqe_set_data64(sqe, index);
	submit(sink);
}

static bool writes_pending(const struct gy_sink *sink, uint64_t up_to_turn)
{
	for (unsigned int i = 0; i < SINK_BUFFERS; i++)
		if (sink->buffers[i].state == ON_ITS_WAY && sink->buffers[i].turn <= up_to_turn)
			return true;
	return false;
}

static void sync_maybe(struct gy_sink *sink)
{
	struct io_uring_sqe *sqe;

	if (!sink->sync_wanted || sink->syncing || writes_pending(sink, sink->sync_turn))
		return;
	sqe = next_sqe(sink);
	if (!sqe)
		return;
	io_uring_prep_fsync(sqe, sink->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data64(sqe, SYNC_DATA);
	sink->sync_wanted = false;
	sink->syncing = true;
	submit(sink);
}

static void on_completion(struct gy_sink *sink, const struct io_uring_cqe *cqe)
{
	uint64_t data = io_uring_cqe_get_data64(cqe);
	struct buffer *buffer;

	if (data == SYNC_DATA) {
		sink->syncing = false;
		/* Files that cannot be synced (a pipe, /dev/null) are as good as they get. */
		if (cqe->res < 0 && cqe->res != -EINVAL && cqe->res != -EROFS)
			fail(sink, cqe->res);
		return;
	}
	buffer = &sink->buffers[data % SINK_BUFFERS];
	if (cqe->res > 0)
		buffer->written += (size_t)cqe->res;
	if (buffer->written >= buffer->used) {
		buffer->state = FREE;
	} else if (cqe->res > 0 || cqe->res == -EINTR || cqe->res == -EAGAIN) {
		write_begin(sink, buffer);
	} else {
		fail(sink, cqe->res ? cqe->res : -EIO);
		buffer->state = FAILED;
	}
}

/* Take what has ended; with `wait`, at least one thing. */
static void reap(struct gy_sink *sink, bool wait)
{
	struct io_uring_cqe *cqe;
	int error;

	if (wait) {
		do
			error = io_uring_submit_and_wait(&sink->ring, 1);
		while (error == -EINTR);
		if (error < 0)
			fail(sink, error);
	}
	while (!io_uring_peek_cqe(&sink->ring, &cqe)) {
		struct io_uring_cqe copy = {.user_data = cqe->user_data, .res = cqe->res};

		io_uring_cqe_seen(&sink->ring, cqe);
		on_completion(sink, &copy);
	}
	sync_maybe(sink);
}

static int uring_begin(struct gy_sink *sink)
{
	struct iovec parts[SINK_BUFFERS];
	int error = io_uring_queue_init(2 * SINK_BUFFERS, &sink->ring, 0);

	if (error)
		return error;
	for (unsigned int i = 0; i < SINK_BUFFERS; i++)
		parts[i] = (struct iovec){sink->buffers[i].data, BUFFER_BYTES};
	/* Refused where little memory may be locked: writes then name their memory. */
	sink->registered = !io_uring_register_buffers(&sink->ring, parts, SINK_BUFFERS);
	sink->uring = true;
	return 0;
}

/* ---------------------------------------------------------------- the sink */

struct gy_sink *gy_sink_open(const char *path, enum gy_sink_way way, int *error)
{
	struct gy_sink *sink = calloc(1, sizeof(*sink));
	size_t all = SINK_BUFFERS * BUFFER_BYTES;
	void *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*error = -ENOMEM;
	if (!sink || memory == MAP_FAILED)
		goto fail;
	for (unsigned int i = 0; i < SINK_BUFFERS; i++)
		sink->buffers[i].data = (unsigned char *)memory + i * BUFFER_BYTES;
	sink->hand = &sink->buffers[0];
	sink->hand->state = IN_HAND;
	sink->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	*error = -errno;
	if (sink->fd < 0)
		goto fail;
	*error = way == GY_SINK_PWRITE ? 0 : uring_begin(sink);
	if (!*error || way == GY_SINK_AUTO) {
		*error = 0;
		return sink;
	}
	close(sink->fd);
fail:
	if (memory != MAP_FAILED)
		munmap(memory, all);
	free(sink);
	return NULL;
}

bool gy_sink_is_uring(const struct gy_sink *sink)
{
	return sink->uring;
}

int gy_sink_error(const struct gy_sink *sink)
{
	return sink->error;
}

static void hand_away(struct gy_sink *sink)
{
	struct buffer *buffer = sink->hand;

	if (!buffer || !buffer->used)
		return;
	sink->hand = NULL;
	buffer->state = ON_ITS_WAY;
	buffer->offset = sink->offset;
	buffer->written = 0;
	buffer->turn = ++sink->turn;
	sink->offset += buffer->used;
	if (sink->uring)
		write_begin(sink, buffer);
	else
		write_in_order(sink, buffer);
}

static void hand_find(struct gy_sink *sink)
{
	if (sink->uring)
		reap(sink, false);
	while (!sink->hand && !sink->error) {
		for (unsigned int i = 0; i < SINK_BUFFERS && !sink->hand; i++)
			if (sink->buffers[i].state == FREE)
				sink->hand = &sink->buffers[i];
		if (!sink->hand)
			reap(sink, true);
	}
	if (sink->hand && sink->hand->state == FREE) {
		sink->hand->state = IN_HAND;
		sink->hand->used = 0;
	}
}

void *gy_sink_take(struct gy_sink *sink, size_t bytes)
{
	unsigned char *at;

	if (bytes > BUFFER_BYTES)
		fail(sink, -E2BIG);
	if (sink->hand && sink->hand->used + bytes > BUFFER_BYTES)
		hand_away(sink);
	if (!sink->hand)
		hand_find(sink);
	if (sink->error)
		return NULL;
	at = sink->hand->data + sink->hand->used;
	sink->hand->used += bytes;
	return at;
}

int gy_sink_flush(struct gy_sink *sink, bool sync)
{
	if (!sink->error)
		hand_away(sink);
	if (!sink->error && sync && !sink->uring && fdatasync(sink->fd) && errno != EINVAL &&
	    errno != EROFS)
		fail(sink, -errno);
	if (sync && sink->uring) {
		sink->sync_wanted = true;
		sink->sync_turn = sink->turn;
	}
	if (sink->uring)
		reap(sink, false);
	return sink->error;
}

/* Where the last whole block ends among the `written` bytes of a buffer. */
static size_t whole_blocks(const struct buffer *buffer)
{
	size_t at = buffer->offset ? 0 : sizeof(struct gy_file_header);
	struct gy_file_block block;

	if (at > buffer->written)
		return 0;
	while (buffer->written - at >= sizeof(block)) {
		size_t bytes;

		memcpy(&block, buffer->data + at, sizeof(block));
		bytes = sizeof(block) + (((size_t)block.bytes + 7) & ~(size_t)7);
		if (block.mark != GY_FILE_MARK || bytes > buffer->written - at)
			break;
		at += bytes;
	}
	return at;
}

/* SINK-2 */
static void cut(struct gy_sink *sink)
{
	const struct buffer *first = NULL;

	for (unsigned int i = 0; i < SINK_BUFFERS; i++) {
		const struct buffer *buffer = &sink->buffers[i];

		if (buffer->state == FAILED && (!first || buffer->offset < first->offset))
			first = buffer;
	}
	if (!first)
		return;
	sink->offset = first->offset + whole_blocks(first);
	if (ftruncate(sink->fd, (off_t)sink->offset))
		fail(sink, -errno);
}

int gy_sink_close(struct gy_sink *sink, uint64_t *bytes)
{
	int error;

	gy_sink_flush(sink, true);
	while (sink->uring && (writes_pending(sink, UINT64_MAX) || sink->syncing)) {
		uint64_t before = sink->turn;

		reap(sink, true);
		if (sink->error == -EBADF || sink->turn != before)
			break;
	}
	cut(sink);
	*bytes = sink->offset;
	if (sink->uring)
		io_uring_queue_exit(&sink->ring);
	if (close(sink->fd))
		fail(sink, -errno);
	error = sink->error;
	munmap(sink->buffers[0].data, SINK_BUFFERS * BUFFER_BYTES);
	free(sink);
	return error;
}
