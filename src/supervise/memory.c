#include "supervise/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/engine.h"
#include "supervise/call.h"
#include "supervise/remap.h"
#include "util/page.h"

#define ADDRESS_LIMIT UINT64_C(0x7ffffffff000)
#define SIZE_LIMIT    (UINT64_C(1) << 43) /* KVM_MEM_MAX_NR_PAGES */

/* A file that took a private mapping's place. */
struct backing {
	int fd;
	dev_t device;
	ino_t inode;
	unsigned references; /* VMs that use it */
	struct backing *next;
};

/* Where any program's memory was replaced: what lies elsewhere needs no closer look. */
static _Atomic uint64_t replaced_start = UINT64_MAX, replaced_end; /* grow only, backings_lock */

struct memory_slot {
	uint32_t number;
	uint64_t address, size; /* in the program */
	void *mapping;          /* here */
	struct memory_slot *next;
};

struct memory {
	pthread_mutex_t lock;
	unsigned references; /* backings_lock */
	struct memory_slot *slots;
	struct backing **backings;
	unsigned backing_count;
};

/* One of the program's mappings, as far as a slot covers it. */
struct part {
	uint64_t start, end, offset;
	int protection;
	bool is_shared;
	dev_t device;
	ino_t inode;
	uint64_t mapping_start, mapping_end;
	char path[256];
};

static pthread_mutex_t backings_lock = PTHREAD_MUTEX_INITIALIZER;
static struct backing *backings; /* backings_lock */

struct memory *memory_create(void)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return NULL;
	pthread_mutex_init(&memory->lock, NULL);
	memory->references = 1;
	return memory;
}

struct memory *memory_get(struct memory *memory)
{
	pthread_mutex_lock(&backings_lock);
	memory->references++;
	pthread_mutex_unlock(&backings_lock);
	return memory;
}

static void backing_put(struct backing *backing)
{
	struct backing **link;

	if (--backing->references)
		return;
	for (link = &backings; *link != backing; link = &(*link)->next)
		;
	*link = backing->next;
	close(backing->fd);
	free(backing);
}

void memory_put(struct memory *memory)
{
	bool is_last;

	pthread_mutex_lock(&backings_lock);
	is_last = --memory->references == 0;
	for (unsigned i = 0; is_last && i < memory->backing_count; i++)
		backing_put(memory->backings[i]);
	pthread_mutex_unlock(&backings_lock);
	if (!is_last)
		return;
	while (memory->slots) {
		struct memory_slot *slot = memory->slots;

		memory->slots = slot->next;
		munmap(slot->mapping, slot->size);
		free(slot);
	}
	free(memory->backings);
	pthread_mutex_destroy(&memory->lock);
	free(memory);
}

/* The VM uses the backing from now on. With backings_lock held. */
static int use_backing(struct memory *memory, struct backing *backing)
{
	struct backing **list;

	for (unsigned i = 0; i < memory->backing_count; i++)
		if (memory->backings[i] == backing)
			return 0;
	list = reallocarray(memory->backings, memory->backing_count + 1, sizeof(struct backing *));
	if (!list)
		return -ENOMEM;
	memory->backings = list;
	list[memory->backing_count++] = backing;
	backing->references++;
	return 0;
}

/* A new file of this size that programs can map; its descriptor belongs to the backing. */
static struct backing *create_backing(struct memory *memory, uint64_t size)
{
	struct backing *backing = calloc(1, sizeof(*backing));
	struct stat status;
	int result;

	if (!backing)
		return NULL;
	backing->fd = memfd_create("kvik-memory", MFD_CLOEXEC);
	if (backing->fd < 0 || ftruncate(backing->fd, (off_t)size) < 0 ||
	    fstat(backing->fd, &status) < 0)
		goto fail;
	backing->device = status.st_dev;
	backing->inode = status.st_ino;
	pthread_mutex_lock(&backings_lock);
	result = use_backing(memory, backing);
	if (result == 0) {
		backing->next = backings;
		backings = backing;
	}
	pthread_mutex_unlock(&backings_lock);
	if (result == 0)
		return backing;
fail:
	if (backing->fd >= 0)
		close(backing->fd);
	free(backing);
	return NULL;
}

