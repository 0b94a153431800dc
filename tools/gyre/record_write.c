/* record_write.c - a recording being written: blocks, checksums, the index (record_file.h). */
#include "record_file.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "record_sink.h"

uint32_t gy_file_crc(uint32_t crc, const void *bytes, size_t length)
{
	return (uint32_t)crc32_z(crc, bytes, length);
}

int gy_file_write_begin(struct gy_file_writer *writer, struct gy_sink *sink,
			struct gy_file_header *header)
{
	void *to;

	memset(writer, 0, sizeof(*writer));
	writer->sink = sink;
	memcpy(header->magic, GY_FILE_MAGIC, sizeof(header->magic));
	header->version = GY_FILE_VERSION;
	header->header_bytes = sizeof(*header);
	header->crc = gy_file_crc(0, header, offsetof(struct gy_file_header, crc));
	to = gy_sink_take(sink, sizeof(*header));
	if (!to)
		return gy_sink_error(sink);
	memcpy(to, header, sizeof(*header));
	writer->bytes = sizeof(*header);
	writer->now_ns = header->start_ns;
	return 0;
}

/* A block, without a place in the index. */
static int put(struct gy_file_writer *writer, enum gy_file_type type, const void *head,
	       size_t head_bytes, const void *rest, size_t rest_bytes)
{
	size_t bytes = head_bytes + rest_bytes, padded = (bytes + 7) & ~(size_t)7;
	struct gy_file_block block = {.mark = GY_FILE_MARK,
				      .type = (uint16_t)type,
				      .bytes = (uint32_t)bytes,
				      .number = writer->number,
				      .ns = writer->now_ns};
	unsigned char *to;

	if (bytes > GY_FILE_PAYLOAD_MAX)
		return -E2BIG;
	to = gy_sink_take(writer->sink, sizeof(block) + padded);
	if (!to)
		return gy_sink_error(writer->sink);
	if (head_bytes)
		memcpy(to + sizeof(block), head, head_bytes);
	if (rest_bytes)
		memcpy(to + sizeof(block) + head_bytes, rest, rest_bytes);
	memset(to + sizeof(block) + bytes, 0, padded - bytes);
	block.crc = gy_file_crc(0, &block, sizeof(block));
	block.crc = gy_file_crc(block.crc, to + sizeof(block), bytes);
	memcpy(to, &block, sizeof(block));
	writer->bytes += sizeof(block) + padded;
	writer->number++;
	return 0;
}

static int place(struct gy_file_writer *writer, enum gy_file_type type, uint64_t offset,
		 const struct gyre_record *records, uint32_t count)
{
	struct gy_file_place *here = &writer->places[writer->place_count++];

	*here = (struct gy_file_place){.offset = offset, .type = type, .records = count};
	if (count) {
		here->first_ticks = records[0].ticks;
		here->last_ticks = records[count - 1].ticks;
	}
	return writer->place_count == GY_FILE_INDEX_ENTRIES ? gy_file_write_index(writer) : 0;
}

int gy_file_write(struct gy_file_writer *writer, enum gy_file_type type, const void *head,
		  size_t head_bytes, const void *rest, size_t rest_bytes)
{
	uint64_t offset = writer->bytes;
	int error = put(writer, type, head, head_bytes, rest, rest_bytes);

	return error ? error : place(writer, type, offset, NULL, 0);
}

int gy_file_write_batch(struct gy_file_writer *writer, const struct gy_file_batch *batch,
			const struct gyre_record *records)
{
	uint64_t offset = writer->bytes;
	int error = put(writer, GY_FILE_BATCH, batch, sizeof(*batch), records,
			batch->count * sizeof(*records));

	if (error)
		return error;
	writer->batches++;
	writer->records += batch->count;
	return place(writer, GY_FILE_BATCH, offset, records, batch->count);
}

int gy_file_write_index(struct gy_file_writer *writer)
{
	struct gy_file_index index = {.previous = writer->index_offset,
				      .count = writer->place_count};
	uint64_t offset = writer->bytes;
	int error;

	if (!writer->place_count)
		return 0;
	error = put(writer, GY_FILE_INDEX, &index, sizeof(index), writer->places,
		    writer->place_count * sizeof(writer->places[0]));
	if (error)
		return error;
	writer->index_offset = offset;
	writer->place_count = 0;
	return 0;
}

int gy_file_write_end(struct gy_file_writer *writer, struct gy_file_end *end)
{
	int error = gy_file_write_index(writer);

	if (error)
		return error;
	end->index = writer->index_offset;
	end->batches = writer->batches;
	end->records = writer->records;
	return put(writer, GY_FILE_END, end, sizeof(*end), NULL, 0);
}
