/* record_read.c - a recording being read, block by block; each is checked before it is looked at.
 *
 * The file is read by pread and not mapped: it may be cut while it is read, and is then merely
 * shorter. One block is in hand at a time, with zeros behind its payload, so that a structure that
 * a later version made longer, or an older one had shorter, can be copied without a second look.
 */
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_read.h"
#include "output.h"

#define ZEROS 1024 /* behind a payload: the longest structure */

_Static_assert(sizeof(struct gy_file_process) < ZEROS && sizeof(struct gy_file_symbol) < ZEROS,
	       "a structure is longer than the zeros behind a payload");

static int header_read(struct gy_file_reader *reader, const char *path)
{
	struct gy_file_header *header = &reader->header;
	ssize_t got = gy_file_read(reader->fd, header, sizeof(*header), 0);

	if (got < 0)
		return gy_out_error("cannot read '%s': %s", path, strerror((int)-got));
	if ((size_t)got < sizeof(header->magic) ||
	    memcmp(header->magic, GY_FILE_MAGIC, sizeof(header->magic)))
		return gy_out_error("'%s' is no recording of 'gyre trace record'", path);
	if ((size_t)got < sizeof(*header))
		return gy_out_error("'%s' ends in its header: nothing can be read", path);
	if (header->version != GY_FILE_VERSION)
		return gy_out_error("'%s' is a recording of version %" PRIu32
				    "; this command reads version %u",
				    path, header->version, GY_FILE_VERSION);
	if (header->header_bytes != sizeof(*header) ||
	    header->crc != gy_file_crc(0, header, offsetof(struct gy_file_header, crc)))
		return gy_out_error("the header of '%s' is damaged: nothing can be read", path);
	return 0;
}

int gy_file_open(struct gy_file_reader *reader, const char *path)
{
	struct stat status;

	memset(reader, 0, sizeof(*reader));
	reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (reader->fd < 0)
		return gy_out_error("cannot open '%s': %s", path, strerror(errno));
	reader->payload = malloc(GY_FILE_PAYLOAD_MAX + ZEROS);
	if (!reader->payload || fstat(reader->fd, &status)) {
		gy_file_close(reader);
		return gy_out_error("cannot read '%s': %s", path, strerror(errno));
	}
	if (!S_ISREG(status.st_mode)) {
		gy_file_close(reader);
		return gy_out_error("'%s' is not a regular file", path);
	}
	reader->file_bytes = (uint64_t)status.st_size;
	if (header_read(reader, path)) {
		gy_file_close(reader);
		return -1;
	}
	gy_file_rewind(reader);
	return 0;
}

void gy_file_rewind(struct gy_file_reader *reader)
{
	reader->offset = sizeof(reader->header);
	reader->number = 0;
	reader->ended = false;
	reader->damage[0] = 0;
}

void gy_file_close(struct gy_file_reader *reader)
{
	free(reader->payload);
	reader->payload = NULL;
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
}

__attribute__((format(printf, 2, 3))) static int damaged(struct gy_file_reader *reader,
							 const char *format, ...)
{
	int used =
		snprintf(reader->damage, sizeof(reader->damage),
			 "at byte %" PRIu64 " of %" PRIu64 " (block %" PRIu64 "): ", reader->offset,
			 reader->file_bytes, reader->number);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reader->damage + used, sizeof(reader->damage) - (size_t)used, format, arguments);
	va_end(arguments);
	return 0;
}

/* The block's head, checked (FILE-1, FILE-2). 1, or 0 at the end or at damage. */
static int block_begin(struct gy_file_reader *reader)
{
	struct gy_file_block *block = &reader->block;
	ssize_t got = gy_file_read(reader->fd, block, sizeof(*block), reader->offset);

	if (got < 0)
		return damaged(reader, "%s", strerror((int)-got));
	if (!got)
		return reader->ended
			       ? 0
			       : damaged(reader, "the file ends here, and not as a recording that "
						 "was ended: recorder killed, or file cut");
	if ((size_t)got < sizeof(*block))
		return damaged(reader, "the file ends in the middle of a block");
	if (reader->ended)
		return damaged(reader, "something follows behind the end");
	if (block->mark != GY_FILE_MARK)
		return damaged(reader, "no block begins here");
	if (block->bytes > GY_FILE_PAYLOAD_MAX)
		return damaged(reader, "a block of %" PRIu32 " bytes", block->bytes);
	if (block->number != reader->number)
		return damaged(reader, "the block says that it is number %" PRIu64, block->number);
	return 1;
}

int gy_file_next(struct gy_file_reader *reader)
{
	struct gy_file_block *block = &reader->block, bare;
	ssize_t got;
	uint32_t crc;

	if (reader->damage[0] || !block_begin(reader))
		return 0;
	got = gy_file_read(reader->fd, reader->payload, block->bytes,
			   reader->offset + sizeof(*block));
	if (got < 0)
		return damaged(reader, "%s", strerror((int)-got));
	if ((size_t)got < block->bytes)
		return damaged(reader, "the file ends in the middle of a block");
	bare = *block;
	bare.crc = 0;
	crc = gy_file_crc(0, &bare, sizeof(bare));
	if (gy_file_crc(crc, reader->payload, block->bytes) != block->crc)
		return damaged(reader, "the block's checksum is wrong");
	memset(reader->payload + block->bytes, 0, ZEROS);
	reader->offset += sizeof(*block) + (((uint64_t)block->bytes + 7) & ~(uint64_t)7);
	reader->number++;
	reader->ended = block->type == GY_FILE_END;
	return 1;
}

const void *gy_file_entry(const struct gy_file_reader *reader, size_t from, size_t entry_bytes,
			  size_t i)
{
	if (from > reader->block.bytes || i >= (reader->block.bytes - from) / entry_bytes)
		return NULL;
	return reader->payload + from + i * entry_bytes;
}

bool gy_file_take(const struct gy_file_reader *reader, void *to, size_t bytes)
{
	memcpy(to, reader->payload, bytes); /* zeros behind it: see the opening comment */
	return reader->block.bytes;
}
