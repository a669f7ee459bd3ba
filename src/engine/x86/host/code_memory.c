#include "engine/x86/host/code_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/guarded.h"

int code_memory_key = -1;

/* One key for the whole process, which has 15 at most. It is not given back. */
static void take_key(void)
{
	code_memory_key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
}

static int map_both(struct code_memory *memory, int fd)
{
	if (ftruncate(fd, memory->size) < 0)
		return -errno;
	memory->executable =
		guarded_map(memory->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, false);
	if (!memory->executable)
		return -errno;
	memory->writable = guarded_map(memory->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, true);
	if (!memory->writable)
		return -errno;
	if (code_memory_key >= 0 && pkey_mprotect(memory->writable, memory->size,
						  PROT_READ | PROT_WRITE, code_memory_key) < 0)
		return -errno;
	return 0;
}

int code_memory_create(struct code_memory *memory, const char *name, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int fd, result;

	pthread_once(&once, take_key);
	*memory = (struct code_memory){ .size = size };
	fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = map_both(memory, fd);
	close(fd);
	if (result < 0)
		code_memory_destroy(memory);
	return result;
}

void code_memory_destroy(struct code_memory *memory)
{
	guarded_unmap(memory->writable, memory->size);
	guarded_unmap(memory->executable, memory->size);
	*memory = (struct code_memory){ 0 };
}
