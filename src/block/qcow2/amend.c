/* Other options of an image that is there. */
#include <errno.h>

#include "block/qcow2/whole.h"

int qcow2_amend(struct qcow2 *image, unsigned version, bool is_lazy, struct error *error)
{
	int result;

	if (!image->node.is_writable)
		return error_set(error, EROFS, "%s is opened for reading only", image->node.file.path);
	if (version != image->version && version != 3)
		return error_set(error, ENOTSUP, "%s: an image of compat=1.1 does not become one of compat=%s: convert makes one",
				 image->node.file.path, version == 2 ? "0.10" : "?");
	if (is_lazy && version < 3)
		return error_set(error, EINVAL, "%s: lazy_refcounts wants compat=1.1", image->node.file.path);
	if (image->snapshots_lost > 0)
		return qcow2_snapshot_possible(image, error);
	if (version == image->version && is_lazy == image->is_lazy)
		return 0;
	/* With refcounts that are written, and no dirty bit. */
	result = image->node.driver->settle(&image->node);
	if (result < 0)
		goto out;
	image->is_lazy = is_lazy;
	image->compatible = is_lazy ? image->compatible | COMPATIBLE_LAZY : image->compatible & ~COMPATIBLE_LAZY;
	if (version != image->version && image->snapshot_count > 0) {
		/* Version 3 wants more of each, which this writes. */
		image->version = version;
		result = snapshots_write(image, image->snapshots, image->snapshot_count);
		if (result == 0)
			result = whole_flush(image);
		goto out;
	}
	image->version = version;
	result = header_switch(image);
out:
	return result < 0 ? error_set_errno(error, -result, "cannot write %s", image->node.file.path) : 0;
}
