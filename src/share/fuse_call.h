/* A FUSE request that is being answered, for the files that answer: fuse_names.c, fuse_attributes.c, ... */
#ifndef KVIK_SHARE_FUSE_CALL_H
#define KVIK_SHARE_FUSE_CALL_H

#include <linux/fuse.h>

#include "share/fuse.h"

#define FUSE_ARGUMENTS_MAX (128u << 10) /* copied: names, and values of attributes */

struct fuse_call {
	struct fuse *fuse;
	struct fuse_in_header header;
	struct share_node *node; /* that the header names; NULL for those of no node */
	/* Arguments: our own copy, with a NUL behind. */
	const uint8_t *arguments;
	size_t size;
	/* A write's data stays where it came. */
	const uint8_t *data;
	size_t data_size;
	/* The reply's body. */
	uint8_t *out;
	size_t room, out_size;
};

/* The answers: 0 with out_size bytes in `out`, or -errno. */
int fuse_lookup(struct fuse_call *call);
int fuse_mknod(struct fuse_call *call);
int fuse_mkdir(struct fuse_call *call);
int fuse_symlink(struct fuse_call *call);
int fuse_link(struct fuse_call *call);
int fuse_unlink(struct fuse_call *call);
int fuse_rmdir(struct fuse_call *call);
int fuse_rename(struct fuse_call *call);
int fuse_rename2(struct fuse_call *call);
int fuse_readlink(struct fuse_call *call);
int fuse_create_file(struct fuse_call *call);

int fuse_getattr(struct fuse_call *call);
int fuse_setattr(struct fuse_call *call);
int fuse_statfs(struct fuse_call *call);
int fuse_getxattr(struct fuse_call *call);
int fuse_setxattr(struct fuse_call *call);
int fuse_listxattr(struct fuse_call *call);
int fuse_removexattr(struct fuse_call *call);

int fuse_open(struct fuse_call *call);
int fuse_release(struct fuse_call *call);
int fuse_read(struct fuse_call *call);
int fuse_write(struct fuse_call *call);
int fuse_flush(struct fuse_call *call);
int fuse_fsync(struct fuse_call *call);
int fuse_fallocate(struct fuse_call *call);
int fuse_lseek(struct fuse_call *call);
int fuse_copy_file_range(struct fuse_call *call);

int fuse_opendir(struct fuse_call *call);
int fuse_readdir(struct fuse_call *call);
int fuse_readdirplus(struct fuse_call *call);
int fuse_releasedir(struct fuse_call *call);
int fuse_fsyncdir(struct fuse_call *call);

/*
 * Answer a request whose header, arguments, data and room are there: 0 with out_size bytes in `out`, or -errno. The
 * arguments are aligned to 8, with a NUL behind.
 */
int fuse_perform(struct fuse_call *call);

/* The first `size` bytes of the arguments, or NULL: there are fewer. */
static inline const void *fuse_argument(const struct fuse_call *call, size_t size)
{
	return call->size >= size ? call->arguments : NULL;
}

/* The string that begins at `offset` of the arguments, and the offset behind it; NULL: there is none. */
const char *fuse_string(const struct fuse_call *call, size_t offset, size_t *behind);

/* `size` zeroed bytes of the reply's body behind those that are there, or NULL: no room. */
void *fuse_room(struct fuse_call *call, size_t size);

/* What the host says of a file, or what is kept of it, as FUSE has it. */
void fuse_fill_attributes(const struct fuse_call *call, struct share_node *node, const struct statx *status,
			  struct fuse_attr *attributes);
/* Whether what the guest says of the file is kept, and not the host's to be told. */
bool fuse_keeps(const struct fuse_call *call, const struct share_node *node);
/* Tell of a node: it is in the reply, and the guest will forget it one day. */
void fuse_fill_entry(const struct fuse_call *call, struct share_node *node,
		     const struct statx *status, struct fuse_entry_out *entry);
/* Answer with the node of what was just made at a name. */
int fuse_tell_entry(struct fuse_call *call, struct share_node *parent, const char *name);
/* The flags of open(2) for what a guest wants of a file. */
int fuse_open_flags(const struct fuse *fuse, uint32_t wanted);
/* Answer with a file that was opened (struct fuse_open_out). */
int fuse_tell_opening(struct fuse_call *call, struct share_node *node, int fd, bool is_directory);

#endif
