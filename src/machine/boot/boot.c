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
	struct boot_blob initrd; /* with its size when it was opened; of `initrd_data`, or of a file that is this one's */
	union {
		struct linux_image linux_kernel;
		struct elf_image elf;
		struct multiboot_image multiboot;
	};
	char description[64];
};

/* Which protocol the kernel speaks: each parser says whether the image is of its kind. */
static int recognize(struct boot *boot, struct error *error)
{
	int result;

	result = linux_parse(boot->image, boot->image_size, &boot->linux_kernel, error);
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

	if (!boot) {
		error_set_errno(error, ENOMEM, "cannot read the boot files");
		return NULL;
	}
	boot->config = *config;
	boot->initrd.fd = -1;
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
		boot->firmware = firmware_open(&config->firmware, error);
		if (!boot->firmware)
			goto fail;
		return boot;
	}
	/* An uncompressed kernel's file may be larger than what it loads: debug information. */
	if (file_read(config->kernel, "kernel", (size_t)1 << 32, &boot->image, &boot->image_size,
		      error) < 0)
		goto fail;
	if (recognize(boot, error) < 0) {
		error_prefix(error, "kernel '%s'", config->kernel);
		goto fail;
	}
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
		return linux_load(&boot->linux_kernel, boot->image, &initrd, command_line,
				  config->linux_entry, ram, rsdp_gpa, entry, error);
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
