#include "machine/boot/boot.h"

#include <errno.h>
#include <stdlib.h>

#include "machine/boot/flat.h"
#include "util/file.h"

enum boot_kind { BOOT_FLAT };

struct boot {
	struct boot_config config;
	enum boot_kind kind;
	uint8_t *image;
	size_t image_size;
};

struct boot *boot_open(const struct boot_config *config, uint64_t ram_bytes, struct error *error)
{
	struct boot *boot = calloc(1, sizeof(*boot));

	if (!boot) {
		error_set_errno(error, ENOMEM, "cannot read the boot files");
		return NULL;
	}
	boot->config = *config;
	if (!config->flat) {
		error_set(error, ENOTSUP, "--kernel is not there yet");
		goto fail;
	}
	boot->kind = BOOT_FLAT;
	if (file_read(config->flat, "flat binary", ram_bytes, &boot->image, &boot->image_size,
		      error) < 0)
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
	free(boot);
}

const char *boot_description(const struct boot *boot)
{
	(void)boot;
	return "flat binary";
}

bool boot_is_flat(const struct boot *boot)
{
	return boot->kind == BOOT_FLAT;
}

int boot_load(const struct boot *boot, const struct ram *ram, uint64_t rsdp_gpa,
	      struct entry *entry, struct error *error)
{
	(void)rsdp_gpa;
	return flat_load(boot->image, boot->image_size, boot->config.flat_address,
			 boot->config.flat_mode, ram, entry, error);
}
