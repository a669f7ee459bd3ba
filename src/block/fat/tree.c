#include "block/fat/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRIES_MAX 65536
#define DEPTH_MAX   16
#define BYTES_MAX   (2ull << 30)
#define UNITS_PER_SLOT 13 /* of a long name */

struct tree_reader {
	unsigned entries;
	uint64_t bytes;
	const char *path;
	struct error *error;
};

/* -- names (Microsoft FAT specification, 1.03, "FAT Long Directory Entries") -- */

/* One character of UTF-8, or of what is none. How many bytes it has. */
static unsigned decode(const unsigned char *text, uint32_t *character)
{
	unsigned length = text[0] < 0x80 ? 1 : text[0] >> 5 == 6 ? 2 : text[0] >> 4 == 14 ? 3 : text[0] >> 3 == 30 ? 4 : 0, i;
	uint32_t value = length < 2 ? text[0] : text[0] & (0x7fu >> length);

	for (i = 1; i < length; i++) {
		if (text[i] >> 6 != 2)
			length = 0;
		else
			value = value << 6 | (text[i] & 0x3f);
	}
	/* What no UTF-16 can say, too. */
	if (!length || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
		*character = '_';
		return 1;
	}
	*character = value;
	return length;
}

static bool is_allowed(uint32_t character)
{
	return character >= 0x20 && character != 0x7f && (character > 0x7f || !strchr("\"*/:<>?\\|", (int)character));
}

static int make_long_name(struct fat_entry *entry)
{
	const unsigned char *from = (const unsigned char *)entry->name;
	uint32_t character;
	unsigned count = 0;

	/* No more units than bytes, of which Linux's names have as many at most as a FAT's have units. */
	entry->units = calloc(strlen(entry->name) + 1, sizeof(*entry->units));
	if (!entry->units)
		return -ENOMEM;
	while (*from) {
		from += decode(from, &character);
		if (!is_allowed(character) || ((character == '.' || character == ' ') && !*from))
			character = '_';
		if (character > 0xffff) {
			entry->units[count++] = 0xd800 + ((character - 0x10000) >> 10);
			character = 0xdc00 + (character & 0x3ff);
		}
		entry->units[count++] = character;
	}
	entry->unit_count = count;
	return 0;
}

/* What of a short name this character is; 0: none. */
static char short_character(char character)
{
	if (character >= 'a' && character <= 'z')
		return character - 'a' + 'A';
	if ((character >= 'A' && character <= 'Z') || (character >= '0' && character <= '9') ||
	    (character && strchr("$%'-_@!(){}^#&", character)))
		return character;
	return 0;
}

/* Up to `room` characters of text; whether all of it fits and is what it was but for capitals. */
static bool shorten(char *to, unsigned room, const char *text, size_t length)
{
	bool is_whole = length <= room;
	unsigned used = 0;
	char character;

	for (; length && used < room; length--, text++) {
		character = short_character(*text);
		is_whole &= character != 0;
		if (*text != ' ' && *text != '.')
			to[used++] = character ? character : '_';
	}
	return is_whole;
}

static bool is_taken(const struct fat_entry *folder, unsigned count, const char *short_name)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (memcmp(folder->children[i].short_name, short_name, FAT_SHORT_NAME) == 0)
			return true;
	return false;
}

/* NAME.EXT, or of what is longer or taken NAM~7.EXT by its number in the folder, which has that but once: no other has a '~'. */
static void make_short_name(const struct fat_entry *folder, unsigned number)
{
	struct fat_entry *entry = &folder->children[number];
	const char *name = entry->name, *dot = strrchr(name, '.');
	size_t length = dot && dot != name ? (size_t)(dot - name) : strlen(name);
	char tail[8];
	bool is_whole;
	int size;

	memset(entry->short_name, ' ', FAT_SHORT_NAME);
	is_whole = shorten(entry->short_name, 8, name, length);
	if (name[length])
		is_whole &= shorten(entry->short_name + 8, 3, name + length + 1, strlen(name + length + 1)) && name[length + 1];
	if (is_whole && !is_taken(folder, number, entry->short_name))
		return;
	size = snprintf(tail, sizeof(tail), "~%u", number + 1);
	for (length = 0; length < 8 - (size_t)size && entry->short_name[length] != ' '; length++)
		continue;
	memset(entry->short_name + length, ' ', 8 - length);
	memcpy(entry->short_name + length, tail, size);
}

/* Whether the short name is the name: capitals, and nothing cut. */
static bool short_name_says_it(const struct fat_entry *entry)
{
	char text[FAT_SHORT_NAME + 2];
	unsigned base = 8, extension = 3;

	while (base && entry->short_name[base - 1] == ' ')
		base--;
	while (extension && entry->short_name[8 + extension - 1] == ' ')
		extension--;
	snprintf(text, sizeof(text), "%.*s%s%.*s", (int)base, entry->short_name, extension ? "." : "", (int)extension,
		 entry->short_name + 8);
	return strcmp(text, entry->name) == 0;
}

