/*
 * A qcow2 image that is open: what the files of this folder share.
 *
 *   header.c    the header and its extensions, in and out
 *   tables.c    the cache of L2 tables and refcount blocks
 *   refcounts.c which host clusters are used; making and freeing them
 *   sets.c      sets of host clusters
 *   mapping.c   from guest offsets to host clusters: L1 and L2 tables
 *   flush.c     in which order changes reach the medium
 *   read.c write.c pack.c unpack.c   requests, also of compressed clusters
 *   counts.c mend.c check.c   checks
 *   bitmaps.c bitmap_changes.c amend.c
 *   snapshot_list.c snapshots.c state.c resize.c create.c open.c
 *
 * Order on the medium. Changes of tables stay in memory until a flush, which writes what is pointed to
 * before what points to it, with a barrier (fdatasync) in between: data and refcounts, then L2 tables,
 * then L1 entries. What is not pointed to any more is freed, and may be used again, only after the
 * flush that made that durable. So at every moment the file holds a sound image in which some clusters
 * may be leaked, never one that lacks or shares some.
 *
 * Threads. `lock` guards all of it but where something else is said. Workers hold it while they read
 * or write tables; nobody holds it while guest data moves or, but for a new refcount block, a barrier
 * is waited for. The I/O thread
 * only ever tries to take it (qcow2_map). Which requests may go on at once is the range locks' matter.
 */
#ifndef KVIK_BLOCK_QCOW2_QCOW2_H
#define KVIK_BLOCK_QCOW2_QCOW2_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/image.h"
#include "block/node.h"
#include "block/qcow2/format.h"
#include "util/error.h"

/* A cluster of the file that is an L2 table or a refcount block, in the medium's byte order. */
struct table {
	uint64_t offset;
	uint8_t *data;	  /* cluster_size bytes */
	bool is_dirty;	  /* to be written */
	bool is_flushing; /* a flush is writing a copy: not to be dropped */
	bool was_used;	  /* since the cache looked last */
	unsigned slot;	  /* in the cache's `tables` */
	struct table *next; /* of the same hash */
};

struct table_cache {
	struct table **hash;
	unsigned hash_bits;
	struct table **tables; /* all of them */
	unsigned count, capacity, limit, dirty;
	unsigned hand; /* where trimming goes on */
};

/* A set of numbers of host clusters. */
struct cluster_set {
	uint64_t *slots; /* number + 1; 0: free */
	uint64_t capacity, count;
};

/* Ranges of host clusters: sorted, and apart from one another. */
struct cluster_ranges {
	struct cluster_range {
		uint64_t first, last;
	} *ranges;
	size_t count;
};

/* Host clusters that a flush will make free. */
struct free_list {
	struct free_run {
		uint64_t first, count; /* clusters; each loses one reference */
	} *runs;
	size_t count, capacity;
};

struct snapshot {
	uint64_t l1_offset;
	uint32_t l1_size;
	char *id, *name;
	uint32_t seconds, nanoseconds;
	uint64_t clock_ns, state_bytes;
	uint64_t disk_size;
	uint64_t icount; /* UINT64_MAX: instructions were not counted */
	uint8_t *extra; /* what is after the known extra data */
	uint32_t extra_bytes;
	bool is_bad; /* its L1 table is at no possible place */
	bool is_incomplete; /* on the medium its entry lacks what version 3 wants of it */
};

struct bitmap {
	uint64_t table_offset;
	uint32_t table_size; /* entries */
	uint32_t flags;
	uint8_t type, granularity_bits;
	char *name;
	uint8_t *extra; /* data that kvik doesn't know: kept */
	uint32_t extra_bytes;
	uint64_t entry_at; /* of its directory entry, in the directory */
	uint8_t *bits;	   /* what writes are tracked in; NULL: not tracked. Atomic bits */
	uint64_t bits_bytes;
	uint8_t *table; /* what bitmaps_finish writes; NULL: nothing */
};

struct extension {
	uint32_t type, length;
	uint8_t *data;
};

struct qcow2 {
	struct node node; /* .file: the image */
	struct file data_file; /* fds of -1: none */
	struct file *data;     /* where guest clusters are */

	/* Header. */
	unsigned version;
	unsigned cluster_bits, refcount_order;
	uint64_t cluster_size;
	uint64_t incompatible, compatible, autoclear;
	unsigned compression;
	char *backing_name, *backing_format, *data_name; /* NULL: none */
	uint8_t *header_tail; /* of the header, from HEADER_TAIL on: what kvik doesn't know, and keeps */
	uint32_t header_length;
	struct extension *extensions; /* those that kvik doesn't know: kept */
	unsigned extension_count;
	uint64_t bitmaps_offset, bitmaps_bytes; /* the directory */
	uint32_t bitmap_count;

