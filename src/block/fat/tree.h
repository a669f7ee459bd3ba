/* What a folder holds, as far as a FAT can have it: files and folders, links as what they lead to. */
#ifndef KVIK_BLOCK_FAT_TREE_H
#define KVIK_BLOCK_FAT_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "util/error.h"

#define FAT_SHORT_NAME 11

struct fat_entry {
	char *name;	  /* on the host; "" for the topmost folder */
	uint16_t *units;  /* the long name in UTF-16, with what a FAT does not allow replaced; NULL: the short one says it */
	unsigned unit_count;
	char short_name[FAT_SHORT_NAME]; /* unique in its folder */
	bool is_folder;
	uint32_t size; /* a file's */
	time_t time;
	struct fat_entry *children; /* a folder's, by their names */
	unsigned child_count;
	uint32_t cluster; /* the first one; 0: none. Of who lays it out */
};

/* Everything below `path`, at most 65536 files and folders, 16 deep, 2 GiB. 0, or -errno and `error`. */
int fat_tree_read(const char *path, struct fat_entry *root, struct error *error);
void fat_tree_free(struct fat_entry *root);

/* How many directory entries of 32 bytes one takes in its folder. */
unsigned fat_entry_slots(const struct fat_entry *entry);

#endif
