/*
 * Mending of entries that cannot be (check.h). Reserved bits are cleared; what is unaligned or outside of the file is not
 * referred to any more, so the disk reads there as if it had never been written, or as the zeroes that the entry also says.
 *
 * A damaged table may lie where something else is, such as a guest's data: only what is a table and nothing else is changed.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/check.h"
#include "block/qcow2/whole.h"

/* What an entry should say: its two words, the second of which only extended entries have. */
static void mend_words(const struct check *check, uint64_t guest, uint64_t *entry, uint64_t *bits)
{
	const struct qcow2 *image = check->image;
	bool has_data_file = image->data != &image->node.file;
	uint64_t place = *entry & ENTRY_OFFSET;
	struct cluster cluster;
	uint8_t bytes[16];

	if (*entry & ENTRY_COMPRESSED) {
		put_be64(bytes, *entry);
		if (cluster_decode(check->image, guest, bytes, &cluster) < 0 ||
		    check_is_outside(check, cluster.host, cluster.packed_bytes))
			*entry = *bits = 0;
		return;
	}
	*entry &= ~L2_RESERVED;
	if (image->subclusters > 1 || image->version < 3)
		*entry &= ~ENTRY_ZERO;
	if (!is_cluster_aligned(image, place) ||
	    (place != 0 && (has_data_file ? place != guest : check_is_outside(check, place, image->cluster_size)))) {
		*entry &= ENTRY_ZERO;
		place = 0;
	}
	if (image->subclusters > 1) {
		/* The lower half: there is data; the upper: zeroes. */
		if (place == 0 && !(has_data_file && *entry & ENTRY_COPIED))
			*bits &= ~(uint64_t)UINT32_MAX;
		*bits &= ~(*bits << 32);
	}
}

static int mend_table(struct check *check, uint64_t place, uint64_t guest, bool *has_mended)
{
	struct qcow2 *image = check->image;
	struct table *table;
	uint64_t k;
	int result = table_get(image, &image->l2_tables, place, &table);

	for (k = 0; k < 1ull << image->l2_bits && result == 0; k++, guest += image->cluster_size) {
		uint8_t *at = table->data + k * image->entry_bytes;
		uint64_t entry = get_be64(at), bits = image->subclusters > 1 ? get_be64(at + 8) : 0;
		uint64_t was = entry, bits_were = bits;

		mend_words(check, guest, &entry, &bits);
		if (entry == was && bits == bits_were)
			continue;
		check_tell(check, "Repairing L2 entry of guest offset %#llx: %#llx becomes %#llx", (unsigned long long)guest,
			   (unsigned long long)was, (unsigned long long)entry);
		put_be64(at, entry);
		if (image->subclusters > 1)
			put_be64(at + 8, bits);
		result = file_write_at(&image->node.file, place + k * image->entry_bytes, at, image->entry_bytes);
		*has_mended = true;
	}
	table_trim(&image->l2_tables);
	return result;
}

/* `l1`: in host byte order, and at `offset` of the file. */
static int mend_l1(struct check *check, uint64_t *l1, uint32_t size, uint64_t offset, bool *has_mended)
{
	struct qcow2 *image = check->image;
	bool may_change = check_is_only(check, offset, size * 8ull);
	uint8_t bytes[8];
	uint32_t i;
	int result = 0;

	for (i = 0; i < size && result == 0; i++) {
		uint64_t place = l1[i] & ENTRY_OFFSET, entry = l1[i] & ~L1_RESERVED;
		bool is_lost = place != 0 && (!is_cluster_aligned(image, place) ||
					      check_is_outside(check, place, image->cluster_size));

		if (is_lost || place == 0)
			entry = 0;
		if (entry != l1[i] && may_change) {
			check_tell(check, "Repairing L1 entry %u: %#llx becomes %#llx", i, (unsigned long long)l1[i],
				   (unsigned long long)entry);
			/* Nothing is there that was to be kept from being written to. */
			if (is_lost && is_cluster_aligned(image, place))
				cluster_set_remove(&image->metadata, place >> image->cluster_bits);
			put_be64(bytes, entry);
			l1[i] = entry;
			result = file_write_at(&image->node.file, offset + i * 8ull, bytes, sizeof(bytes));
			*has_mended = true;
		}
		if (result == 0 && place != 0 && !is_lost && check_is_l2_table(check, place))
			result = mend_table(check, place, (uint64_t)i << (image->cluster_bits + image->l2_bits), has_mended);
	}
	return result;
}

int check_mend(struct check *check, bool *has_mended)
{
	struct qcow2 *image = check->image;
	uint64_t *l1;
	unsigned i;
	int result = mend_l1(check, image->l1, image->l1_size, image->l1_offset, has_mended);

	for (i = 0; i < image->snapshot_count && result == 0; i++) {
		const struct snapshot *snapshot = &image->snapshots[i];

		if (snapshot->is_bad)
			continue;
		result = whole_read_l1(image, snapshot->l1_offset, snapshot->l1_size, &l1);
		if (result == 0)
			result = mend_l1(check, l1, snapshot->l1_size, snapshot->l1_offset, has_mended);
		free(l1);
	}
	return result == 0 ? file_sync(&image->node.file) : result;
}