	bool is_lazy;	 /* refcounts are written at the end; the dirty bit is set while they aren't */
	bool is_corrupt; /* atomic; no more writes */
	bool is_checking; /* damage is counted, not told */

	/* From there follows: */
	unsigned subclusters;	      /* 1, or 32 with extended L2 entries */
	unsigned subcluster_bits;     /* of their size */
	unsigned entry_bytes;	      /* of an L2 entry: 8 or 16 */
	unsigned l2_bits;	      /* of the number of entries in an L2 table */
	unsigned refblock_bits;	      /* of the number of entries in a refcount block */

	pthread_mutex_t lock;
	pthread_cond_t flushed;
	bool is_flushing;

	uint64_t *l1; /* host byte order */
	uint32_t l1_size;
	uint64_t l1_offset;
	uint8_t *l1_dirty; /* a byte for each L1_BLOCK of entries */
	bool has_dirty_l1;

	uint64_t *reftable; /* host byte order */
	uint32_t reftable_size;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t reftable_reserved; /* entries that have reserved bits set on the medium */
	bool has_dirty_reftable;

	struct table_cache l2_tables, refblocks;
	uint64_t free_hint; /* no cluster before it is free */
	uint64_t byte_hint; /* where the next compressed cluster may begin; 0: in a new one */
	struct free_list frees;
	struct cluster_set metadata; /* host clusters that data is never written to... */
	struct cluster_ranges snapshot_l1s; /* ... and these: is_metadata */

	struct snapshot *snapshots;
	unsigned snapshot_count;
	unsigned snapshots_lost; /* more that the header counts: the list cannot be read from there on */
	uint64_t snapshots_offset, snapshots_bytes;
	uint64_t *own_l1; /* while a snapshot's state is read: what is else in l1; NULL: it is not */
	uint32_t own_l1_size;
	uint64_t state_bytes; /* of the snapshot whose state is read */

	struct bitmap *bitmaps;
	bool has_bad_bitmaps; /* their list cannot be read: only while the image is checked */
	bool bitmaps_in_use; /* atomic; told on the medium, so writes may be tracked in memory */
	bool tracks_bitmaps; /* there are some whose writes are to be tracked */

	pthread_mutex_t unpacked_lock; /* guards the cluster that was decompressed last */
	uint64_t unpacked_entry;       /* its L2 entry; 0: none */
	uint8_t *unpacked;
};

#define L1_BLOCK 64 /* entries: 512 bytes */

static inline struct qcow2 *qcow2_of(struct node *node)
{
	return (struct qcow2 *)node;
}

static inline uint64_t cluster_start(const struct qcow2 *image, uint64_t offset)
{
	return offset & ~(image->cluster_size - 1);
}

static inline uint64_t clusters_for(const struct qcow2 *image, uint64_t size)
{
	return (size >> image->cluster_bits) + !!(size & (image->cluster_size - 1));
}

static inline bool is_cluster_aligned(const struct qcow2 *image, uint64_t offset)
{
	return (offset & (image->cluster_size - 1)) == 0;
}

/* ---- header.c ---- */

