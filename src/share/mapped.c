#include "share/mapped.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "share/opening.h"

#define PREFIX	   "user.virtfs."
#define LIST_MAX   65536
#define NOTES	   ".virtfs_metadata"
#define ROOT_NOTE  ".virtfs_metadata_root"
#define NOTE_MAX   512
#define TOP	   "." /* the name of the folder's top */

static const struct {
	const char *attribute;
	const char *line;
	unsigned bytes;
} fields[MAPPED_FIELDS] = {
	[MAPPED_USER] = {PREFIX "uid", "virtfs.uid=", 4},
	[MAPPED_GROUP] = {PREFIX "gid", "virtfs.gid=", 4},
	[MAPPED_MODE] = {PREFIX "mode", "virtfs.mode=", 4},
	[MAPPED_DEVICE] = {PREFIX "rdev", "virtfs.rdev=", 8},
};

/* A file: by a descriptor that it is open by, or by a name in a directory. */
struct kept_place {
	int fd; /* -1: by name */
	int directory;
	const char *name;
};

static void add(struct mapped *to, const struct mapped *change)
{
	unsigned i;

	for (i = 0; i < MAPPED_FIELDS; i++)
		if (mapped_has(change, i))
			mapped_set(to, i, change->values[i]);
}

/* --- extended attributes; the calls for them take a name in the working directory --- */

static ssize_t list_attributes(const struct kept_place *place, char *list, size_t size)
{
	if (place->fd >= 0)
		return flistxattr(place->fd, list, size);
	return fchdir(place->directory) < 0 ? -1 : llistxattr(place->name, list, size);
}

static void read_attributes(const struct kept_place *place, struct mapped *mapped)
{
	static _Thread_local char list[LIST_MAX];
	ssize_t length = list_attributes(place, list, sizeof(list)), got;
	uint64_t value;
	unsigned i;

	/* Most files have none. */
	if (length <= 0 || !memmem(list, length, PREFIX, strlen(PREFIX)))
		return;
	for (i = 0; i < MAPPED_FIELDS; i++) {
		value = 0;
		got = place->fd >= 0 ? fgetxattr(place->fd, fields[i].attribute, &value, fields[i].bytes)
				     : lgetxattr(place->name, fields[i].attribute, &value, fields[i].bytes);
		if (got == (ssize_t)fields[i].bytes)
			mapped_set(mapped, i, le64toh(value));
	}
}

static int write_attributes(const struct kept_place *place, const struct mapped *change)
{
	uint64_t value;
	unsigned i;

	if (place->fd < 0 && fchdir(place->directory) < 0)
		return -errno;
	for (i = 0; i < MAPPED_FIELDS; i++) {
		if (!mapped_has(change, i))
			continue;
		value = htole64(change->values[i]);
		if ((place->fd >= 0
			     ? fsetxattr(place->fd, fields[i].attribute, &value, fields[i].bytes, 0)
			     : lsetxattr(place->name, fields[i].attribute, &value, fields[i].bytes, 0)) < 0)
			return -errno;
	}
	return 0;
}

/* --- files beside files --- */

