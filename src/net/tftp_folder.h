/*
 * The folder that a TFTP server reads: opened by a process of its own, whose root directory it is, so that whoever takes
 * over the network stack, which asks for files, can name no other.
 */
#ifndef KVIK_NET_TFTP_FOLDER_H
#define KVIK_NET_TFTP_FOLDER_H

#include "util/error.h"

/* A descriptor by which the process is asked, and ends when it is closed; or -errno and `error`. While this process has
 * one thread, and is not confined (helper.h). */
int tftp_folder_start(const char *path, struct error *error);

/* A file for reading, by its path in the folder: a descriptor or -errno. */
int tftp_folder_open(int folder, const char *name);

#endif
