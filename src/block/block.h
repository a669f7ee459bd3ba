/*
 * Disks: images in files, and requests to them.
 *
 * The room turns an image (raw, qcow2 with its backing files, ...) into a disk of `size_bytes`
 * bytes that takes requests of any number at once and completes them in any order. It knows no
 * device and no guest; a device model turns its guest's commands into struct block_request.
 *
 * Life: block_open opens all files that the image consists of, takes their locks, and makes an
 * io_uring where the host has one; it starts no thread. So it comes before sandbox_enter, which
 * wants to be alone in its process. block_start starts the disk's I/O thread; from then on no path
 * is opened and, but for io_uring_enter and calls on open files, no new system call made. block_close
 * waits for what is under way, makes everything durable and closes the files.
 *
 * What is promised of data: a write that was completed is seen by every later read. A flush that
 * was completed has made all writes that were completed before it was submitted outlast the end of
 * the process at any moment, and (unless the cache mode is "unsafe") the end of the host. An image's
 * own structure is sound at every moment; a crash costs at most space in the file (leaked clusters).
 */
#ifndef KVIK_BLOCK_BLOCK_H
#define KVIK_BLOCK_BLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/limits.h"
#include "util/error.h"

struct block;
struct event_loop;
struct image_extent;

/* What is between a write and the medium. The names are those of QEMU's cache= option. */
enum block_cache {
	BLOCK_CACHE_WRITEBACK,	  /* the host's page cache; flush reaches the medium */
	BLOCK_CACHE_NONE,	  /* past the page cache where alignment allows; flush as above */
	BLOCK_CACHE_WRITETHROUGH, /* the page cache, and a flush after each write */
	BLOCK_CACHE_DIRECTSYNC,	  /* as none, and a flush after each write */
	BLOCK_CACHE_UNSAFE,	  /* flush reaches the page cache only: outlives kvik, not the host */
};

enum block_aio {
	BLOCK_AIO_AUTO,	    /* io_uring where the host has it, else threads */
	BLOCK_AIO_IO_URING, /* refused where it isn't there */
	BLOCK_AIO_THREADS,  /* preadv and pwritev on threads */
};

/* What becomes of zeroes that a guest writes as data: QEMU's detect-zeroes=. */
enum block_zeroes {
	BLOCK_ZEROES_OFF,   /* they are data */
	BLOCK_ZEROES_ON,    /* BLOCK_WRITE_ZEROES: many formats need no room for them */
	BLOCK_ZEROES_UNMAP, /* likewise, and the room that was there is freed; with `discard` */
};

/* All zero: writable, format probed, write-back, locked, discards ignored. */
struct block_options {
	/*
	 * "raw", "qcow2", and "vdi", "vmdk", "vhdx", which are only read; NULL: found by the image's first bytes. An image that was found to be raw
	 * refuses writes that would make its start look like another format (-EPERM): a guest must
	 * not be able to have files of the host opened as backing files the next time.
	 */
	const char *format;
	bool readonly;
	bool snapshot; /* writes go to a temporary file, the image is only read */
	bool discard;  /* discards, and zeroes that may unmap, free space in the file */
	enum block_zeroes zeroes;
	/* What is read from an image below becomes the topmost one's own, unless somebody asks for it with BLOCK_FREELY. Where it
	 * cannot be written it is read all the same. */
	bool copies_on_read;
	/* Do not take, or look at, the locks that keep two programs from writing to one image. */
	bool unlocked;
	enum block_cache cache;
	enum block_aio aio;
	const char *serial; /* NULL: none */
	/*
	 * Another backing file than the image names (NULL: what it names; "": none), and that one's
	 * format (NULL: what the image says, or found).
	 */
	const char *backing, *backing_format;
};

/* The name of one of these modes ("off", "on", "unmap"). 0, or -EINVAL. */
int block_zeroes_parse(const char *text, enum block_zeroes *zeroes);
const char *block_zeroes_name(enum block_zeroes zeroes);

/* The name of a cache mode ("writeback", ...). 0, or -EINVAL. */
int block_cache_parse(const char *text, enum block_cache *cache);