unsigned fat_entry_slots(const struct fat_entry *entry)
{
	return 1 + (entry->unit_count + UNITS_PER_SLOT - 1) / UNITS_PER_SLOT;
}

static int name_children(struct fat_entry *folder)
{
	struct fat_entry *entry;
	unsigned i;

	for (i = 0; i < folder->child_count; i++) {
		entry = &folder->children[i];
		make_short_name(folder, i);
		if (!short_name_says_it(entry) && make_long_name(entry) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* -- reading -- */

static int compare(const void *one, const void *other)
{
	return strcmp(((const struct fat_entry *)one)->name, ((const struct fat_entry *)other)->name);
}

/* One more child, with what a file system says of it. 0, -errno and the error, or 1: nothing for a disk. */
static int add(struct tree_reader *reader, struct fat_entry *folder, int fd, const char *name)
{
	struct fat_entry *grown, entry = {.name = NULL};
	struct stat status;

	/* What has gone meanwhile, and links that lead nowhere. */
	if (fstatat(fd, name, &status, 0) < 0 || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)))
		return 1;
	if (++reader->entries > ENTRIES_MAX)
		return error_set(reader->error, EFBIG, "'%s' has more than %u files and folders", reader->path, ENTRIES_MAX);
	entry.is_folder = S_ISDIR(status.st_mode);
	entry.size = entry.is_folder ? 0 : (uint64_t)status.st_size > BYTES_MAX ? UINT32_MAX : (uint32_t)status.st_size;
	entry.time = status.st_mtime;
	reader->bytes += entry.size;
	if (reader->bytes > BYTES_MAX)
		return error_set(reader->error, EFBIG, "'%s' has more than %llu MiB", reader->path, BYTES_MAX >> 20);
	/* As the numbers below: a power of two at a time. */
	if ((folder->child_count & (folder->child_count - 1)) == 0) {
		grown = realloc(folder->children, (folder->child_count ? folder->child_count * 2 : 1) * sizeof(entry));
		if (!grown)
			return error_set_errno(reader->error, ENOMEM, "%s", reader->path);
		folder->children = grown;
	}
	entry.name = strdup(name);
	if (!entry.name)
		return error_set_errno(reader->error, ENOMEM, "%s", reader->path);
	folder->children[folder->child_count++] = entry;
	return 0;
}

static int read_folder(struct tree_reader *reader, struct fat_entry *folder, int fd, unsigned depth);

static int read_children(struct tree_reader *reader, struct fat_entry *folder, int fd, unsigned depth)
{
	unsigned i;
	int below, result = 0;

	for (i = 0; i < folder->child_count && result == 0; i++) {
		if (!folder->children[i].is_folder)
			continue;
		below = openat(fd, folder->children[i].name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (below < 0)
			return error_set_errno(reader->error, errno, "cannot read the folder '%s' in '%s'",
					       folder->children[i].name, reader->path);
		result = read_folder(reader, &folder->children[i], below, depth + 1);
	}
	return result;
}

/* `fd` is taken over. */
static int read_folder(struct tree_reader *reader, struct fat_entry *folder, int fd, unsigned depth)
{
	DIR *stream = fdopendir(fd);
	struct dirent *one;
	int result = 0;

	if (!stream) {
		close(fd);
		return error_set_errno(reader->error, ENOMEM, "%s", reader->path);
	}
	if (depth > DEPTH_MAX)
		result = error_set(reader->error, ELOOP, "'%s' has folders more than %u deep", reader->path, DEPTH_MAX);
	while (result >= 0 && (one = readdir(stream)))
		if (strcmp(one->d_name, ".") != 0 && strcmp(one->d_name, "..") != 0)
			result = add(reader, folder, fd, one->d_name);
	if (result >= 0) {
		if (folder->child_count)
			qsort(folder->children, folder->child_count, sizeof(folder->children[0]), compare);
		result = name_children(folder) < 0 ? error_set_errno(reader->error, ENOMEM, "%s", reader->path)
						   : read_children(reader, folder, fd, depth);
	}
	closedir(stream);
	return result < 0 ? result : 0;
}

int fat_tree_read(const char *path, struct fat_entry *root, struct error *error)
{
	struct tree_reader reader = {.path = path, .error = error};
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

	*root = (struct fat_entry){.is_folder = true};
	if (fd < 0)
		return error_set_errno(error, errno, "cannot read the folder '%s'", path);
	result = read_folder(&reader, root, fd, 1);
	if (result < 0)
		fat_tree_free(root);
	return result;
}

void fat_tree_free(struct fat_entry *root)
{
	unsigned i;

	for (i = 0; i < root->child_count; i++)
		fat_tree_free(&root->children[i]);
	free(root->children);
	free(root->units);
	free(root->name);
}
