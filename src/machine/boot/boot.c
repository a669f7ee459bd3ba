#include "machine/boot/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/boot/flat.h"
#include "machine/boot/linux.h"
#include "machine/boot/multiboot.h"
#include "machine/boot/place.h"
#include "machine/boot/pvh.h"
#include "util/file.h"

enum boot_kind { BOOT_FLAT, BOOT_LINUX, BOOT_PVH, BOOT_MULTIBOOT, BOOT_FIRMWARE };

struct boot {
	struct boot_config config; /* the strings are the caller's and outlive this */
	enum boot_kind kind;
	struct firmware *firmware; /* owned */
	uint8_t *image, *initrd_data;
	size_t image_size;
	int kernel_fd; /* of a Linux kernel that stays in its file, instead of `image`; or -1 */
	struct boot_blob initrd; /* with its size when it was opened; of `initrd_data`, or of a file that is this one's */
	union {
		struct linux_image linux_kernel;
		struct elf_image elf;
		struct multiboot_image multiboot;
	};
	char description[64];
};

/* A Linux kernel's header and set-up code as its file has them now; room for LINUX_SETUP_BYTES_MAX is at `begin`. */
static int read_linux(const struct boot *boot, uint8_t *begin, struct linux_image *kernel, struct error *error)
{
	ssize_t count = file_read_part(boot->kernel_fd, begin, LINUX_SETUP_BYTES_MAX, 0);
	struct stat status;

	if (count < 0)
		return error_set_errno(error, -count, "cannot read the file");
	if (fstat(boot->kernel_fd, &status) < 0)
		return error_set_errno(error, errno, "cannot examine the file");
	return linux_parse(begin, count < LINUX_SETUP_BYTES_MAX ? count : status.st_size, kernel, error);
}

/* The same for the first time, and of a kernel that is in memory. */
static int parse_linux(struct boot *boot, struct error *error)
{
	uint8_t *begin;
	int result;

	if (boot->kernel_fd < 0)
		return linux_parse(boot->image, boot->image_size, &boot->linux_kernel, error);
	begin = malloc(LINUX_SETUP_BYTES_MAX);
	if (!begin)
		return error_set_errno(error, ENOMEM, "cannot read the file");
	result = read_linux(boot, begin, &boot->linux_kernel, error);
	free(begin);
	return result;
}

/* Which protocol the kernel speaks: each parser says whether the image is of its kind; `result` is parse_linux's. */
static int recognize(struct boot *boot, int result, struct error *error)
{
	if (result != -ENOEXEC) {
		boot->kind = BOOT_LINUX;
		snprintf(boot->description, sizeof(boot->description),
			 "Linux bzImage, boot protocol %u.%02u", boot->linux_kernel.version >> 8,
			 boot->linux_kernel.version & 0xff);
		return result;
	}
	result = multiboot_parse(boot->image, boot->image_size, &boot->multiboot, error);
	if (result != -ENOEXEC) {
		boot->kind = BOOT_MULTIBOOT;
		snprintf(boot->description, sizeof(boot->description), "multiboot kernel%s",
			 boot->multiboot.is_elf ? " (ELF)" : "");
		return result;
	}
	result = elf_parse(boot->image, boot->image_size, &boot->elf, error);
	if (result == 0 && !boot->elf.has_pvh_entry)
		return error_set(
			error, EINVAL,
			"an ELF file without a PVH entry or a multiboot header: Linux needs "
			"CONFIG_PVH, or use its bzImage");
	if (result != -ENOEXEC) {
		boot->kind = BOOT_PVH;
		snprintf(boot->description, sizeof(boot->description), "PVH kernel (%s-bit ELF)",
			 boot->elf.is_64 ? "64" : "32");
		return result;
	}
	return error_set(error, ENOEXEC,
			 "not a kernel: neither a Linux bzImage, nor a PVH ELF, nor multiboot "
			 "(a bare program goes with --flat)");
}

/* A Linux kernel stays in its file, of which boot_load copies it into RAM; others' parts are all over theirs. */
static int open_kernel(struct boot *boot, struct error *error)
{
	const char *path = boot->config.kernel;
	/* An uncompressed kernel's file may be larger than what it loads: debug information. */
	const size_t limit = (size_t)1 << 32;
	int result = file_open_or_read(path, "kernel", limit, &boot->kernel_fd, &boot->image, &boot->image_size, error);
	int parsed;

	if (result < 0)
		return result;
	parsed = parse_linux(boot, error);
	if (parsed == -ENOEXEC && boot->kernel_fd >= 0) {
		close(boot->kernel_fd);
		boot->kernel_fd = -1;
		result = file_read(path, "kernel", limit, &boot->image, &boot->image_size, error);
		if (result < 0)
			return result;
	}
	result = recognize(boot, parsed, error);
	if (result < 0)
		error_prefix(error, "kernel '%s'", path);
	return result;
}

static int open_initrd(struct boot *boot, uint64_t ram_bytes, struct error *error)
{
	int result = file_open_or_read(boot->config.initrd, "initrd", ram_bytes, &boot->initrd.fd, &boot->initrd_data,
				       &boot->initrd.size, error);

	boot->initrd.data = boot->initrd_data;
	return result;
}

