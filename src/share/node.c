#include "share/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FIRST_NODES   256
#define FIRST_BUCKETS 256
#define DEPTH_MAX     4096
#define STATUS_FLAGS  (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)
#define STATUS_MASK   (STATX_BASIC_STATS | STATX_BTIME)
#define DEVICE_SHIFT  48

/*
 * File systems that hold files of people's (linux/magic.h, and each system's own headers). Others are the
 * kernel's windows on itself: a guest that may look into proc or write to sysfs is on the host.
 */
static const uint32_t storage[] = {
	0xef53,	    /* ext2, ext3, ext4 */
	0x9123683e, /* btrfs */
	0x58465342, /* xfs */
	0xf2f52010, /* f2fs */
	0x01021994, /* tmpfs */
	0x858458f6, /* ramfs */
	0x794c7630, /* overlayfs */
	0x6969,	    /* NFS */
	0x517b,	    /* SMB */
	0xfe534d42, /* SMB 2 */
	0xff534d42, /* CIFS */
	0x65735546, /* FUSE, virtio-fs */
	0x01021997, /* 9p */
	0x00c36400, /* Ceph */
	0x5346414f, /* AFS */
	0x4d44,	    /* FAT */
	0x2011bab0, /* exFAT */
	0x5346544e, /* NTFS */
	0x7366746e, /* NTFS3 */
	0x9660,	    /* ISO 9660 */
	0x15013346, /* UDF */
	0x73717368, /* squashfs */
	0xe0f5e1e2, /* EROFS */
	0x28cd3d45, /* cramfs */
	0x2fc12fc1, /* ZFS */
	0xca451a4e, /* bcachefs */
	0x3153464a, /* JFS */
	0x52654973, /* ReiserFS */
	0x3434,	    /* NILFS */
	0x482b,	    /* HFS+ */
	0x137f,	    /* Minix */
	0x138f,	    /* Minix */
	0x2468,	    /* Minix 2 */
	0x4d5a,	    /* Minix 3 */
	0x24051905, /* UBIFS */
	0x72b6,	    /* JFFS2 */
	0xf15f,	    /* eCryptfs */
	0x7461636f, /* OCFS2 */
	0x01161970, /* GFS2 */
	0x0bd00bd0, /* Lustre */
	0x47504653, /* GPFS */
};

bool folder_can_be_shared(int fd)
{
	struct statfs system;
	unsigned i;

	if (fstatfs(fd, &system) < 0)
		return false;
	for (i = 0; i < sizeof(storage) / sizeof(storage[0]); i++)
		if ((uint32_t)system.f_type == storage[i])
			return true;
	return false;
}

static uint64_t device_of(const struct statx *status)
{
	return makedev(status->stx_dev_major, status->stx_dev_minor);
}

/* --- identities --- */

static bool is_same(const struct share_node *node, const struct statx *status)
{
	return node->inode == status->stx_ino && node->device == device_of(status) &&
	       node->type == (status->stx_mode & S_IFMT) &&
	       node->born_s == status->stx_btime.tv_sec &&
	       node->born_ns == status->stx_btime.tv_nsec;
}

static struct share_node **bucket(const struct folder *folder, uint64_t device, uint64_t inode)
{
	uint64_t hash = (inode ^ device << 40) * 0x9e3779b97f4a7c15ull;

	return &folder->buckets[hash >> 20 & (folder->bucket_count - 1)];
}

static struct share_node *find_same(const struct folder *folder, const struct statx *status)
{
	struct share_node *node = *bucket(folder, device_of(status), status->stx_ino);

	while (node && !is_same(node, status))
		node = node->next;
	return node;
}

/* Without memory the buckets get longer. */
static void grow_buckets(struct folder *folder)
{
	struct folder larger = {.bucket_count = folder->bucket_count * 2};
	struct share_node *node, *next, **at;
	uint64_t i;

	larger.buckets = calloc(larger.bucket_count, sizeof(*larger.buckets));
	if (!larger.buckets)
		return;
	for (i = 0; i < folder->bucket_count; i++)
		for (node = folder->buckets[i]; node; node = next) {
			next = node->next;
			at = bucket(&larger, node->device, node->inode);
			node->next = *at;
			*at = node;
		}
	free(folder->buckets);
	folder->buckets = larger.buckets;
	folder->bucket_count = larger.bucket_count;
}