/*
 * Open an image with all files below it. `path` names the image, also in messages; backing files
 * are relative to its folder. Both may be exports of NBD servers (nbd://HOST[:PORT]/EXPORT,
 * nbd+unix:///EXPORT?socket=PATH), to which a connection is made; the image may be a folder of the host's, fat:rw:FOLDER,
 * of which a copy is made in memory. The options' strings are copied. 0 and `block`, which block_close ends; or -errno and `error`: no file, no permission, damaged or unknown format, -EAGAIN when
 * another program holds the image.
 */
int block_open(const char *path, const struct block_options *options, struct block **block,
	       struct error *error);
/* The same for a file that is open, or a server that is connected: `fd` stays the caller's (it is duplicated). */
int block_open_fd(int fd, const char *path, const struct block_options *options,
		  struct block **block, struct error *error);

/*
 * The path of an export of an NBD server: at a socket's path or, if that is NULL, at a host and port. `export_name`
 * "": the server's default. The caller's to free; NULL without memory.
 */
char *block_export_name(const char *socket, const char *host, const char *port, const char *export_name);

/* Whether a path is the name of a folder as a disk. */
bool block_names_folder(const char *path);
/* Whether a path is the name of an export, right or wrong. */
bool block_names_export(const char *path);
/* A connection to its server, for block_open_fd in a process that can make none: a descriptor, or -errno and `error`. */
int block_export_connect(const char *name, struct error *error);

/* Start the I/O thread. Once, on any thread. 0, or -errno and `error`. */
int block_start(struct block *block, struct error *error);

/*
 * End a disk: give up what is held, wait for all requests, write everything back, end the I/O thread, close the files.
 * Not on the I/O thread; nothing is submitted any more. Also before block_start; NULL does nothing.
 * 0, or -errno and `error` when data could not be written back: the disk is gone either way.
 */
int block_close(struct block *block, struct error *error);

struct block_geometry {
	uint32_t cylinders; /* 1 to 16383 */
	uint8_t heads;	    /* 1 to 16 */
	uint8_t sectors;    /* 1 to 63, a track */
};

/* What does not change while a disk is open, but for what block_resize and block_put_on_top say. */
struct block_info {
	uint64_t size_bytes; /* a multiple of BLOCK_SECTOR_SIZE; block_size reads it while others may resize */
	bool is_readonly;
	bool has_write_cache;	 /* a flush does something: not write-through */
	enum block_zeroes zeroes; /* as in struct block_options */
	bool can_discard;	 /* discards free space; otherwise they succeed and do nothing */
	uint32_t block_bytes;	 /* requests of this alignment and size cost no read: a power of 2 */
	uint32_t discard_bytes;	 /* what a discard frees is a multiple of this, a power of 2 */
	struct block_geometry geometry; /* for guests that ask: ATA-style, made from the size */
	char serial[BLOCK_SERIAL_MAX + 1];
	const char *format;   /* of the topmost image: "raw", "qcow2" */
	const char *path;     /* as given to block_open */
	bool uses_io_uring;
};

/* Any thread. The strings live as long as the disk. */
const struct block_info *block_info(const struct block *block);
uint64_t block_size(const struct block *block); /* bytes; any thread */

/*
 * Another size, a multiple of BLOCK_SECTOR_SIZE: what is cut off is lost, what is added reads as zeroes. Requests wait
 * meanwhile, and then see the new size. Not on the I/O thread; one thread at a time. 0, or -errno and `error`: the disk
 * has the size that it had (or, when the medium failed, one in between).
 */
int block_resize(struct block *block, uint64_t size_bytes, struct error *error);
/* Have `resized` called after each block_resize that worked, on its thread, without locks: a guest wants to be told.
 * NULL: nobody. While nobody resizes. */
void block_watch_size(struct block *block, void (*resized)(void *context), void *context);

/*
 * An image on top of a disk in use: what is written goes there from then on, and what it does not hold is read from
 * the images that the disk has been until then, which others may read from that moment on (the external snapshots of
 * QEMU). The image is qcow2: made anew, in a file that is emptied and that names the one below, or as it is, with
 * nothing in it; then it is of the disk's size.
 */
