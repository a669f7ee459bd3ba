/*
 * The table of engine handles.
 *
 * Lookups happen at every request and in signal handlers (engine_kick), so they take no lock.
 * `struct handle` is type-stable: once allocated it is only ever reused as a handle. A reader takes
 * a reference unless the count is 0 and then checks that the table still names the handle; if not,
 * it was reused in between and the reader starts over. Writers (creation, adoption, close) hold
 * `table_lock`.
 */
#include "engine/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_ENTRIES 1024
#define CHUNKS        4096 /* descriptors up to 4 Mi, beyond any usual RLIMIT_NOFILE */

struct chunk {
	_Atomic(struct handle *) entries[CHUNK_ENTRIES];
};

static _Atomic(struct chunk *) chunks[CHUNKS]; /* allocated on demand, kept */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle *live_handles, *free_handles; /* table_lock */
static unsigned generation; /* forks that led to this process; written by the child's only thread */

static _Atomic(struct handle *) *find_entry(int fd)
{
	struct chunk *chunk;

	if (fd < 0 || fd >= CHUNKS * CHUNK_ENTRIES)
		return NULL;
	chunk = atomic_load(&chunks[fd / CHUNK_ENTRIES]);
	return chunk ? &chunk->entries[fd % CHUNK_ENTRIES] : NULL;
}

/* As find_entry, but makes the chunk. With table_lock held; NULL: no memory or fd too big. */
static _Atomic(struct handle *) *make_entry(int fd)
{
	_Atomic(struct handle *) *entry = find_entry(fd);
	struct chunk *chunk;

	if (entry || fd < 0 || fd >= CHUNKS * CHUNK_ENTRIES)
		return entry;
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return NULL;
	atomic_store(&chunks[fd / CHUNK_ENTRIES], chunk);
	return &chunk->entries[fd % CHUNK_ENTRIES];
}

static bool take_reference(struct handle *handle)
{
	unsigned references = atomic_load(&handle->references);

	while (references)
		if (atomic_compare_exchange_weak(&handle->references, &references, references + 1))
			return true;
	return false;
}

/* Called with table_lock held. */
static struct handle *allocate_handle(void)
{
	struct handle *handle = free_handles;

	if (handle)
		free_handles = handle->next;
	else
		handle = calloc(1, sizeof(*handle));
	return handle;
}

void handle_put(struct handle *handle)
{
	void (*release)(void *object);
	struct handle **link;
	void *object;

	if (atomic_fetch_sub(&handle->references, 1) != 1)
		return;
	release = handle->release;
	object = handle->object;
	if (handle_is_foreign(handle))
		release = NULL;
	pthread_mutex_lock(&table_lock);
	for (link = &live_handles; *link != handle; link = &(*link)->next)
		;
	*link = handle->next;
	handle->next = free_handles;
	free_handles = handle;
	pthread_mutex_unlock(&table_lock);
	if (release)
		release(object);
}

int handle_create(enum handle_kind kind, const char *name, size_t size, void *object,
		  void (*release)(void *object))
{
	struct handle *handle, *stale;
	_Atomic(struct handle *) *entry;
	struct stat status;
	int result, fd;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* Sealed, so that nobody can take kvm_run's pages from under the engine. */
	if (ftruncate(fd, size) < 0 || fstat(fd, &status) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		result = -errno;
		goto close_fd;
	}

	pthread_mutex_lock(&table_lock);
	entry = make_entry(fd);
	handle = entry ? allocate_handle() : NULL;
	if (!handle) {
		pthread_mutex_unlock(&table_lock);
		result = -ENOMEM;
		goto close_fd;
	}
	handle->kind = kind;
	handle->object = object;
	handle->release = release;
	handle->inode = status.st_ino;
	handle->generation = generation;
	handle->next = live_handles;
	live_handles = handle;
	atomic_store(&handle->references, 1);
	/* A handle under this number was closed behind the engine's back: the number is new. */
	stale = atomic_exchange(entry, handle);
	pthread_mutex_unlock(&table_lock);
	if (stale)
		handle_put(stale);
	return fd;

close_fd:
	close(fd);
	return result;
}

/* A descriptor seen for the first time: it may be a duplicate of a handle's. */
static struct handle *adopt(int fd)
{
	struct handle *handle = NULL;
	_Atomic(struct handle *) *entry;
	struct stat status;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || fcntl(fd, F_GET_SEALS) < 0)
		return NULL;
	pthread_mutex_lock(&table_lock);
	for (handle = live_handles; handle; handle = handle->next)
		if (handle->inode == status.st_ino)
			break;
	entry = handle ? make_entry(fd) : NULL;
	if (!entry || !take_reference(handle)) {
		handle = NULL;
	} else if (!atomic_load(entry)) {
		take_reference(handle); /* the table's own */
		atomic_store(entry, handle);
	}
	pthread_mutex_unlock(&table_lock);
	return handle;
}

struct handle *handle_get_known(int fd)
{
	_Atomic(struct handle *) *entry = find_entry(fd);
	struct handle *handle;

	for (;;) {
		handle = entry ? atomic_load(entry) : NULL;
		if (!handle)
			return NULL;
		if (!take_reference(handle))
			continue;
		if (atomic_load(entry) == handle)
			return handle;
		handle_put(handle);
	}
}

struct handle *handle_get(int fd)
{
	struct handle *handle = handle_get_known(fd);

	return handle ? handle : adopt(fd);
}

/* The handle under this number, which is no longer there. */
static struct handle *take_entry(int fd)
{
	_Atomic(struct handle *) *entry = find_entry(fd);
	struct handle *handle;

	if (!entry || !atomic_load(entry))
		return NULL;
	pthread_mutex_lock(&table_lock);
	handle = atomic_exchange(entry, NULL);
	pthread_mutex_unlock(&table_lock);
	return handle;
}

void handle_forget(unsigned first, unsigned last)
{
	const unsigned limit = CHUNKS * CHUNK_ENTRIES;

	for (unsigned fd = first; fd <= last && fd < limit; fd++) {
		struct handle *handle;

		if (!atomic_load(&chunks[fd / CHUNK_ENTRIES])) {
			fd |= CHUNK_ENTRIES - 1;
			continue;
		}
		handle = take_entry((int)fd);
		if (handle)
			handle_put(handle);
	}
}

int handle_close(int fd)
{
	struct handle *handle = take_entry(fd);

	if (close(fd) < 0 && !handle)
		return -errno;
	if (handle)
		handle_put(handle);
	return 0;
}

void handle_after_fork(void)
{
	generation++;
	/* Whoever held it is not in this process. */
	pthread_mutex_init(&table_lock, NULL);
}

bool handle_is_foreign(const struct handle *handle)
{
	return handle->generation != generation;
}
