#include "machine/device_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/pvpanic.h"

/* A number that a property may have: `first` to `last`, and a power of two where that is asked for. */
struct device_property {
	const char *name;
	uint64_t initial, first, last;
	bool is_power_of_two;
};

#define VIRTIO_PROPERTIES                                                                          \
	{"slot", PCI_ANY_SLOT, 0, 31}, {"packed", 0, 0, 1}, {"event_idx", 1, 0, 1}, {"indirect_desc", 1, 0, 1}

static const struct kind {
	const char *name;
	bool is_pci, is_virtio;
	struct device_property properties[DEVICE_PROPERTIES]; /* at their places in `values` */
} kinds[] = {
	[DEVICE_DEBUG_EXIT] = {"isa-debug-exit", false, false,
			       {{"iobase", 0x501, 0, 0xffff}, {"iosize", 2, 1, 4}}},
	[DEVICE_PC_TESTDEV] = {"pc-testdev", false, false, {{NULL}}},
	[DEVICE_PCI_TESTDEV] = {"pci-testdev", true, false,
				{{"slot", PCI_ANY_SLOT, 0, 31},
				 {"membar", 0, 16, 1ull << 46, true}}},
	[DEVICE_PCI_EXERCISE] = {"pci-exercise", true, false, {{"slot", PCI_ANY_SLOT, 0, 31}}},
	[DEVICE_I6300ESB] = {"i6300esb", true, false, {{"slot", PCI_ANY_SLOT, 0, 31}}},
	[DEVICE_PVPANIC] = {"pvpanic", false, false, {{"ioport", PVPANIC_PORT, 1, 0xffff}}},
	[DEVICE_PVPANIC_PCI] = {"pvpanic-pci", true, false, {{"slot", PCI_ANY_SLOT, 0, 31}}},
	[DEVICE_VMCOREINFO] = {"vmcoreinfo", false, false, {{NULL}}},
	[DEVICE_VIRTIO_RNG] = {"virtio-rng", false, true, {VIRTIO_PROPERTIES}},
	[DEVICE_VIRTIO_BALLOON] = {"virtio-balloon", false, true,
				   {VIRTIO_PROPERTIES,
				    {"target", 0, 0, 1ull << 43},
				    {"deflate-on-oom", 1, 0, 1},
				    {"free-page-reporting", 1, 0, 1}}},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* A number as C writes it, with K, M or G after it; the whole of [text, text + length). */
static bool parse_number(const char *text, size_t length, uint64_t *value)
{
	char copy[32], *end;
	unsigned shift = 0;

	if (length == 0 || length >= sizeof(copy) || text[0] < '0' || text[0] > '9')
		return false;
	memcpy(copy, text, length);
	copy[length] = 0;
	errno = 0;
	*value = strtoull(copy, &end, 0);
	if (errno || end == copy)
		return false;
	switch (*end) {
	case 'G': shift += 10; /* fall through */
	case 'M': shift += 10; /* fall through */
	case 'K': shift += 10; end++; break;
	default: break;
	}
	if (*end || *value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

static int parse_property(struct device_option *option, const char *text, size_t length,
			  struct error *error)
{
	const struct device_property *property;
	size_t name_length = strcspn(text, "=,");
	uint64_t value;
	unsigned i;

	for (i = 0; i < DEVICE_PROPERTIES; i++) {
		property = &kinds[option->kind].properties[i];
		if (property->name && strlen(property->name) == name_length &&
		    strncmp(property->name, text, name_length) == 0)
			break;
	}
	if (i == DEVICE_PROPERTIES)
		return error_set(error, EINVAL, "%s has no property '%.*s'", option->name,
				 (int)name_length, text);
	if (name_length == length ||
	    !parse_number(text + name_length + 1, length - name_length - 1, &value) ||
	    value < property->first || value > property->last)
		return error_set(error, EINVAL, "%s: %s is a number from 0x%llx to 0x%llx",
				 option->name, property->name,
				 (unsigned long long)property->first,
				 (unsigned long long)property->last);
	if (property->is_power_of_two && (value & (value - 1)))
		return error_set(error, EINVAL, "%s: %s is a power of two", option->name,
				 property->name);
	option->values[i] = value;
	return 0;
}

int device_option_parse(struct device_option *option, const char *text, struct error *error)
{
	size_t length = strcspn(text, ",");
	unsigned i;
	int result;

	for (i = 0; i < KINDS; i++)
		if (strlen(kinds[i].name) == length && strncmp(kinds[i].name, text, length) == 0)
			break;
	if (i == KINDS)
		return error_set(error, EINVAL,
				 "'%.*s' is not a device: use isa-debug-exit, pc-testdev, "
				 "pci-testdev, pci-exercise, i6300esb, pvpanic, pvpanic-pci, vmcoreinfo, "
				 "virtio-rng or virtio-balloon",
				 (int)length, text);
	*option = (struct device_option){i, kinds[i].name, kinds[i].is_pci,
					  kinds[i].is_virtio, {0}, 0, 0};
	for (i = 0; i < DEVICE_PROPERTIES; i++)
		option->values[i] = kinds[option->kind].properties[i].initial;
	for (text += length; *text == ','; text += length) {
		text++;
		length = strcspn(text, ",");
		result = parse_property(option, text, length, error);
		if (result < 0)
			return result;
	}
	return 0;
}