/* The initrd as it is now: a reset boots what its file then holds. */
static int initrd_now(const struct boot *boot, struct boot_blob *initrd, struct error *error)
{
	struct stat status;

	*initrd = boot->initrd;
	if (initrd->fd < 0)
		return 0;
	if (fstat(initrd->fd, &status) < 0)
		return error_set_errno(error, errno, "cannot examine the initrd '%s'", boot->config.initrd);
	if (status.st_size <= 0)
		return error_set(error, EINVAL, "the initrd '%s' has become empty", boot->config.initrd);
	initrd->size = status.st_size;
	return 0;
}

struct boot *boot_open(const struct boot_config *config, uint64_t ram_bytes, struct error *error)
{
	struct boot *boot = calloc(1, sizeof(*boot));
	struct firmware_files files;

	if (!boot) {
		error_set_errno(error, ENOMEM, "cannot read the boot files");
		return NULL;
	}
	boot->config = *config;
	boot->kernel_fd = -1;
	boot->initrd = (struct boot_blob){.what = "initrd", .fd = -1};
	if (config->flat) {
		boot->kind = BOOT_FLAT;
		snprintf(boot->description, sizeof(boot->description), "flat binary");
		if (file_read(config->flat, "flat binary", ram_bytes, &boot->image,
			      &boot->image_size, error) < 0)
			goto fail;
		return boot;
	}
	if (config->firmware.code) {
		boot->kind = BOOT_FIRMWARE;
		snprintf(boot->description, sizeof(boot->description), "firmware");
		files = config->firmware;
		files.kernel = config->kernel;
		files.initrd = config->initrd;
		files.command_line = config->command_line;
		boot->firmware = firmware_open(&files, error);
		if (!boot->firmware)
			goto fail;
		return boot;
	}
	if (open_kernel(boot, error) < 0)
		goto fail;
	if (config->initrd && open_initrd(boot, ram_bytes, error) < 0)
		goto fail;
	return boot;

fail:
	boot_close(boot);
	return NULL;
}

void boot_close(struct boot *boot)
{
	if (!boot)
		return;
	free(boot->image);
	free(boot->initrd_data);
	if (boot->kernel_fd >= 0)
		close(boot->kernel_fd);
	if (boot->initrd.fd >= 0)
		close(boot->initrd.fd);
	firmware_close(boot->firmware);
	free(boot);
}

const char *boot_description(const struct boot *boot)
{
	return boot->description;
}

bool boot_is_flat(const struct boot *boot)
{
	return boot->kind == BOOT_FLAT;
}

const struct firmware *boot_firmware(const struct boot *boot)
{
	return boot->firmware;
}

static int load_linux(const struct boot *boot, const struct boot_blob *initrd, const char *command_line,
		      const struct ram *ram, uint64_t rsdp_gpa, struct entry *entry, struct error *error)
{
	struct linux_image kernel = boot->linux_kernel;
	struct boot_blob code = {.what = "kernel", .fd = boot->kernel_fd};
	uint8_t *begin = NULL;
	int result;

	if (boot->kernel_fd >= 0) {
		begin = malloc(LINUX_SETUP_BYTES_MAX);
		if (!begin)
			return error_set_errno(error, ENOMEM, "cannot read the kernel '%s'", boot->config.kernel);
		result = read_linux(boot, begin, &kernel, error);
		if (result < 0) {
			error_prefix(error, "kernel '%s'", boot->config.kernel);
			goto out;
		}
	} else {
		code.data = boot->image + kernel.setup_bytes;
	}
	code.offset = kernel.setup_bytes;
	code.size = kernel.kernel_bytes;
	result = linux_load(&kernel, begin ? begin : boot->image, &code, initrd, command_line,
			    boot->config.linux_entry, ram, rsdp_gpa, entry, error);
out:
	free(begin);
	return result;
}

int boot_load(const struct boot *boot, const struct ram *ram, uint64_t rsdp_gpa,
	      struct entry *entry, struct error *error)
{
	const struct boot_config *config = &boot->config;
	const char *command_line = config->command_line ? config->command_line : "";
	struct boot_blob initrd;
	int result = initrd_now(boot, &initrd, error);

	if (result < 0)
		return result;
	switch (boot->kind) {
	case BOOT_FIRMWARE:
		return error_set(error, EINVAL, "firmware is not loaded into RAM");
	case BOOT_LINUX:
		return load_linux(boot, &initrd, command_line, ram, rsdp_gpa, entry, error);
	case BOOT_PVH:
		return pvh_load(&boot->elf, boot->image, &initrd, command_line, ram, rsdp_gpa,
				entry, error);
	case BOOT_MULTIBOOT:
		return multiboot_load(&boot->multiboot, boot->image, &initrd, config->kernel,
				      command_line, ram, entry, error);
	default:
		return flat_load(boot->image, boot->image_size, config->flat_address,
				 config->flat_mode, ram, entry, error);
	}
}
