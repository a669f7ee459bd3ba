/*
 * The files and directories of a folder that a peer knows of: nodes. A peer (a guest's file system) names
 * them by numbers; here is what the numbers stand for on the host.
 *
 * A node is one file by its identity (device, inode number, time of birth), whatever its names are. It
 * remembers one of them, the last that it was seen at, as a name in its parent's node; so a large tree
 * needs no open descriptors. Directories that are worked in, and files that have lost their name while
 * the peer knows them, have one. What is found at a name is compared with the identity at each use: on the
 * host names change as they like, and then the node is stale (-ESTALE), which makes a peer look again.
 *
 * No path is ever built or followed: each step is one name in one directory, never a symbolic link,
 * "." or "..". File systems of the kernel's own (proc, sysfs, ...) that are mounted below the folder are
 * walls: their top can be seen, and nothing in it.
 *
 * One thread.
 */
#ifndef KVIK_SHARE_NODE_H
#define KVIK_SHARE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "share/kept.h"

#define NODE_ROOT     1ull /* its number, as FUSE has it */
#define NODES_MAX     (4u << 20)
#define NODE_NAME_MAX 255

struct opening;

struct share_node {
	uint64_t number;
	/* Its identity. */
	uint64_t device, inode;
	int64_t born_s;
	uint32_t born_ns;
	mode_t type; /* S_IFMT's bits, on the host */
	bool is_wall;
	/* Where it was seen last: a name in a directory. NULL: the root, or it has lost its name. */
	struct share_node *parent;
	char *name;
	uint64_t lookups;  /* how often the peer was told of it, and hasn't forgotten it */
	unsigned uses;	   /* children that have it as parent, and openings */
	int fd;		   /* O_PATH, or -1 */
	struct opening *openings; /* opening.h; the newest first */
	struct mapped mapped; /* as it was read last */
	struct share_node *newer, *older; /* of those whose fd may be closed again */
	struct share_node *next; /* in its bucket */
};

/* A directory of the host's that is shared, and what is known of it. */
struct folder {
	struct share_node **nodes; /* by number; NULL: free */
	uint64_t node_count, nodes_used;
	uint64_t first_free; /* no free number is below */
	struct share_node **buckets;
	uint64_t bucket_count; /* a power of two */
	struct share_node *root;
	struct share_node *newest, *oldest; /* with a descriptor that may be closed */
	unsigned fd_count, fd_limit;
	uint64_t devices[32]; /* that were seen, the root's first */
	unsigned device_count;
	bool is_readonly;
	enum share_keeping keeping; /* set by whoever has opened it */
};

/* Whether it lies on a file system of people's files, and not on one of the kernel's own. */
bool folder_can_be_shared(int directory);

/* `root`: an O_PATH descriptor of a directory, which is the folder's from now on, also on failure.
 * `fd_limit`: how many descriptors nodes may keep, without files that lost their name. 0 or -errno. */
int folder_open(struct folder *folder, int root, bool is_readonly, unsigned fd_limit);
/* Forget all nodes but the root. Openings are closed before. */
void folder_clear(struct folder *folder);
void folder_close(struct folder *folder);

/* What a peer's number stands for, or NULL. */
struct share_node *node_find(const struct folder *folder, uint64_t number);

/*
 * A name in a directory: the node, of which the peer is told (lookups), and what it is now. -EINVAL for names
 * that are none. 0 or -errno.
 */
int node_look_up(struct folder *folder, struct share_node *parent, const char *name, struct share_node **node,
		 struct statx *status);
/* The node of what `status`, fresh from the host, says to be there at that name. Told as above. NULL: too many. */
struct share_node *node_tell(struct folder *folder, struct share_node *parent, const char *name,
			     const struct statx *status);
/* The peer was told of it once more. */
void node_remember(struct share_node *node);
/* The peer has forgotten it that often. It may be gone then. */
void node_forget(struct folder *folder, struct share_node *node, uint64_t lookups);
void node_use(struct share_node *node);
void node_unuse(struct folder *folder, struct share_node *node);

/* Whether it is one name of a directory's entry, and may be asked for. 0, -EINVAL or -ENAMETOOLONG. */
int node_check_name(const char *name);

/* What it is now. 0 or -errno. */
int node_status(struct folder *folder, struct share_node *node, struct statx *status);
/* What is at a name, without telling of it. 0 or -errno. */
int node_status_at(int directory, const char *name, struct statx *status);

/* Its O_PATH descriptor, the node's own and good until another node's is asked for. Or -errno. */
int node_fd(struct folder *folder, struct share_node *node);
/*
 * A descriptor of a directory and a name there for calls of the *at kind; the name is "" where the descriptor
 * is the node itself (AT_EMPTY_PATH). That it is still the same file was looked at a moment ago. 0 or -errno.
 */
int node_place(struct folder *folder, struct share_node *node, int *directory, const char **name);

/* The node that is known at a name, pinned by a descriptor before the name goes; NULL: the peer does not know
 * it. */
struct share_node *node_pin(struct folder *folder, struct share_node *parent, const char *name);
/* The name at which `node` was is gone. */
void node_unlinked(struct folder *folder, struct share_node *node, struct share_node *parent, const char *name);
/* It is at that name from now on. Without memory it has lost its name. */
void node_moved(struct folder *folder, struct share_node *node, struct share_node *parent, const char *name);

/* Close a descriptor that can be had again: 0; -EMFILE: there is none. */
int folder_close_one(struct folder *folder);

/* A number for the inode that is unlike that of any other file in the folder. */
uint64_t folder_inode(struct folder *folder, const struct statx *status);
uint64_t folder_number(struct folder *folder, uint64_t device, uint64_t inode);

#endif
