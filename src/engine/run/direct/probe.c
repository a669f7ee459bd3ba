#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/run/direct/copies.h"
#include "engine/run/direct/direct.h"
#include "engine/run/direct/process.h"
#include "engine/x86/host/host.h"

int direct_probe(const struct stub_source *stubs)
{
	struct direct_process process;
	struct copies copies;
	int memory, result;

	if (host.xcr0 == 0)
		return -ENOTSUP;
	memory = memfd_create("kvik-probe", MFD_CLOEXEC);
	if (memory < 0)
		return -errno;
	process_prepare();
	result = copies_create(&copies);
	if (result < 0)
		goto close_memory;
	result = process_create(&process, stubs, memory, copies.fd, DIRECT_PLACE);
	if (result == 0)
		process_destroy(&process, stubs);
	copies_destroy(&copies);
close_memory:
	close(memory);
	return result;
}