struct block_overlay;
struct block_overlay_options {
	const char *path;
	int fd; /* of the file at `path`, which stays the caller's; -1: it is opened by its path */
	bool is_new;
};
/* Prepare one. 0 and `overlay`, which one of the next two takes over; or -errno and `error`. */
int block_overlay_open(struct block *block, const struct block_overlay_options *options, struct block_overlay **overlay,
		       struct error *error);
void block_overlay_drop(struct block_overlay *overlay); /* NULL does nothing */
/* Put them onto their disks, each of another disk, at one moment: requests wait meanwhile, and all that was written before
 * is durable in the images below. Not on an I/O thread; one thread at a time. 0, or -errno and `error`, with nothing done:
 * the overlays stay the caller's. */
int block_overlays_place(struct block_overlay *const *overlays, unsigned count, struct error *error);

/*
 * Who uses a disk beside its device, as others' door to it. As long as there is one the disk keeps its size, and is not
 * one with its snapshots.
 */
struct block_visitor {
	/* The disk is about to be closed: it is the visitor's no more when this returns, which calls block_leave. */
	void (*disk_goes)(struct block_visitor *visitor);
	struct block_visitor *next; /* the block's own */
};
/* Both on the thread that closes and resizes the disk. */
void block_visit(struct block *block, struct block_visitor *visitor);
void block_leave(struct block *block, struct block_visitor *visitor);

/* What was done so far. Zeroes count as written. */
enum block_count { BLOCK_COUNT_READ, BLOCK_COUNT_WRITE, BLOCK_COUNT_FLUSH, BLOCK_COUNT_UNMAP, BLOCK_COUNTS };
struct block_counts {
	struct block_count_of {
		uint64_t operations, bytes; /* that ended well */
		uint64_t ns;		    /* that they took, one by one */
		uint64_t failed, invalid;   /* invalid: refused as what no guest should ask for */
	} of[BLOCK_COUNTS];
	uint64_t write_end; /* the end of the furthest write, in bytes */
	uint64_t last_ns;   /* when the last request ended, on CLOCK_MONOTONIC; 0: none did */
};
/* Any thread; requests may go on. */
void block_read_counts(const struct block *block, struct block_counts *counts);

enum block_operation {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,	    /* no offset, no size */
	BLOCK_DISCARD,	    /* the content doesn't matter any more: reads as it was, or as zeroes */
	BLOCK_WRITE_ZEROES, /* reads as zeroes from now on */
	BLOCK_LOOK,	    /* what is known of the range (image.h); is counted nowhere */
	BLOCK_FILL,	    /* what the images below hold becomes the topmost one's own: no change of the content; likewise */
};

enum {
	BLOCK_FUA = 1 << 0,   /* of writes and zeroes: durable before it completes */
	BLOCK_UNMAP = 1 << 1, /* of zeroes: space in the file may be freed */
	BLOCK_FREELY = 1 << 2, /* whatever limits the disk has (throttle.h): not the guest's */
	BLOCK_HOLDABLE = 1 << 3, /* the guest's: what becomes of it when it fails is the disk's policy (error_policy.h) */
};

/*
 * A submitter's count of requests that have failed and are held: neither under way nor ended, for as long as that may take.
 * Who waits until nothing is under way does not wait for these.
 */
struct block_held {
	pthread_mutex_t *lock;	 /* the submitter's, which guards `count` */
	pthread_cond_t *changed; /* signalled when there is one more */
	unsigned count;
};

/*
 * A request: owned by the submitter, and left alone by it from block_submit until `complete` is
 * called. So are the vectors and the memory that they point to; guest memory may change meanwhile,
 * which changes what is written and nothing else.
 */
