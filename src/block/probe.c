/*
 * Which format a file is of, by its first bytes. Formats are listed that kvik doesn't read, too: a
 * file of one of them is refused by name and not taken for a raw disk.
 */
#include <string.h>

#include "block/probe.h"

static const struct {
	const char *name;
	const char *magic;
	size_t length, at;
} formats[] = {
	{"qcow", "QFI\xfb\0\0\0\1", 8, 0},
	{"qcow2", "QFI\xfb", 4, 0}, /* of whatever version */
	{"qed", "QED\0", 4, 0},
	{"vmdk", "KDMV", 4, 0},
	{"vmdk", "COWD", 4, 0},
	{"vmdk", "# Disk DescriptorFile", 21, 0},
	{"vhdx", "vhdxfile", 8, 0},
	{"vpc", "conectix", 8, 0},
	{"vdi", "\x7f\x10\xda\xbe", 4, 0x40},
	{"luks", "LUKS\xba\xbe", 6, 0},
	{"parallels", "WithoutFreeSpace", 16, 0},
	{"parallels", "WithouFreSpacExt", 16, 0},
};

const char *image_probe(const uint8_t *start, size_t size)
{
	unsigned i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (size >= formats[i].at + formats[i].length &&
		    memcmp(start + formats[i].at, formats[i].magic, formats[i].length) == 0)
			return formats[i].name;
	return "raw";
}
