/*
 * A folder of the host's as a disk: one partition, FAT16 or, for much of it, FAT32, with what the folder holds at that
 * moment. The disk is in memory. What a guest writes to it is lost with it: the folder stays as it is.
 */
#ifndef KVIK_BLOCK_FAT_FOLDER_H
#define KVIK_BLOCK_FAT_FOLDER_H

#include <stdbool.h>

#include "util/error.h"

/* Whether a path is the name of such a disk: "fat:FOLDER", and between the two "16:", "32:", "rw:", "label=L:". */
bool fat_folder_is_named(const char *path);

/* A descriptor of the disk, the caller's; or -errno and `error`: no folder, a name that is none, more than 2 GiB, no memory. */
int fat_folder_open(const char *name, struct error *error);

#endif