/* --- numbers --- */

struct share_node *node_find(const struct folder *folder, uint64_t number)
{
	return number < folder->node_count ? folder->nodes[number] : NULL;
}

static bool take_number(struct folder *folder, struct share_node *node)
{
	uint64_t at = folder->first_free, count;
	struct share_node **larger;

	while (at < folder->node_count && folder->nodes[at])
		at++;
	if (at == folder->node_count) {
		count = at ? at * 2 : FIRST_NODES;
		if (count > NODES_MAX)
			count = NODES_MAX;
		larger = at < count ? realloc(folder->nodes, count * sizeof(*larger)) : NULL;
		if (!larger)
			return false;
		memset(larger + at, 0, (count - at) * sizeof(*larger));
		folder->nodes = larger;
		folder->node_count = count;
	}
	folder->nodes[at] = node;
	folder->first_free = at + 1;
	folder->nodes_used++;
	node->number = at;
	return true;
}

/* --- descriptors --- */

static void age_remove(struct folder *folder, struct share_node *node)
{
	if (folder->newest != node && !node->newer)
		return;
	if (node->newer)
		node->newer->older = node->older;
	else
		folder->newest = node->older;
	if (node->older)
		node->older->newer = node->newer;
	else
		folder->oldest = node->newer;
	node->newer = node->older = NULL;
}

static void age_renew(struct folder *folder, struct share_node *node)
{
	if (folder->newest == node)
		return;
	age_remove(folder, node);
	node->older = folder->newest;
	if (folder->newest)
		folder->newest->newer = node;
	else
		folder->oldest = node;
	folder->newest = node;
}

static void close_fd(struct folder *folder, struct share_node *node)
{
	if (node->fd < 0)
		return;
	age_remove(folder, node);
	close(node->fd);
	node->fd = -1;
	folder->fd_count--;
}

int folder_close_one(struct folder *folder)
{
	if (!folder->oldest)
		return -EMFILE;
	close_fd(folder, folder->oldest);
	return 0;
}

/* --- life --- */

static void free_node(struct folder *folder, struct share_node *node)
{
	struct share_node **at = bucket(folder, node->device, node->inode);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	close_fd(folder, node);
	folder->nodes[node->number] = NULL;
	folder->nodes_used--;
	if (node->number < folder->first_free)
		folder->first_free = node->number;
	free(node->name);
	free(node);
}

/* Nodes that nobody needs go, and then perhaps their parents. */
static void release(struct folder *folder, struct share_node *node)
{
	struct share_node *parent;

	while (node && node != folder->root && !node->lookups && !node->uses) {
		parent = node->parent;
		free_node(folder, node);
		if (parent)
			parent->uses--;
		node = parent;
	}
}

void node_use(struct share_node *node)
{
	node->uses++;
}

void node_unuse(struct folder *folder, struct share_node *node)
{
	node->uses--;
	release(folder, node);
}

void node_remember(struct share_node *node)
{
	node->lookups++;
}

void node_forget(struct folder *folder, struct share_node *node, uint64_t lookups)
{
	node->lookups -= lookups < node->lookups ? lookups : node->lookups;
	release(folder, node);
}

static void leave_parent(struct folder *folder, struct share_node *node)
{
	struct share_node *parent = node->parent;

	free(node->name);
	node->name = NULL;
	node->parent = NULL;
	if (parent)
		node_unuse(folder, parent);
}

/* Whether `above` is `node` or has it in it: a directory that the host has moved about may seem so. */
static bool is_below(const struct share_node *above, const struct share_node *node)
{
	while (above && above != node)
		above = above->parent;
	return above;
}

void node_moved(struct folder *folder, struct share_node *node, struct share_node *parent, const char *name)
{
	char *copy;

	if (node == folder->root ||
	    (node->parent == parent && node->name && strcmp(node->name, name) == 0))
		return;
	copy = is_below(parent, node) ? NULL : strdup(name);
	parent->uses++;
	leave_parent(folder, node);
	node->parent = copy ? parent : NULL;
	node->name = copy;
	if (!copy)
		node_unuse(folder, parent);
	/* One without a name keeps its descriptor. */
	if (!copy)
		age_remove(folder, node);
	else if (node->fd >= 0)
		age_renew(folder, node);
}