/* The program's mappings within [start, end), in order: how many, or -errno. */
static int find_parts(pid_t thread, uint64_t start, uint64_t end, struct part **parts)
{
	char path[40], line[512];
	unsigned count = 0;
	FILE *file;

	*parts = NULL;
	snprintf(path, sizeof(path), "/proc/%d/maps", thread);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		unsigned long from, to, offset, inode;
		unsigned major_number, minor_number;
		struct part *part, *list;
		char rights[5], name[256] = "";

		if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %255[^\n]", &from, &to, rights, &offset,
		           &major_number, &minor_number, &inode, name) < 7 ||
		    to <= start || from >= end)
			continue;
		list = reallocarray(*parts, count + 1, sizeof(*list));
		if (!list)
			break;
		*parts = list;
		part = &list[count++];
		*part = (struct part){
		    .start = from > start ? from : start,
		    .end = to < end ? to : end,
		    .protection = (rights[0] == 'r' ? PROT_READ : 0) |
		                  (rights[1] == 'w' ? PROT_WRITE : 0) |
		                  (rights[2] == 'x' ? PROT_EXEC : 0),
		    .is_shared = rights[3] == 's',
		    .device = makedev(major_number, minor_number),
		    .inode = inode,
		    .mapping_start = from,
		    .mapping_end = to,
		};
		part->offset = offset + (part->start - from);
		memcpy(part->path, name, sizeof(name));
	}
	fclose(file);
	return (int)count;
}

static bool is_file_of(int fd, const struct part *part)
{
	struct stat status;

	return fstat(fd, &status) == 0 && status.st_dev == part->device &&
	       status.st_ino == part->inode;
}

/* The file by one of the program's descriptors. */
static int take_file(const struct call *call, const struct part *part)
{
	char path[40], name[300];
	struct dirent *entry;
	DIR *directory;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", call->thread);
	directory = opendir(path);
	while (fd < 0 && directory && (entry = readdir(directory))) {
		struct stat status;

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (stat(name, &status) < 0 || status.st_dev != part->device ||
		    status.st_ino != part->inode)
			continue;
		fd = call_take_descriptor(call, atoi(entry->d_name));
	}
	if (directory)
		closedir(directory);
	return fd;
}

/* The file that a shared mapping is of; -1 when there is no way to it. */
static int open_file(struct memory *memory, const struct call *call, const struct part *part)
{
	int flags = (part->protection & PROT_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC;
	struct backing *backing;
	char path[80];
	int fd = -1;

	pthread_mutex_lock(&backings_lock);
	for (backing = backings; backing; backing = backing->next)
		if (backing->inode == part->inode && backing->device == part->device)
			break;
	if (backing && use_backing(memory, backing) == 0)
		fd = fcntl(backing->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&backings_lock);
	if (fd >= 0)
		return fd;
	/* For privileged callers (CAP_CHECKPOINT_RESTORE). */
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", process_of(call->thread),
	         (unsigned long)part->mapping_start, (unsigned long)part->mapping_end);
	fd = open(path, flags);
	if (fd < 0)
		fd = take_file(call, part);
	if (fd < 0 && part->path[0] == '/') {
		fd = open(part->path, flags | O_NOFOLLOW | O_NONBLOCK);
		if (fd >= 0 && !is_file_of(fd, part)) {
			close(fd);
			fd = -1;
		}
	}
	return fd;
}

static void *place_of(const struct memory_slot *slot, uint64_t address)
{
	return (char *)slot->mapping + (address - slot->address);
}

