/* What refers to which cluster, for checks (check.h). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/qcow2/check.h"

void check_tell(struct check *check, const char *format, ...)
{
	char line[256];
	va_list arguments;

	if (!check->say)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	check->say(check->context, line);
}

static uint32_t *count_of(struct check *check, uint64_t cluster, bool make)
{
	uint32_t **chunk = &check->chunks[cluster >> CHUNK_BITS];

	if (!*chunk && make)
		*chunk = calloc(1u << CHUNK_BITS, sizeof(**chunk));
	return *chunk ? *chunk + (cluster & ((1u << CHUNK_BITS) - 1)) : NULL;
}

uint32_t check_references(struct check *check, uint64_t cluster)
{
	uint32_t *count = cluster < check->clusters ? count_of(check, cluster, false) : NULL;

	return count ? *count & ~NO_L2_TABLE : 0;
}

bool check_is_only(struct check *check, uint64_t offset, uint64_t size)
{
	uint64_t cluster = offset >> check->image->cluster_bits, count = clusters_for(check->image, size);

	for (; count > 0 && check_references(check, cluster) == 1; count--)
		cluster++;
	return count == 0;
}

bool check_is_l2_table(void *context, uint64_t place)
{
	struct check *check = context;
	uint64_t cluster = place >> check->image->cluster_bits;
	uint32_t *count = cluster < check->clusters ? count_of(check, cluster, false) : NULL;

	return count && !(*count & NO_L2_TABLE);
}

bool check_is_outside(const struct check *check, uint64_t offset, uint64_t size)
{
	return offset > HOST_OFFSET_MAX || size > HOST_OFFSET_MAX ||
	       (offset + size - 1) >> check->image->cluster_bits >= check->clusters;
}

int check_refer_marked(struct check *check, uint64_t offset, uint64_t size, const char *what, uint32_t mark)
{
	struct qcow2 *image = check->image;
	uint64_t cluster, last;
	uint32_t *count;

	if (size == 0)
		return 0;
	if (check_is_outside(check, offset, size)) {
		check_tell(check, "ERROR %s at offset %#llx is outside of the file", what,
		     (unsigned long long)offset);
		check->result->corruptions++;
		return 0;
	}
	last = (offset + size - 1) >> image->cluster_bits;
	for (cluster = offset >> image->cluster_bits; cluster <= last; cluster++) {
		count = count_of(check, cluster, true);
		if (!count)
			return -ENOMEM;
		*count += (*count & ~NO_L2_TABLE) < ~NO_L2_TABLE;
		*count |= mark;
	}
	return 0;
}

int check_refer(struct check *check, uint64_t offset, uint64_t size, const char *what)
{
	return check_refer_marked(check, offset, size, what, NO_L2_TABLE);
}

void check_forget(struct check *check)
{
	uint64_t i;

	for (i = 0; check->chunks && i <= check->clusters >> CHUNK_BITS; i++)
		free(check->chunks[i]);
	free(check->chunks);
	check->chunks = NULL;
}

uint64_t check_next(struct check *check, uint64_t cluster)
{
	while (cluster < check->clusters && !check_references(check, cluster))
		cluster = check->chunks[cluster >> CHUNK_BITS] ? cluster + 1
							       : (cluster | ((1ull << CHUNK_BITS) - 1)) + 1;
	return cluster < check->clusters ? cluster : check->clusters;
}
