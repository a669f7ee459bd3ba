#include "block/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/lock.h"
#include "block/vector.h"

#define FILL_BYTES 65536u /* at a time */

int node_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
	      unsigned count)
{
	struct iovec part[BLOCK_VECTORS_MAX];
	uint64_t inside = offset >= node->size ? 0 : node->size - offset;

	if (inside >= size)
		return node->driver->read(node, offset, size, vector, count);
	vector_zero(vector, count, inside, size - inside);
	if (inside == 0)
		return 0;
	count = vector_part(vector, count, 0, inside, part);
	return node->driver->read(node, offset, inside, part, count);
}

int node_read_at(struct node *node, uint64_t offset, void *data, uint64_t size)
{
	struct iovec vector = {data, size};

	return node_read(node, offset, size, &vector, 1);
}

int node_write_at(struct node *node, uint64_t offset, const void *data, uint64_t size)
{
	struct iovec vector = {(void *)data, size};

	return node->driver->write(node, offset, size, &vector, 1);
}

int node_fill(struct node *node, uint64_t offset, uint64_t size)
{
	const struct node_driver *driver = node->driver;
	uint8_t *buffer = malloc(FILL_BYTES);
	struct node_status status;
	uint64_t part;
	int result = buffer ? 0 : -ENOMEM;

	for (; size > 0 && result == 0; offset += part, size -= part) {
		result = driver->status(node, offset, size, &status);
		part = status.size < size ? status.size : size;
		if (result < 0 || status.is_allocated)
			continue;
		if (part > FILL_BYTES)
			part = FILL_BYTES;
		result = node_read_at(node, offset, buffer, part);
		if (result == 0)
			result = bytes_are_zero(buffer, part) ? driver->zero(node, offset, part, false)
						       : node_write_at(node, offset, buffer, part);
	}
	free(buffer);
	return result;
}

void node_end_writing(struct node *node)
{
	if (!node->is_writable)
		return;
	node->is_writable = node->file.is_writable = false;
	node->was_writable = true;
	if (node->file.fd >= 0 && !node->file.is_unlocked)
		lock_read_only(node->file.fd);
}

bool node_begin_writing(struct node *node)
{
	struct error unseen;

	if (!node->was_writable)
		return false;
	if (node->file.fd >= 0 && !node->file.is_unlocked && lock_image(node->file.fd, node->file.path, true, false, &unseen) < 0) {
		lock_read_only(node->file.fd);
		return false;
	}
	node->is_writable = node->file.is_writable = true;
	return true;
}

int node_close(struct node *node)
{
	int result = 0, closed;

	while (node) {
		struct node *backing = node->backing;

		closed = node->driver->close(node);
		if (result == 0)
			result = closed;
		file_close(&node->file);
		free(node);
		node = backing;
	}
	return result;
}
