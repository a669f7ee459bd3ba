/*
 * The keeper: makes a code cache file from what VMs ask for (docs/engine/code-cache.md).
 *
 * It belongs into a process of its own, which no VM can reach but by a pipe: what it reads there is guest code
 * and wishes, of which it believes nothing, and what it writes are translations that it has made itself.
 * One thread.
 */
#ifndef KVIK_ENGINE_RUN_KEEPER_H
#define KVIK_ENGINE_RUN_KEEPER_H

#include <stdint.h>

struct keeper;

/*
 * A keeper that bounds its file to `limit` bytes. Maps code, and so comes before a filter that forbids that. 0;
 * -ENOTSUP: this host or build keeps nothing; or another -errno.
 */
int keeper_create(uint64_t limit, struct keeper **created);
void keeper_destroy(struct keeper *keeper);

/*
 * Read what is asked for from `requests` until nobody holds the other end, it makes no sense, or it is more than
 * would fill a file of that size twice; then, and now and then meanwhile, put the file `name` in the directory `directory`, with what is there already: a new file
 * takes the place of the old one at once and as a whole. `given`: the file that the VM was given; -1: none.
 */
void keeper_serve(struct keeper *keeper, int requests, int directory, const char *name, int given);

#endif