/* Map a part of which the file is there. Guests may write where the program does not. */
static bool map_file(const struct memory_slot *slot, const struct part *part, int fd)
{
	void *place = place_of(slot, part->start);
	size_t size = part->end - part->start;
	int flags = MAP_FIXED | MAP_NORESERVE;

	return mmap(place, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd,
	            (off_t)part->offset) != MAP_FAILED ||
	       /* What is written to such memory is not seen by others. */
	       mmap(place, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd,
	            (off_t)part->offset) != MAP_FAILED;
}

struct setting {
	int vm_fd;
	struct kvm_userspace_memory_region region; /* with our address */
};

static int set_region(void *context)
{
	struct setting *setting = context;

	return engine_ioctl(setting->vm_fd, KVM_SET_USER_MEMORY_REGION, &setting->region);
}

/* Map what is shared; leave in `parts` what must be replaced first. Their number. */
static unsigned map_shared(struct memory *memory, const struct call *call, const struct memory_slot *slot,
                           struct part *parts, unsigned count)
{
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++) {
		int fd = parts[i].is_shared ? open_file(memory, call, &parts[i]) : -1;
		bool is_mapped = fd >= 0 && map_file(slot, &parts[i], fd);

		if (fd >= 0)
			close(fd);
		if (!is_mapped)
			parts[left++] = parts[i];
	}
	return left;
}

static void note_replaced(const struct part *part)
{
	pthread_mutex_lock(&backings_lock);
	if (part->start < replaced_start)
		replaced_start = part->start;
	if (part->end > replaced_end)
		replaced_end = part->end;
	pthread_mutex_unlock(&backings_lock);
}

/* Replace the parts by one new file, set the region and answer. */
static int adopt(struct memory *memory, const struct call *call, const struct memory_slot *slot,
                 const struct part *parts, unsigned count, struct setting *setting)
{
	struct remap remap = {.count = count, .finish = set_region, .context = setting};
	struct backing *backing;
	uint64_t size = 0;
	int result = -ENOMEM;

	for (unsigned i = 0; i < count; i++)
		size += parts[i].end - parts[i].start;
	remap.parts = calloc(count, sizeof(*remap.parts));
	backing = remap.parts ? create_backing(memory, size) : NULL;
	if (!backing)
		goto answer;
	remap.file = backing->fd;
	size = 0;
	for (unsigned i = 0; i < count; i++) {
		struct part part = parts[i];

		remap.parts[i] = (struct remap_part){
		    .address = part.start,
		    .size = part.end - part.start,
		    .protection = part.protection,
		    .is_anonymous = part.inode == 0,
		    .offset = size,
		    .mapping = place_of(slot, part.start),
		};
		note_replaced(&part);
		part.offset = size;
		size += part.end - part.start;
		if (!map_file(slot, &part, backing->fd))
			goto answer;
	}
	result = remap_and_answer(call, &remap);
	free(remap.parts);
	return result;

answer:
	free(remap.parts);
	call_answer(call, result);
	return result;
}

/* Make the slot's mapping, set the region and answer. */
static int map_and_set(struct memory *memory, const struct call *call, struct memory_slot *slot,
                       struct setting *setting)
{
	struct part *parts;
	int count, result;