/* Read and check the header and what it points to directly. 0, or -errno and `error`. */
int header_read(struct qcow2 *image, struct error *error);
/* Write all of it; a barrier before and after is the caller's matter. */
int header_write(struct qcow2 *image);
/* The same, durably, where it points to another table from now on: if nobody knows whether it does, no more is written. */
int header_switch(struct qcow2 *image);
/* Set or clear an incompatible feature on the medium, durably. Version 3. 0 or -errno. */
int header_set_feature(struct qcow2 *image, uint64_t feature, bool is_set);
/* The image contradicts itself: mark it so, say it once, and write no more. -EIO. */
int image_is_corrupt(struct qcow2 *image, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- tables.c ---- */

int table_cache_init(struct table_cache *cache, unsigned limit);
void table_cache_end(struct table_cache *cache);
/* The table at `offset`: NULL when it isn't held. */
struct table *table_find(struct table_cache *cache, uint64_t offset);
/* The same, read if need be. Tables stay where they are until table_trim. 0 or -errno. */
int table_get(struct qcow2 *image, struct table_cache *cache, uint64_t offset, struct table **table);
/* A new one, all zeroes and dirty, in place of whatever was held of that cluster. */
int table_new(struct qcow2 *image, struct table_cache *cache, uint64_t offset, struct table **table);
void table_dirty(struct table_cache *cache, struct table *table);
void table_clean(struct table_cache *cache, struct table *table);
/* Forget a table, dirty or not, as its cluster is free; or all. */
void table_drop(struct table_cache *cache, uint64_t offset);
void table_drop_all(struct table_cache *cache);
/* Drop clean tables until the limit is kept: where no pointer to one is held. */
void table_trim(struct table_cache *cache);

/* ---- refcounts.c ---- */

int refcounts_load(struct qcow2 *image, struct error *error);
int refcount_get(struct qcow2 *image, uint64_t cluster, uint64_t *count);
/* Whether all clusters that one refcount block counts, that of `cluster`, are free. */
int refcounts_are_zero(struct qcow2 *image, uint64_t cluster, bool *are_zero);
/* Set entry `index` of a block that is in memory only. */
void refcount_put(const struct qcow2 *image, uint8_t *block, uint64_t index, uint64_t value);
uint64_t refcount_max(const struct qcow2 *image);
/* Add to, or take from, the refcounts of clusters that are used. 0 or -errno; -ERANGE: it doesn't
 * fit. */
int refcount_change(struct qcow2 *image, uint64_t first, uint64_t count, int delta);
int refcount_set(struct qcow2 *image, uint64_t cluster, uint64_t value);
/* Make `count` clusters in a row, each with one reference. `offset` in the file. */
int clusters_make(struct qcow2 *image, uint64_t count, uint64_t *offset);
/* Take one reference from each when it is durable that nothing points to them any more. */
int clusters_release(struct qcow2 *image, uint64_t offset, uint64_t count);
/* Undo clusters_make before anything points to them. */
void clusters_unmake(struct qcow2 *image, uint64_t offset, uint64_t count);
/* What a flush does in the end. Takes over the list. */
int clusters_release_now(struct qcow2 *image, struct free_list *frees);
/* Write the refcount blocks that are dirty. */
int refcounts_write(struct qcow2 *image);
int reftable_write(struct qcow2 *image);
/* The same for a table at another place, which is durable before the header points to it. */
int reftable_install(struct qcow2 *image);

/* ---- sets.c ---- */

int cluster_set_add(struct cluster_set *set, uint64_t cluster);
int cluster_set_add_range(struct qcow2 *image, struct cluster_set *set, uint64_t offset,
			  uint64_t size);
void cluster_set_remove(struct cluster_set *set, uint64_t cluster);
void cluster_set_end(struct cluster_set *set);
/* Sort what was put there in any order, and join what overlaps. */
void cluster_ranges_sort(struct cluster_ranges *ranges);
void cluster_ranges_end(struct cluster_ranges *ranges);
/* Whether tables are there, of the image or of a snapshot. */
bool is_metadata(const struct qcow2 *image, uint64_t cluster);

/* ---- mapping.c ---- */

/* What an L2 entry says. */
struct cluster {
	uint64_t entry;
	bool is_compressed;
	bool has_host;	/* host cluster `host` belongs to it */
	bool is_own;	/* ... and to nobody else: it may be written to */
	uint64_t host;	/* offset; of compressed data: where it begins */
	uint64_t packed_bytes; /* of compressed data: at most */
	uint32_t allocated, zero; /* a bit for each subcluster; both clear: the backing file's */
};

enum range_kind { RANGE_UNALLOCATED, RANGE_ZEROES, RANGE_DATA, RANGE_COMPRESSED };

/* What of a request is of one kind and, in case of data, in one piece. */
struct qcow2_range {
	enum range_kind kind;
	bool is_own, has_host; /* has_host: of what is no data, too */
	uint64_t size, host, entry;
};

int mapping_load(struct qcow2 *image, struct error *error);
/* Decode an entry of the cluster at guest offset `offset`. 0 or -EIO. */
int cluster_decode(struct qcow2 *image, uint64_t offset, const uint8_t *entry,
		   struct cluster *cluster);
/* The table for reading that maps `offset`: NULL where there is none. Without `may_wait` -EAGAIN
 * when it would have to be read. */
int l2_find(struct qcow2 *image, uint64_t offset, bool may_wait, struct table **table);
/* The table for changing: made, or copied, if need be. */
int l2_own(struct qcow2 *image, uint64_t offset, struct table **table);
/* Whether an L2 table can be there. */
bool is_l2_place(const struct qcow2 *image, uint64_t place);
uint8_t *l2_entry(const struct qcow2 *image, const struct table *table, uint64_t offset);
/* What `offset` is, for as long as it goes on so, up to `size` and the table's end. */
int range_find(struct qcow2 *image, uint64_t offset, uint64_t size, bool may_wait,
	       struct qcow2_range *range);
/* Write an entry, and the bits of its subclusters, which are `allocated` and `zero`. */
void entry_set(struct qcow2 *image, struct table *table, uint64_t offset, uint64_t host,
	       bool has_host, uint32_t allocated, uint32_t zero);
/* Release what a cluster has. */
int cluster_release(struct qcow2 *image, const struct cluster *cluster);
/* The bits of all subclusters. */
uint32_t all_subclusters(const struct qcow2 *image);
void l1_set(struct qcow2 *image, uint32_t index, uint64_t entry);

/* ---- flush.c ---- */

/* Make all changes last. Not under the lock. 0 or -errno. */
int qcow2_flush(struct node *node);
/* Where a request that changes something begins: bounds what is only in memory. Not under the lock. */
int changes_begin(struct qcow2 *image);

/* ---- read.c, write.c, pack.c, unpack.c ---- */

int qcow2_map(struct node *node, uint64_t offset, uint64_t size, bool is_write,
	      struct extent *extents);
int qcow2_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
	       unsigned count);