void node_unlinked(struct folder *folder, struct share_node *node, struct share_node *parent, const char *name)
{
	if (node->parent != parent || strcmp(node->name, name) != 0)
		return;
	age_remove(folder, node);
	leave_parent(folder, node);
}

static struct share_node *create(struct folder *folder, const struct statx *status)
{
	struct share_node *node = calloc(1, sizeof(*node)), **at;

	if (!node)
		return NULL;
	*node = (struct share_node){.device = device_of(status),
			      .inode = status->stx_ino,
			      .born_s = status->stx_btime.tv_sec,
			      .born_ns = status->stx_btime.tv_nsec,
			      .type = status->stx_mode & S_IFMT,
			      .fd = -1};
	if (!take_number(folder, node)) {
		free(node);
		return NULL;
	}
	if (folder->nodes_used > folder->bucket_count)
		grow_buckets(folder);
	at = bucket(folder, node->device, node->inode);
	node->next = *at;
	*at = node;
	return node;
}

/* --- what is at a name --- */

int node_check_name(const char *name)
{
	size_t length = strlen(name);

	if (length > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (!length || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

int node_status_at(int directory, const char *name, struct statx *status)
{
	int flags = STATUS_FLAGS | (*name ? 0 : AT_EMPTY_PATH);

	if (statx(directory, name, flags, STATUS_MASK, status) < 0)
		return -errno;
	/* Where the file system knows no births, all are the same. */
	if (!(status->stx_mask & STATX_BTIME))
		memset(&status->stx_btime, 0, sizeof(status->stx_btime));
	return 0;
}

static int open_path(struct folder *folder, int directory, const char *name)
{
	int fd;

	while (folder->fd_count >= folder->fd_limit && folder_close_one(folder) == 0)
		;
	do
		fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	while (fd < 0 && errno == EMFILE && folder_close_one(folder) == 0);
	return fd < 0 ? -errno : fd;
}

/* Open a node whose parent is open. */
static int open_below(struct folder *folder, struct share_node *node)
{
	int directory = node->parent->fd, fd;
	struct statx status;
	int result;

	/* It is not the one to be closed. */
	if (node->parent != folder->root && node->parent->parent)
		age_renew(folder, node->parent);
	fd = open_path(folder, directory, node->name);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	result = node_status_at(fd, "", &status);
	if (result == 0 && !is_same(node, &status))
		result = -ESTALE;
	if (result < 0) {
		close(fd);
		return result;
	}
	node->fd = fd;
	folder->fd_count++;
	age_renew(folder, node);
	return 0;
}

int node_fd(struct folder *folder, struct share_node *node)
{
	struct share_node *way[DEPTH_MAX], *at;
	unsigned depth = 0;
	int result = 0;

	if (node->fd >= 0) {
		if (node->parent)
			age_renew(folder, node);
		return node->fd;
	}
	for (at = node; at->fd < 0; at = at->parent) {
		if (!at->parent)
			return -ESTALE;
		if (depth == DEPTH_MAX)
			return -ENAMETOOLONG;
		way[depth++] = at;
	}
	while (depth && result == 0)
		result = open_below(folder, way[--depth]);
	return result < 0 ? result : node->fd;
}

int node_place(struct folder *folder, struct share_node *node, int *directory, const char **name)
{
	struct statx status;
	int result;

	if (node == folder->root || !node->parent) {
		*directory = node->fd;
		*name = "";
		return node->fd < 0 ? -ESTALE : 0;
	}
	*directory = node_fd(folder, node->parent);
	*name = node->name;
	if (*directory < 0)
		return *directory;
	result = node_status_at(*directory, *name, &status);
	if (result == -ENOENT || (result == 0 && !is_same(node, &status)))
		result = -ESTALE;
	return result;
}

int node_status(struct folder *folder, struct share_node *node, struct statx *status)
{
	int directory, result;

	if (node->fd >= 0)
		return node_status_at(node->fd, "", status);
	if (!node->parent)
		return -ESTALE;
	directory = node_fd(folder, node->parent);
	if (directory < 0)
		return directory;
	result = node_status_at(directory, node->name, status);
	return result == -ENOENT || (result == 0 && !is_same(node, status)) ? -ESTALE : result;
}

/* Another file system begins here: one of people's, or a wall. */
static bool begins_wall(struct folder *folder, int directory, const char *name)
{
	int fd = open_path(folder, directory, name);
	bool is_wall = fd < 0 || !folder_can_be_shared(fd);

	if (fd >= 0)
		close(fd);
	return is_wall;
}

struct share_node *node_tell(struct folder *folder, struct share_node *parent, const char *name,
			     const struct statx *status)
{
	struct share_node *node = find_same(folder, status);
	int directory;

	if (!node) {
		node = create(folder, status);
		if (!node)
			return NULL;
		if (node->device != parent->device) {
			directory = node_fd(folder, parent);
			node->is_wall = directory < 0 || begins_wall(folder, directory, name);
		}
	}
	node->lookups++;
	node_moved(folder, node, parent, name);
	return node;
}

int node_look_up(struct folder *folder, struct share_node *parent, const char *name, struct share_node **node,
		 struct statx *status)
{
	int directory, result = node_check_name(name);

	if (result < 0)
		return result;
	if (parent->type != S_IFDIR)
		return -ENOTDIR;
	if (parent->is_wall)
		return -ENOENT;
	directory = node_fd(folder, parent);
	if (directory < 0)
		return directory;
	result = node_status_at(directory, name, status);
	if (result < 0)
		return result;
	*node = node_tell(folder, parent, name, status);
	return *node ? 0 : -ENOMEM;
}

struct share_node *node_pin(struct folder *folder, struct share_node *parent, const char *name)
{
	int directory = node_fd(folder, parent);
	struct statx status;
	struct share_node *node;

	if (directory < 0 || node_status_at(directory, name, &status) < 0)
		return NULL;
	node = find_same(folder, &status);
	if (!node || node == folder->root)
		return NULL;
	/* One that was seen elsewhere last keeps that name. */
	if (node->parent == parent && strcmp(node->name, name) == 0)
		node_fd(folder, node);
	return node;
}

uint64_t folder_number(struct folder *folder, uint64_t device, uint64_t inode)
{
	unsigned count = sizeof(folder->devices) / sizeof(folder->devices[0]), i;

	for (i = 0; i < folder->device_count; i++)
		if (folder->devices[i] == device)
			return inode ^ (uint64_t)i << DEVICE_SHIFT;
	if (folder->device_count < count)
		folder->devices[folder->device_count++] = device;
	else
		i = count + device % 1021;
	return inode ^ (uint64_t)i << DEVICE_SHIFT;
}

uint64_t folder_inode(struct folder *folder, const struct statx *status)
{
	return folder_number(folder, device_of(status), status->stx_ino);
}

/* --- the folder --- */

int folder_open(struct folder *folder, int root, bool is_readonly, unsigned fd_limit)
{
	struct statx status;
	int result;

	*folder = (struct folder){.first_free = NODE_ROOT,
				  .bucket_count = FIRST_BUCKETS,
				  .fd_limit = fd_limit,
				  .is_readonly = is_readonly};
	folder->buckets = calloc(FIRST_BUCKETS, sizeof(*folder->buckets));
	folder->nodes = calloc(FIRST_NODES, sizeof(*folder->nodes));
	folder->node_count = folder->nodes ? FIRST_NODES : 0;
	result = folder->buckets && folder->nodes ? node_status_at(root, "", &status) : -ENOMEM;
	if (result == 0 && !S_ISDIR(status.stx_mode))
		result = -ENOTDIR;
	if (result == 0 && !folder_can_be_shared(root))
		result = -EOPNOTSUPP;
	if (result == 0) {
		folder->root = create(folder, &status);
		result = folder->root ? 0 : -ENOMEM;
	}
	if (result < 0) {
		close(root);
		folder_close(folder);
		return result;
	}
	folder->root->fd = root;
	folder->fd_count++;
	folder_inode(folder, &status);
	return 0;
}

void folder_clear(struct folder *folder)
{
	uint64_t i;

	for (i = 0; i < folder->node_count; i++)
		if (folder->nodes[i] && folder->nodes[i] != folder->root)
			free_node(folder, folder->nodes[i]);
	folder->root->lookups = 0;
	folder->root->uses = 0;
}

void folder_close(struct folder *folder)
{
	if (folder->root) {
		folder_clear(folder);
		free_node(folder, folder->root);
	}
	free(folder->nodes);
	free(folder->buckets);
	*folder = (struct folder){0};
}
