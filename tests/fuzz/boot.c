/*
 * Fuzz target: kernels and initial RAM disks from hostile files.
 *
 * Input: a byte that says whether the file is loaded as a kernel (whatever it looks like) or as a
 * flat binary, a byte for the command line's length, two for the initial RAM disk's, an address,
 * then the files' bytes. They are examined and loaded into a small guest's RAM, as `kvik run` does
 * before the guest starts. Either it works, or there is an error with a message.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "machine/boot/boot.h"

#define RAM_BYTES (16ull << 20)
/* Where a monitor might have put its ACPI tables. */
#define RSDP_GPA 0xf0000

/* A file in memory, that the loaders open by name. */
static int make_file(const uint8_t *data, size_t size, char path[32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0);
	fuzz_check(write(fd, data, size) == (ssize_t)size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void load(const struct boot_config *config)
{
	struct error error = {.message = ""};
	struct entry entry = {.mode = ENTRY_REAL};
	struct ram ram;
	struct boot *boot;
	int result;

	fuzz_check(ram_create(&ram, &ram_layout_pc, RAM_BYTES, NULL, NULL, &error) == 0);
	boot = boot_open(config, RAM_BYTES, &error);
	if (!boot) {
		fuzz_check(error.message[0]);
	} else {
		fuzz_check(boot_description(boot));
		for (unsigned i = 0; i < 2; i++) {
			/* The second time as after a reset: it must do the same. */
			result = boot_load(boot, &ram, i ? 0 : RSDP_GPA, &entry, &error);
			fuzz_check(result == 0 || error.message[0]);
			fuzz_check(result != 0 || entry.mode <= ENTRY_LONG);
		}
		boot_close(boot);
	}
	ram_destroy(&ram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char kernel_path[32], initrd_path[32], command_line[256];
	uint8_t kind = fuzz_u8(&input);
	uint8_t command_line_length = fuzz_u8(&input);
	size_t initrd_size = fuzz_u16(&input);
	struct boot_config config = {
		.command_line = command_line,
		.flat_address = fuzz_u64(&input),
		.flat_mode = kind >> 1 & 3,
	};
	int kernel, initrd = -1;

	if (config.flat_mode > FLAT_LONG)
		config.flat_mode = FLAT_LONG;
	memset(command_line, 'x', sizeof(command_line));
	command_line[command_line_length] = 0;
	if (initrd_size > input.size / 2)
		initrd_size = 0;
	kernel = make_file(input.data, input.size - initrd_size, kernel_path);
	if (kind & 1)
		config.flat = kernel_path;
	else
		config.kernel = kernel_path;
	if (initrd_size && !(kind & 1)) {
		initrd = make_file(input.data + input.size - initrd_size, initrd_size, initrd_path);
		config.initrd = initrd_path;
	}
	load(&config);
	if (initrd >= 0)
		close(initrd);
	close(kernel);
	return 0;
}