	/* Where the program has nothing, there is memory that is the guest's alone: a wild access
	 * of the guest must not end the supervisor. */
	slot->mapping = mmap(NULL, slot->size, PROT_READ | PROT_WRITE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	count = slot->mapping == MAP_FAILED
	            ? -ENOMEM
	            : find_parts(call->thread, slot->address, slot->address + slot->size, &parts);
	if (count < 0) {
		call_answer(call, count);
		result = count;
	} else {
		setting->region.userspace_addr = (uintptr_t)slot->mapping;
		count = (int)map_shared(memory, call, slot, parts, (unsigned)count);
		if (count) {
			result = adopt(memory, call, slot, parts, (unsigned)count, setting);
		} else {
			result = set_region(setting);
			call_answer(call, result);
		}
		free(parts);
	}
	if (result < 0 && slot->mapping != MAP_FAILED)
		munmap(slot->mapping, slot->size);
	return result;
}

static void add_slot(struct memory *memory, const struct call *call, struct setting *setting)
{
	const struct kvm_userspace_memory_region *region = &setting->region;
	uint64_t address = region->userspace_addr, size = region->memory_size;
	struct memory_slot *slot;

	if ((address | size) % PAGE_SIZE || size > SIZE_LIMIT || address >= ADDRESS_LIMIT ||
	    size > ADDRESS_LIMIT - address) {
		call_answer(call, -EINVAL);
		return;
	}
	slot = calloc(1, sizeof(*slot));
	if (!slot) {
		call_answer(call, -ENOMEM);
		return;
	}
	slot->number = region->slot;
	slot->address = address;
	slot->size = size;
	if (map_and_set(memory, call, slot, setting) < 0) {
		free(slot);
		return;
	}
	slot->next = memory->slots;
	memory->slots = slot;
}

static struct memory_slot **find_slot(struct memory *memory, uint32_t number)
{
	struct memory_slot **link = &memory->slots;

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

/* Another place or other flags; another address of the program is refused by the engine. */
static int change_slot(const struct memory_slot *slot, struct setting *setting)
{
	uint64_t address = setting->region.userspace_addr;

	setting->region.userspace_addr =
	    (uintptr_t)slot->mapping + (address == slot->address ? 0 : PAGE_SIZE);
	return set_region(setting);
}

static int delete_slot(struct memory_slot **link, struct setting *setting)
{
	struct memory_slot *slot = *link;
	int result;

	setting->region.userspace_addr = slot ? (uintptr_t)slot->mapping : 0;
	result = set_region(setting);
	if (result < 0 || !slot)
		return result;
	*link = slot->next;
	munmap(slot->mapping, slot->size);
	free(slot);
	return result;
}

void memory_set_region(struct memory *memory, int vm_fd, const struct call *call,
                       const struct kvm_userspace_memory_region *region)
{
	struct setting setting = {vm_fd, *region};
	struct memory_slot **link;

	pthread_mutex_lock(&memory->lock);
	link = find_slot(memory, region->slot);
	if (!region->memory_size)
		call_answer(call, delete_slot(link, &setting));
	else if (*link)
		call_answer(call, change_slot(*link, &setting));
	else
		add_slot(memory, call, &setting);
	pthread_mutex_unlock(&memory->lock);
}

uint64_t memory_slot_size(struct memory *memory, uint32_t slot)
{
	uint64_t size;

	pthread_mutex_lock(&memory->lock);
	size = *find_slot(memory, slot) ? (*find_slot(memory, slot))->size : 0;
	pthread_mutex_unlock(&memory->lock);
	return size;
}

/* Empty what of the part is in a file of ours. */
static bool discard(const struct part *part)
{
	struct backing *backing;

	pthread_mutex_lock(&backings_lock);
	for (backing = backings; backing; backing = backing->next)
		if (backing->inode == part->inode && backing->device == part->device)
			break;
	if (backing)
		fallocate(backing->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		          (off_t)part->offset, (off_t)(part->end - part->start));
	pthread_mutex_unlock(&backings_lock);
	return backing != NULL;
}

bool memory_serve_advice(const struct call *call)
{
	uint64_t start = call->arguments[0], size = call->arguments[1];
	bool is_ours = false;
	struct part *parts;
	int count;

	size = (size + PAGE_SIZE - 1) & -(uint64_t)PAGE_SIZE;
	if (start % PAGE_SIZE || start >= replaced_end || start + size <= replaced_start ||
	    start + size < start)
		return false;
	count = find_parts(call->thread, start, start + size, &parts);
	if (count < 0)
		return false;
	for (int i = 0; i < count; i++)
		is_ours |= parts[i].is_shared && discard(&parts[i]);
	free(parts);
	/* MADV_DONTNEED goes on to what is private, and does no harm to what is ours; MADV_FREE,
	 * which may do nothing at any time, would fail for that. */
	if (!is_ours || call->arguments[2] != MADV_FREE)
		return false;
	call_answer(call, 0);
	return true;
}
