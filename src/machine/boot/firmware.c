#include "machine/boot/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/file.h"

#define VGA_ROM_BYTES_MAX (128u << 10)
#define KERNEL_BYTES_MAX  (2ull << 30)

static int read_piece(const char *path, const char *what, uint8_t **bytes, size_t *size,
		      struct error *error)
{
	int result = file_read(path, what, FIRMWARE_BYTES_MAX, bytes, size, error);

	if (result == 0 && *size % FIRMWARE_UNIT)
		return error_set(error, EINVAL,
				 "%s '%s' has %zu bytes: a PC's has a multiple of 4K, up to 8M", what,
				 path, *size);
	return result;
}

static int read_kernel(struct firmware *firmware, const struct firmware_files *files, struct error *error)
{
	int result = file_read(files->kernel, "kernel", KERNEL_BYTES_MAX, &firmware->kernel, &firmware->kernel_size, error);

	if (result == 0 && files->initrd)
		result = file_read(files->initrd, "initrd", KERNEL_BYTES_MAX, &firmware->initrd, &firmware->initrd_size,
				   error);
	firmware->command_line = files->command_line;
	return result;
}

/* Put what a new file begins with into it. */
static int fill(const struct firmware *firmware, const char *path, struct error *error)
{
	int result = file_write_all_at(firmware->vars_fd, firmware->vars, firmware->vars_size, 0);

	return result < 0 ? error_set_errno(error, -result, "cannot write '%s'", path) : 0;
}

static int open_kept(struct firmware *firmware, const struct firmware_files *files,
		     struct error *error)
{
	const char *path = files->vars_kept;
	struct stat status;
	bool is_new;

	firmware->vars_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (firmware->vars_fd < 0 || fstat(firmware->vars_fd, &status) < 0)
		return error_set_errno(error, errno, "cannot open the firmware's variables '%s'", path);
	if (!S_ISREG(status.st_mode))
		return error_set(error, EINVAL, "the firmware's variables '%s': not a file", path);
	if (flock(firmware->vars_fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(error, EBUSY,
				 "the firmware's variables '%s' are those of another machine that runs",
				 path);
	is_new = status.st_size == 0;
	if (is_new && !files->vars)
		return error_set(error, EINVAL,
				 "the firmware's variables '%s' are empty, and there is nothing to "
				 "begin with: copy the file that came with the firmware",
				 path);
	if (read_piece(is_new ? files->vars : path, "the firmware's variables", &firmware->vars,
		       &firmware->vars_size, error) < 0)
		return -EINVAL;
	return is_new ? fill(firmware, path, error) : 0;
}

struct firmware *firmware_open(const struct firmware_files *files, struct error *error)
{
	struct firmware *firmware = calloc(1, sizeof(*firmware));
	int result;

	if (!firmware) {
		error_set_errno(error, ENOMEM, "cannot read the firmware");
		return NULL;
	}
	firmware->vars_fd = -1;
	result = read_piece(files->code, "firmware", &firmware->code, &firmware->code_size, error);
	if (result == 0 && files->vars_kept)
		result = open_kept(firmware, files, error);
	else if (result == 0 && files->vars)
		result = read_piece(files->vars, "the firmware's variables", &firmware->vars,
				    &firmware->vars_size, error);
	if (result == 0 && files->vga_rom)
		result = file_read(files->vga_rom, "the display's BIOS", VGA_ROM_BYTES_MAX,
				   &firmware->vga_rom, &firmware->vga_rom_size, error);
	if (result == 0 && files->kernel)
		result = read_kernel(firmware, files, error);
	if (result == 0 && firmware->code_size + firmware->vars_size > FIRMWARE_BYTES_MAX)
		result = error_set(error, EINVAL, "firmware '%s' and its variables have more than 8M",
				   files->code);
	if (result < 0) {
		firmware_close(firmware);
		return NULL;
	}
	return firmware;
}

void firmware_close(struct firmware *firmware)
{
	if (!firmware)
		return;
	if (firmware->vars_fd >= 0)
		close(firmware->vars_fd);
	free(firmware->code);
	free(firmware->vars);
	free(firmware->vga_rom);
	free(firmware->kernel);
	free(firmware->initrd);
	free(firmware);
}
