/*
 * Each opens an image in `file`, which the node takes over on success: 0, or -errno and `error`. What kvik doesn't
 * read of a format is refused by name.
 */
#ifndef KVIK_BLOCK_FOREIGN_FORMATS_H
#define KVIK_BLOCK_FOREIGN_FORMATS_H

#include "block/node.h"
#include "util/error.h"

/* VirtualBox's, VMware's (sparse and stream-optimized, one file), Hyper-V's. */
int vdi_open(struct file *file, struct node **opened, struct error *error);
int vmdk_open(struct file *file, struct node **opened, struct error *error);
int vhdx_open(struct file *file, struct node **opened, struct error *error);

/* What a VMDK says of itself. Of any node: NULL where it is none, or says nothing. */
struct vmdk_facts {
	uint32_t cid, parent_cid;
	char create_type[32];
	bool is_compressed;
};
const struct vmdk_facts *vmdk_facts(const struct node *node);

#endif
