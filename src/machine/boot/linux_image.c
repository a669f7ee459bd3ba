/*
 * The setup header of a Linux kernel image (Linux Documentation/arch/x86/boot.rst; offsets are
 * from the start of the image, all fields little-endian).
 */
#include <errno.h>
#include <string.h>

#include "machine/boot/image.h"
#include "machine/boot/linux_header.h"

#define SECTOR_BYTES	   512
#define DEFAULT_SETUP_SECTORS 4
#define BOOT_FLAG	   0xaa55
#define HEADER_MAGIC	   0x53726448 /* "HdrS" */
#define HEADER_END_MIN	   0x22c      /* of protocol 2.02, the least that is supported */
#define ZERO_PAGE_HEADER_END 0x290    /* struct boot_params has room up to here */
#define INITRD_MAX_BEFORE_203  0x37ffffff
#define COMMAND_LINE_BEFORE_206 255
#define HIGH_LOAD_GPA	   0x100000
#define LOW_LOAD_GPA	   0x10000

static uint32_t read_le(const uint8_t *image, size_t offset, unsigned bytes)
{
	uint32_t value = 0;

	memcpy(&value, image + offset, bytes);
	return value;
}

int linux_parse(const uint8_t *image, size_t size, struct linux_image *kernel, struct error *error)
{
	unsigned sectors, header_end;

	memset(kernel, 0, sizeof(*kernel));
	if (size < HEADER_END_MIN || read_le(image, LINUX_BOOT_FLAG, 2) != BOOT_FLAG ||
	    read_le(image, LINUX_HEADER_MAGIC, 4) != HEADER_MAGIC)
		return error_set(error, ENOEXEC, "not a Linux kernel image");
	kernel->version = read_le(image, LINUX_VERSION, 2);
	if (kernel->version < 0x202)
		return error_set(error, EINVAL,
				 "a Linux kernel of boot protocol %u.%02u: 2.02 (Linux 2.4) is the "
				 "oldest that can be booted",
				 kernel->version >> 8, kernel->version & 0xff);
	/* The jump over the header says where it ends. */
	header_end = LINUX_HEADER_MAGIC + image[LINUX_JUMP + 1];
	if (header_end < HEADER_END_MIN || header_end > size || header_end > ZERO_PAGE_HEADER_END)
		return error_set(error, EINVAL,
				 "damaged Linux kernel: its header ends at 0x%x", header_end);
	kernel->header_bytes = header_end - LINUX_SETUP_SECTORS;
	sectors = image[LINUX_SETUP_SECTORS] ? image[LINUX_SETUP_SECTORS] : DEFAULT_SETUP_SECTORS;
	kernel->setup_bytes = (sectors + 1) * SECTOR_BYTES;
	if (kernel->setup_bytes >= size)
		return error_set(
			error, EINVAL,
			"damaged Linux kernel: %zu bytes, of which %zu should be set-up code", size,
			kernel->setup_bytes);
	kernel->kernel_bytes = size - kernel->setup_bytes;
	kernel->loads_high = image[LINUX_LOAD_FLAGS] & LINUX_LOADED_HIGH;

	/* What older protocols lack, and what they mean by it. */
	kernel->initrd_max = INITRD_MAX_BEFORE_203;
	kernel->command_line_max = COMMAND_LINE_BEFORE_206;
	kernel->preferred_gpa = kernel->loads_high ? HIGH_LOAD_GPA : LOW_LOAD_GPA;
	kernel->init_bytes = kernel->kernel_bytes;
	kernel->alignment = 1;
	if (kernel->version >= 0x203 && header_end >= LINUX_INITRD_MAX + 4)
		kernel->initrd_max = read_le(image, LINUX_INITRD_MAX, 4);
	if (kernel->version >= 0x205 && header_end >= LINUX_RELOCATABLE + 1) {
		kernel->alignment = read_le(image, LINUX_ALIGNMENT, 4);
		kernel->is_relocatable = image[LINUX_RELOCATABLE];
		if (kernel->is_relocatable &&
		    (kernel->alignment == 0 || (kernel->alignment & (kernel->alignment - 1))))
			return error_set(error, EINVAL,
					 "damaged Linux kernel: alignment 0x%x is no power of two",
					 kernel->alignment);
	}
	if (kernel->version >= 0x206 && header_end >= LINUX_COMMAND_LINE_MAX + 4)
		kernel->command_line_max = read_le(image, LINUX_COMMAND_LINE_MAX, 4);
	if (kernel->version >= 0x20a && header_end >= LINUX_INIT_SIZE + 4) {
		memcpy(&kernel->preferred_gpa, image + LINUX_PREFERRED_ADDRESS, 8);
		kernel->init_bytes = read_le(image, LINUX_INIT_SIZE, 4);
		if (kernel->init_bytes < kernel->kernel_bytes)
			kernel->init_bytes = kernel->kernel_bytes;
		if (kernel->preferred_gpa + kernel->init_bytes < kernel->preferred_gpa)
			return error_set(error, EINVAL,
					 "damaged Linux kernel: preferred address 0x%llx",
					 (unsigned long long)kernel->preferred_gpa);
	}
	if (kernel->version >= 0x20c && header_end >= LINUX_EXTENDED_LOAD_FLAGS + 2)
		kernel->has_64_entry =
			read_le(image, LINUX_EXTENDED_LOAD_FLAGS, 2) & LINUX_KERNEL_64;
	return 0;
}