struct block_request {
	enum block_operation operation;
	unsigned flags;
	/*
	 * Bytes. Any alignment works, that of block_info.block_bytes well. A range that is not
	 * inside of the disk, a write to a read-only disk: -EINVAL, -EROFS. Reads and writes: the
	 * vectors' total, up to BLOCK_REQUEST_MAX; discard and zeroes: up to the whole disk.
	 */
	uint64_t offset, size;
	const struct iovec *vector; /* of reads and writes: 1 to BLOCK_VECTORS_MAX */
	unsigned vector_count;
	/* Of looks: room for so many extents, which follow one another from `offset` on; and how many there are, at least 1.
	 * They may end before the range does. */
	struct image_extent *extents;
	unsigned extent_count;
	/*
	 * Called once, on the I/O thread with no lock held, never inside of block_submit. `result`:
	 * 0 or -errno (-ENOSPC: the file cannot grow; -EIO: the medium, or the image is damaged).
	 * A failed read leaves the memory undefined. May submit, and may free the request.
	 */
	void (*complete)(struct block_request *request, int result);
	void *context; /* the submitter's */
	struct block_held *held; /* of BLOCK_HOLDABLE: where it is counted; NULL: nowhere */

	struct block_request *next; /* the block's own */
};

/*
 * Give `count` requests to the disk. Any thread. On the I/O thread they are on their way when this
 * returns; from elsewhere the I/O thread is woken, once for all of them. Requests that overlap and
 * are under way at once have no order; a submitter that wants one waits for the first.
 */
void block_submit(struct block *block, struct block_request *const *requests, unsigned count);

/* Wait until nothing is under way but what is held, while nobody submits but completions do. Not on the I/O thread. */
void block_drain(struct block *block);

/*
 * Snapshots inside of the image, each with the state of a machine if that is to have one. For one thread at a
 * time, not the I/O thread, which waits for the medium; nothing is under way and nobody submits meanwhile. At
 * each moment the image is sound, and has all snapshots that it had.
 */
struct block_snapshot {
	const char *id, *name; /* the image's; until the next change of its snapshots */
	uint64_t state_bytes, disk_bytes; /* state_bytes 0: it has no machine */
	uint64_t seconds; /* since the epoch */
	uint32_t nanoseconds;
	uint64_t clock_ns; /* of the machine */
	uint64_t icount_plus_1; /* instructions that it had executed; 0: nobody counted them */
};
/* 0, or -ENOTSUP and `error`: the image can hold none. */
int block_can_snapshot(const struct block *block, struct error *error);
/* 0 of an image that can hold none. */
unsigned block_snapshot_count(const struct block *block);
void block_snapshot_describe(const struct block *block, unsigned index, struct block_snapshot *snapshot);
/*
 * Write the state for the next snapshot: whole pieces one after the other, from `at` 0 on, of a multiple of
 * block_state_unit bytes but for the last. 0 or -errno.
 */
uint32_t block_state_unit(const struct block *block);
int block_state_write(struct block *block, uint64_t at, const void *data, uint64_t size);
/* Forget what was written, as no snapshot is made of it. */
void block_state_drop(struct block *block);
/* What `snapshot` says but for id and disk_bytes. An older one of that name stays. 0, or -errno and `error`. */
int block_snapshot_create(struct block *block, const struct block_snapshot *snapshot, struct error *error);
/* Read a snapshot's state: nothing else is done with the disk until block_state_close. 0, or -errno and `error`. */
int block_state_open(struct block *block, const char *id, struct error *error);
int block_state_read(struct block *block, uint64_t at, void *data, uint64_t size);
void block_state_close(struct block *block);
/* Have the disk be what it was. 0, or -errno and `error`. */
int block_snapshot_apply(struct block *block, const char *id, struct error *error);
int block_snapshot_delete(struct block *block, const char *id, struct error *error);

/*
 * The I/O thread's loop: a device adds the eventfds by which its guest notifies it, and then
 * handles queue and requests on this thread, without another thread in between. Sources are added
 * and removed before block_start or by block_call. The loop belongs to the disk.
 */
struct event_loop *block_loop(struct block *block);
/* Run a function on the I/O thread and wait until it has; on the I/O thread itself, or before
 * block_start, it is simply called. */
void block_call(struct block *block, void (*run)(void *context), void *context);

#endif