int qcow2_status(struct node *node, uint64_t offset, uint64_t size, struct node_status *status);
int qcow2_write(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		unsigned count);
int qcow2_zero(struct node *node, uint64_t offset, uint64_t size, bool may_unmap);
int qcow2_discard(struct node *node, uint64_t offset, uint64_t size);
/* Read `size` bytes from byte `skip` on of a compressed cluster. */
int compressed_read(struct qcow2 *image, uint64_t entry, uint64_t skip, uint64_t size,
		    const struct iovec *vector, unsigned count, uint64_t at);
/* Write a whole cluster (or what the image has of the last) compressed, if that makes it smaller. */
int qcow2_write_compressed(struct node *node, uint64_t offset, const void *data, uint64_t size);

/* ---- bitmaps.c ---- */

int bitmaps_load(struct qcow2 *image, struct error *error);
/* A write begins: tell on the medium that bitmaps are being changed. May wait. */
int bitmaps_begin(struct qcow2 *image);
void bitmaps_mark(struct qcow2 *image, uint64_t offset, uint64_t size);
/* At the end, be it for the time being: write back their bits; after a flush bitmaps_finish has the medium say so. */
int bitmaps_store(struct qcow2 *image);
int bitmaps_finish(struct qcow2 *image);
void bitmaps_end(struct qcow2 *image);
/* Bytes of bits that it has for a disk of `size` bytes. */
uint64_t bitmap_bytes(const struct bitmap *bitmap, uint64_t size);
/* Read `bits_bytes` of its bits. 0 or -errno. */
int bitmap_read(struct qcow2 *image, struct bitmap *bitmap);
/* Write its flags to the directory on the medium, as they are to be there. 0 or -errno. */
int bitmap_write_flags(struct qcow2 *image, const struct bitmap *bitmap, uint32_t flags);
/* Have the image have none. 0 or -errno. */
int bitmaps_drop(struct qcow2 *image);

/* ---- snapshot_list.c ---- */

/* A damaged list is no error: what can be read of it is there, and is all that can be used. */
int snapshots_load(struct qcow2 *image, struct error *error);
/* Leave what cannot be read out of the list. 0 or -errno. */
int snapshots_cut(struct qcow2 *image);
/* Write a list to a new place, durably, and have the header point there; the old place is released. 0 or -errno. */
int snapshots_write(struct qcow2 *image, const struct snapshot *snapshots, unsigned count);
void snapshot_end(struct snapshot *snapshot);
void snapshots_end(struct qcow2 *image);

/* ---- check.c ---- */

/* Count what is referenced, compare it with the refcounts, and repair what `repair` allows. */
int qcow2_check(struct qcow2 *image, enum image_repair repair, struct image_check *result,
		void (*say)(void *context, const char *line), void *context, struct error *error);

/*
 * Write all refcounts anew, 2^order bits wide, and have the header point there: until then nothing has changed. Of an image
 * without damage, after a flush. 0, or -errno and `error`.
 */
int qcow2_widen_refcounts(struct qcow2 *image, unsigned order, struct error *error);

/* ---- open.c ---- */

extern const struct node_driver qcow2_driver;

/*
 * Open the image in `file`, which is taken over on success. Neither its backing file nor its data
 * file: chain.c does that, and then calls qcow2_start. `for_check`: an image is opened that is to be
 * repaired, as far as that is possible.
 */
int qcow2_open(struct file *file, bool for_check, struct qcow2 **image, struct error *error);
int qcow2_start(struct qcow2 *image, bool for_check, struct error *error);

#endif
