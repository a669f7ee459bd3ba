/* Other options of an image that is there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/whole.h"

/* 0, or -errno and `error`: what cannot be, before anything changes. */
static int check(const struct qcow2 *image, const struct image_amendment *wanted, struct error *error)
{
	const char *path = image->node.file.path;
	bool has_data_file = image->incompatible & INCOMPATIBLE_DATA_FILE;

	if (wanted->version != image->version && wanted->version != 3)
		return error_set(error, ENOTSUP, "%s: an image of compat=1.1 does not become one of compat=%s: convert makes one",
				 path, wanted->version == 2 ? "0.10" : "?");
	if (wanted->is_lazy && wanted->version < 3)
		return error_set(error, EINVAL, "%s: lazy_refcounts wants compat=1.1", path);
	if (!wanted->refcount_bits || wanted->refcount_bits > 64 || wanted->refcount_bits & (wanted->refcount_bits - 1))
		return error_set(error, EINVAL, "%s: refcount_bits: 1, 2, 4, 8, 16, 32 or 64", path);
	if (wanted->refcount_bits != 16 && wanted->version < 3)
		return error_set(error, EINVAL, "%s: refcount_bits=%u wants compat=1.1", path, wanted->refcount_bits);
	if (wanted->data_file && !has_data_file)
		return error_set(error, EINVAL, "%s: data_file: it has no external data file", path);
	if (wanted->is_data_raw && !(image->autoclear & AUTOCLEAR_RAW_DATA))
		return error_set(error, EINVAL, "%s: data_file_raw cannot be set on an image that is there", path);
	return 0;
}

/* To version 3, with or without lazy refcounts. */
static int change_version(struct qcow2 *image, unsigned version, bool is_lazy)
{
	int result;

	image->is_lazy = is_lazy;
	image->compatible = is_lazy ? image->compatible | COMPATIBLE_LAZY : image->compatible & ~COMPATIBLE_LAZY;
	if (version == image->version || image->snapshot_count == 0) {
		image->version = version;
		return header_switch(image);
	}
	/* Version 3 wants more of each snapshot, which this writes. */
	image->version = version;
	result = snapshots_write(image, image->snapshots, image->snapshot_count);
	return result == 0 ? whole_flush(image) : result;
}

static int change_data_file(struct qcow2 *image, const struct image_amendment *wanted)
{
	char *name = strdup(wanted->data_file ? wanted->data_file : image->data_name), *old = image->data_name;
	uint64_t old_features = image->autoclear;
	int result;

	if (!name)
		return -ENOMEM;
	image->data_name = name;
	if (!wanted->is_data_raw)
		image->autoclear &= ~(uint64_t)AUTOCLEAR_RAW_DATA;
	result = header_switch(image);
	if (result == -ENOSPC) { /* the name is too long for the header */
		image->data_name = old;
		image->autoclear = old_features;
		old = name;
	}
	free(old);
	return result;
}

int qcow2_amend(struct qcow2 *image, const struct image_amendment *wanted, struct error *error)
{
	bool is_raw = image->autoclear & AUTOCLEAR_RAW_DATA;
	bool has_version = wanted->version != image->version || wanted->is_lazy != image->is_lazy;
	bool has_refcounts = wanted->refcount_bits != 1u << image->refcount_order;
	bool has_data = wanted->data_file || wanted->is_data_raw != is_raw;
	int result;

	if (!image->node.is_writable)
		return error_set(error, EROFS, "%s is opened for reading only", image->node.file.path);
	result = check(image, wanted, error);
	if (result < 0)
		return result;
	if (image->snapshots_lost > 0)
		return qcow2_snapshot_possible(image, error);
	if (!has_version && !has_refcounts && !has_data)
		return 0;
	/* With refcounts that are written, and no dirty bit. */
	result = image->node.driver->settle(&image->node);
	if (result == 0 && has_version)
		result = change_version(image, wanted->version, wanted->is_lazy);
	if (result == 0 && has_data)
		result = change_data_file(image, wanted);
	if (result < 0)
		return error_set_errno(error, -result, "cannot write %s", image->node.file.path);
	return has_refcounts ? qcow2_widen_refcounts(image, __builtin_ctz(wanted->refcount_bits), error) : 0;
}
