#include "share/opening.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_OPENINGS 64

static bool take_number(struct opening_table *table, struct opening *opening)
{
	uint64_t at = table->first_free, count;
	struct opening **larger;

	while (at < table->count && table->openings[at])
		at++;
	if (at == table->count) {
		count = at ? at * 2 : FIRST_OPENINGS;
		larger = realloc(table->openings, count * sizeof(*larger));
		if (!larger)
			return false;
		memset(larger + at, 0, (count - at) * sizeof(*larger));
		table->openings = larger;
		table->count = count;
	}
	table->openings[at] = opening;
	table->first_free = at + 1;
	opening->number = at;
	return true;
}

struct opening *opening_create(struct opening_table *table, struct share_node *node, int fd,
			     bool is_directory)
{
	struct opening *opening = calloc(1, sizeof(*opening));

	if (!opening)
		return NULL;
	*opening = (struct opening){.node = node, .fd = fd, .is_directory = is_directory};
	if (is_directory)
		opening->buffer = malloc(OPENING_BUFFER);
	if ((is_directory && !opening->buffer) || !take_number(table, opening)) {
		free(opening->buffer);
		free(opening);
		return NULL;
	}
	opening->older = node->openings;
	node->openings = opening;
	node_use(node);
	return opening;
}

struct opening *opening_find(const struct opening_table *table, uint64_t number, bool is_directory)
{
	struct opening *opening = number < table->count ? table->openings[number] : NULL;

	return opening && opening->is_directory == is_directory ? opening : NULL;
}

void opening_destroy(struct opening_table *table, struct folder *folder, struct opening *opening)
{
	struct opening **at = &opening->node->openings;

	while (*at != opening)
		at = &(*at)->older;
	*at = opening->older;
	node_unuse(folder, opening->node);
	table->openings[opening->number] = NULL;
	if (opening->number < table->first_free)
		table->first_free = opening->number;
	close(opening->fd);
	free(opening->buffer);
	free(opening);
}

void opening_destroy_all(struct opening_table *table, struct folder *folder)
{
	uint64_t i;

	for (i = 0; i < table->count; i++)
		if (table->openings[i])
			opening_destroy(table, folder, table->openings[i]);
	free(table->openings);
	*table = (struct opening_table){0};
}

int opening_seek(struct opening *opening, uint64_t offset)
{
	if (offset == opening->next_offset)
		return 0;
	if (lseek(opening->fd, offset, SEEK_SET) < 0)
		return -errno;
	opening->at = opening->filled = 0;
	opening->next_offset = offset;
	return 0;
}

struct opening_entry *opening_next_entry(struct opening *opening, int *result)
{
	long filled;

	*result = 0;
	if (opening->at >= opening->filled) {
		filled = syscall(SYS_getdents64, opening->fd, opening->buffer, OPENING_BUFFER);
		if (filled <= 0) {
			*result = filled < 0 ? -errno : 0;
			opening->at = opening->filled = 0;
			return NULL;
		}
		opening->at = 0;
		opening->filled = filled;
	}
	return (struct opening_entry *)(opening->buffer + opening->at);
}

void opening_take_entry(struct opening *opening, const struct opening_entry *entry)
{
	opening->at += entry->size;
	opening->next_offset = entry->next_offset;
}

uint8_t opening_entry_type(const struct folder *folder, const struct opening_entry *entry)
{
	/* A file may stand for something else (kept.h). */
	return folder->keeping != SHARE_KEEPS_NOTHING && entry->type == DT_REG ? DT_UNKNOWN : entry->type;
}

/*
 * What is neither a file nor a directory is the guest's own affair, and opening it may do something on the host: a
 * device, a FIFO. It is looked at before, and again behind, where it may have become something else.
 */
int node_open(struct folder *folder, struct share_node *node, int flags)
{
	int directory, fd, result;
	struct stat status;
	const char *name;

	if ((node->type != S_IFREG && node->type != S_IFDIR) || node->is_wall)
		return -EACCES;
	result = node_place(folder, node, &directory, &name);
	if (result < 0)
		return result;
	flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	if (node->type == S_IFDIR)
		flags |= O_DIRECTORY;
	/* What has lost its name cannot be opened again; the root can. */
	if (!*name && node != folder->root)
		return -ESTALE;
	do
		fd = openat(directory, *name ? name : ".", flags);
	while (fd < 0 && errno == EMFILE && folder_close_one(folder) == 0);
	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(fd, &status) == 0 && status.st_dev == node->device &&
	    status.st_ino == node->inode && (status.st_mode & S_IFMT) == node->type)
		return fd;
	close(fd);
	return -ESTALE;
}

/* Whether a descriptor with these flags may do what `wanted` may. */
static bool can_do(int fd, int wanted)
{
	int flags = fcntl(fd, F_GETFL) & O_ACCMODE;

	return flags == O_RDWR || flags == wanted;
}

int node_borrow(struct folder *folder, struct share_node *node, int flags, bool *is_made)
{
	struct opening *opening = node->openings;

	*is_made = false;
	while (opening && flags != O_PATH && !can_do(opening->fd, flags & O_ACCMODE))
		opening = opening->older;
	if (opening)
		return opening->fd;
	if (flags == O_PATH)
		return node_fd(folder, node);
	*is_made = true;
	return node_open(folder, node, flags);
}