static int open_notes(int directory)
{
	int fd = openat(directory, NOTES, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The file about a name: its descriptor or -errno. */
static int open_note(int directory, const char *name, int flags)
{
	int notes, fd, result;

	flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	if (strcmp(name, TOP) == 0) {
		fd = openat(directory, ROOT_NOTE, flags, MAPPED_FILE_MODE);
		return fd < 0 ? -errno : fd;
	}
	if ((flags & O_CREAT) && mkdirat(directory, NOTES, MAPPED_DIRECTORY_MODE) < 0 && errno != EEXIST)
		return -errno;
	notes = open_notes(directory);
	if (notes < 0)
		return notes;
	fd = openat(notes, name, flags, MAPPED_FILE_MODE);
	result = fd < 0 ? -errno : fd;
	close(notes);
	return result;
}

static void read_note(int directory, const char *name, struct mapped *mapped)
{
	int fd = open_note(directory, name, O_RDONLY);
	char text[NOTE_MAX + 1], *line, *rest = text;
	ssize_t length = fd < 0 ? -1 : pread(fd, text, NOTE_MAX, 0);
	unsigned i;

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return;
	text[length] = 0;
	while ((line = strsep(&rest, "\n")))
		for (i = 0; i < MAPPED_FIELDS; i++)
			if (strncmp(line, fields[i].line, strlen(fields[i].line)) == 0)
				mapped_set(mapped, i, strtoull(line + strlen(fields[i].line), NULL, 10));
}

static int write_note(int directory, const char *name, const struct mapped *mapped)
{
	char text[NOTE_MAX];
	unsigned length = 0, i;
	int fd, result = 0;

	for (i = 0; i < MAPPED_FIELDS; i++)
		if (mapped_has(mapped, i))
			length += snprintf(text + length, sizeof(text) - length, "%s%llu\n", fields[i].line,
					   (unsigned long long)mapped->values[i]);
	fd = open_note(directory, name, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	if (pwrite(fd, text, length, 0) != (ssize_t)length)
		result = errno ? -errno : -EIO;
	close(fd);
	return result;
}

static void remove_note(int directory, const char *name)
{
	int notes = open_notes(directory);

	if (notes < 0)
		return;
	unlinkat(notes, name, 0);
	close(notes);
}

/* --- nodes --- */

/* Where what is kept of a node can be reached. 0 or -errno. */
static int find_place(struct folder *folder, struct share_node *node, struct kept_place *place)
{
	*place = (struct kept_place){.fd = -1};
	if (node->openings && folder->keeping == SHARE_KEEPS_ATTRIBUTES) {
		place->fd = node->openings->fd;
		return 0;
	}
	if (node != folder->root && !node->parent)
		return -ESTALE;
	place->directory = node_fd(folder, node == folder->root ? node : node->parent);
	place->name = node == folder->root ? TOP : node->name;
	return place->directory < 0 ? place->directory : 0;
}

static void read_place(const struct folder *folder, const struct kept_place *place, struct mapped *mapped)
{
	*mapped = (struct mapped){0};
	if (folder->keeping == SHARE_KEEPS_ATTRIBUTES)
		read_attributes(place, mapped);
	else
		read_note(place->directory, place->name, mapped);
}

static int write_place(const struct folder *folder, const struct kept_place *place, const struct mapped *change)
{
	struct mapped mapped;

	if (folder->keeping == SHARE_KEEPS_ATTRIBUTES)
		return write_attributes(place, change);
	read_place(folder, place, &mapped);
	add(&mapped, change);
	return write_note(place->directory, place->name, &mapped);
}

void mapped_read(struct folder *folder, struct share_node *node)
{
	struct kept_place place;

	if (folder->keeping == SHARE_KEEPS_NOTHING || node->is_wall)
		return;
	/* Of one that has lost its name it is what was read last. */
	if (find_place(folder, node, &place) == 0)
		read_place(folder, &place, &node->mapped);
}

int mapped_write(struct folder *folder, struct share_node *node, const struct mapped *change)
{
	struct kept_place place;
	int result = find_place(folder, node, &place);

	if (result == 0)
		result = write_place(folder, &place, change);
	else if (result == -ESTALE)
		result = 0;
	if (result == 0)
		add(&node->mapped, change);
	return result;
}

int mapped_write_at(const struct folder *folder, int directory, const char *name, const struct mapped *change)
{
	const struct kept_place place = {.fd = -1, .directory = directory, .name = name};

	return write_place(folder, &place, change);
}

void mapped_linked(const struct folder *folder, int from, const char *name, int to, const char *new_name)
{
	struct mapped mapped = {0};

	if (folder->keeping != SHARE_KEEPS_FILES)
		return;
	read_note(from, name, &mapped);
	if (mapped.has)
		write_note(to, new_name, &mapped);
	else
		remove_note(to, new_name);
}

void mapped_unlinked(const struct folder *folder, int directory, const char *name)
{
	if (folder->keeping == SHARE_KEEPS_FILES)
		remove_note(directory, name);
}

void mapped_moved(const struct folder *folder, int from, const char *name, int to, const char *new_name, bool is_exchange)
{
	struct mapped other = {0};
	struct statx status;

	/* Of two names of one file, rename(2) leaves both. */
	if (folder->keeping != SHARE_KEEPS_FILES || (!is_exchange && node_status_at(from, name, &status) == 0))
		return;
	if (is_exchange)
		read_note(to, new_name, &other);
	mapped_linked(folder, from, name, to, new_name);
	if (other.has)
		write_note(from, name, &other);
	else
		remove_note(from, name);
}

void mapped_empty(const struct folder *folder, int directory, const char *name)
{
	int fd;

	if (folder->keeping != SHARE_KEEPS_FILES)
		return;
	fd = openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	unlinkat(fd, NOTES, AT_REMOVEDIR);
	close(fd);
}

bool mapped_hides_name(const struct folder *folder, const char *name)
{
	return folder->keeping == SHARE_KEEPS_FILES && (strcmp(name, NOTES) == 0 || strcmp(name, ROOT_NOTE) == 0);
}

bool mapped_hides_attribute(const struct folder *folder, const char *name)
{
	return folder->keeping == SHARE_KEEPS_ATTRIBUTES && strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}
