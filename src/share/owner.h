/*
 * Whose a file is, for the guest. kvik's user is the only one that the file server can be: what it makes is its
 * own, and it can give nothing away. So its user's files are the guest's root's, and those of the host's
 * root, too, who to a user's namespace is nobody; what else there is keeps its number.
 */
#ifndef KVIK_SHARE_OWNER_H
#define KVIK_SHARE_OWNER_H

#include <stdint.h>

struct owners {
	uint32_t user, group; /* the server's */
};

/* What the guest sees of a file of user or group `id`, where `own` is the server's. */
uint32_t owner_to_guest(uint32_t id, uint32_t own);
/* The number to give to chown(2) for what a guest wants of a file that has `now`: ~0 for no change. */
uint32_t owner_to_host(uint32_t wanted, uint32_t now, uint32_t own);

#endif
