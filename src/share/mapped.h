/* Reading and writing what a guest has said of files (kept.h). One thread. */
#ifndef KVIK_SHARE_MAPPED_H
#define KVIK_SHARE_MAPPED_H

#include "share/kept.h"
#include "share/node.h"

/* What is kept of a node, in node->mapped: nothing, where that cannot be read. */
void mapped_read(struct folder *folder, struct share_node *node);
/* Keep what `change` has of a node, beside what is kept of it. 0 or -errno. */
int mapped_write(struct folder *folder, struct share_node *node, const struct mapped *change);
/* Likewise of what was just made at a name in an open directory. */
int mapped_write_at(const struct folder *folder, int directory, const char *name, const struct mapped *change);

/* The file at a name is another name's, too; or is no more; or is elsewhere, or in the other's place (`is_exchange`). What is
 * kept by name follows; where it cannot, the host's owner and mode show. */
void mapped_linked(const struct folder *folder, int from, const char *name, int to, const char *new_name);
void mapped_unlinked(const struct folder *folder, int directory, const char *name);
void mapped_moved(const struct folder *folder, int from, const char *name, int to, const char *new_name,
		  bool is_exchange);
/* A directory is to be removed: what is kept of files that were in it must not be in the way. */
void mapped_empty(const struct folder *folder, int directory, const char *name);

/* Names of files and of extended attributes that are not the guest's. */
bool mapped_hides_name(const struct folder *folder, const char *name);
bool mapped_hides_attribute(const struct folder *folder, const char *name);

#endif
