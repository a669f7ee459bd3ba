#include "device/bus/pci_rom.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_parts.h"
#include "util/endian.h"

#define UNIT	      512  /* that lengths of images count */
#define BYTES_MIN     2048 /* the register's lower bits are not an address's */
#define ERASED	      0xff

/* An image's header (§6.3.1.1): 55h AAh, on a PC a length and a jump, then where its data is. */
#define IMAGE_SPARE   6 /* what images for PCs keep there is the sum's remainder */
#define IMAGE_DATA    0x18
#define IMAGE_HEADER  0x1a
/* PCI's data structure (§6.3.1.2): "PCIR". */
#define DATA_VENDOR   4
#define DATA_UNITS    0x10
#define DATA_CODE     0x14
#define DATA_FLAGS    0x15
#define DATA_BYTES    0x18
#define CODE_PC	      0
#define FLAG_LAST     0x80

static uint64_t read_rom(void *device, uint64_t offset, unsigned size)
{
	const struct pci_function *function = device;
	uint64_t value = 0;

	memcpy(&value, function->rom + offset, size);
	return value;
}

static void write_rom(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)device, (void)offset, (void)size, (void)value;
}

static const struct mmio_ops rom_ops = {.read = read_rom, .write = write_rom};

/* The image's bytes add up to 0 on a PC (§6.3.3): after one was replaced. */
static void replace(uint8_t *image, unsigned offset, uint8_t byte, bool has_sum)
{
	if (has_sum)
		image[IMAGE_SPARE] += image[offset] - byte;
	image[offset] = byte;
}

static void adapt(const struct pci_function *function, uint8_t *rom, size_t size)
{
	static const uint8_t signature[] = {0x55, 0xaa};
	size_t at = 0, left, data, bytes;
	uint8_t *image;
	unsigned i;
	bool is_last;

	do {
		image = rom + at;
		left = size - at;
		if (left < IMAGE_HEADER || memcmp(image, signature, sizeof(signature)) != 0)
			return;
		data = get_le16(image + IMAGE_DATA);
		if (data < IMAGE_HEADER || data + DATA_BYTES > left || memcmp(image + data, "PCIR", 4) != 0)
			return;
		bytes = (size_t)get_le16(image + data + DATA_UNITS) * UNIT;
		is_last = image[data + DATA_FLAGS] & FLAG_LAST;
		for (i = 0; i < 4; i++)
			replace(image, data + DATA_VENDOR + i, function->config[PCI_VENDOR + i],
				image[data + DATA_CODE] == CODE_PC);
		at += bytes;
	} while (bytes && bytes < left && !is_last);
}

int pci_function_set_rom(struct pci_function *function, const struct pci_rom *rom, struct error *error)
{
	size_t size = BYTES_MIN;

	if (!rom->size_bytes)
		return 0;
	if (rom->size_bytes > PCI_ROM_BYTES_MAX)
		return error_set(error, EFBIG, "an expansion ROM has at most %u MiB", PCI_ROM_BYTES_MAX >> 20);
	while (size < rom->size_bytes)
		size *= 2;
	function->rom = malloc(size);
	if (!function->rom)
		return error_set_errno(error, ENOMEM, "an expansion ROM");
	memcpy(function->rom, rom->bytes, rom->size_bytes);
	memset(function->rom + rom->size_bytes, ERASED, size - rom->size_bytes);
	if (rom->is_adapted)
		adapt(function, function->rom, rom->size_bytes);
	function->bars[PCI_ROM_BAR] = (struct pci_bar){.kind = PCI_BAR_ROM,
						       .size_bytes = size,
						       .name = "expansion ROM",
						       .mmio = &rom_ops,
						       .device = function};
	return 0;
}
