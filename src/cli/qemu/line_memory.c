#include "cli/qemu/line_memory.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"
#include "cli/qemu/memory_backend.h"

#define MIB	       (1ull << 20)
#define MEMORY_DEFAULT (128 * MIB) /* as QEMU's */

static const json_t *find_object(const struct line *line, const char *id)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(line->said, "object"), i, one)
		if (keyval_text(one, "id") && strcmp(keyval_text(one, "id"), id) == 0)
			return one;
	return NULL;
}

/* By -machine memory-backend=, or the one node of -numa. */
static const char *machine_backend(const struct line *line)
{
	const char *id = keyval_text(json_object_get(line->said, "machine"), "memory-backend");

	return id ? id : keyval_text(json_array_get(json_object_get(line->said, "numa"), 0), "memdev");
}

/* The machine's; NULL: it has none, or there is none of that name. */
static const json_t *machine_object(const struct line *line)
{
	const char *id = machine_backend(line);

	return id ? find_object(line, id) : NULL;
}

int line_open_memory(struct line *line, struct error *error)
{
	const json_t *object = machine_object(line);
	const char *path = text(line, "mem-path");
	json_t *own = NULL;
	int result = 0;

	/* Without an object of the line's, what says the same. */
	if (!object && (path || has(line, "mem-prealloc")))
		object = own = json_pack("{s:s,s:s,s:b}", "qom-type", path ? "memory-backend-file" : "memory-backend-memfd",
					 "mem-path", path ? path : "", "prealloc", has(line, "mem-prealloc"));
	if (object)
		result = memory_backend_open(object, line->config.ram_bytes, &line->config.ram_backing, error);
	if (result < 0)
		error_prefix(error, own ? "-mem-path" : "-object memory-backend-file");
	json_decref(own);
	return result;
}

void line_close_memory(struct line *line)
{
	if (line->config.ram_backing.has_file)
		close(line->config.ram_backing.fd);
	line->config.ram_backing.has_file = false;
}

/* One node, which has all CPUs and all memory, is what there is anyhow. */
static int examine_numa(struct line *line, struct error *error)
{
	const json_t *nodes = json_object_get(line->said, "numa"), *node = json_array_get(nodes, 0);
	const char *machine = keyval_text(json_object_get(line->said, "machine"), "memory-backend");
	const char *memdev = keyval_text(node, "memdev");
	uint64_t id = 0, bytes = line->config.ram_bytes;

	if (json_array_size(nodes) > 1)
		return error_set(error, ENOTSUP, "-numa: there is one node: say one, or none");
	if (keyval_number(node, "nodeid", UINT32_MAX, &id, error) < 0 || keyval_size(node, "mem", MIB, &bytes, error) < 0)
		return -EINVAL;
	if (id)
		return error_set(error, ENOTSUP, "-numa node,nodeid=%llu: there is node 0 alone", (unsigned long long)id);
	if (bytes != line->config.ram_bytes)
		return error_set(error, EINVAL, "-numa node,mem=: it has another size than -m");
	if (memdev && machine && strcmp(memdev, machine) != 0)
		return error_set(error, EINVAL, "-numa node,memdev=%.60s: -machine has memory-backend=%.60s", memdev, machine);
	return 0;
}

static int examine_slots(struct line *line, const json_t *options, struct error *error)
{
	struct machine_config *config = &line->config;
	const char *maximum = keyval_text(options, "maxmem");
	uint64_t most = config->ram_bytes, slots = 0;

	if (keyval_number(options, "slots", UINT32_MAX, &slots, error) < 0)
		return -EINVAL;
	if (maximum && (size_from_text(maximum, MIB, &most) < 0 || most < config->ram_bytes))
		return error_set(error, EINVAL, "-m maxmem=%.60s: it is below the memory's size", maximum);
	if (slots > RAM_DIMMS_MAX)
		return error_set(error, EINVAL, "-m slots=%llu: at most %u", (unsigned long long)slots, RAM_DIMMS_MAX);
	if (most > RAM_MAX_BYTES)
		return error_set(error, EINVAL, "-m maxmem=%.60s: at most %lluG", maximum, RAM_MAX_BYTES >> 30);
	if (slots && !maximum)
		return error_set(error, EINVAL, "-m slots=%llu: add maxmem=", (unsigned long long)slots);
	/* A microvm has nobody who would tell its guest. */
	if (slots && most > config->ram_bytes && !line_is_microvm(line))
		config->more_ram = (struct ram_more){slots, most - config->ram_bytes};
	return 0;
}

int line_examine_memory(struct line *line, struct error *error)
{
	const json_t *options = json_object_get(line->said, "m"), *object = machine_object(line);
	const char *backend = machine_backend(line);
	uint64_t *bytes = &line->config.ram_bytes, size = 0;

	*bytes = MEMORY_DEFAULT;
	if (keyval_text(options, "size") && size_from_text(keyval_text(options, "size"), MIB, bytes) < 0)
		return error_set(error, EINVAL, "-m %.60s: use a size, as 512M or 4G",
				 keyval_text(options, "size"));
	if (*bytes < RAM_MIN_BYTES || *bytes > RAM_MAX_BYTES)
		return error_set(error, EINVAL, "-m: use 1M to %lluG", RAM_MAX_BYTES >> 30);
	*bytes = (*bytes + 4095) & ~4095ull;
	if (backend) {
		if (!object || !memory_backend_is(object))
			return error_set(error, ENOENT, "the machine's memory (memory-backend=, or -numa memdev=) is %.60s: there is no such -object", backend);
		if (keyval_size(object, "size", 1, &size, error) < 0)
			return -EINVAL;
		if (!options)
			*bytes = size;
		if (size != *bytes)
			return error_set(error, EINVAL, "-object %.60s has another size than -m", backend);
	}
	if (backend && has(line, "mem-path"))
		return error_set(error, EINVAL, "-mem-path: the machine's memory is -object %.60s: use mem-path= there", backend);
	if (examine_numa(line, error) < 0 || examine_slots(line, options, error) < 0)
		return -EINVAL;
	if (((object && memory_backend_is_file(object)) || has(line, "mem-path")) && line->config.more_ram.slots)
		return error_set(error, ENOTSUP, "-m slots=: with memory in a file (memory-backend-file, -mem-path) no memory can "
						 "come: use memory-backend-memfd");
	return 0;
}

static bool is_dimm(const json_t *device)
{
	const struct device_driver *driver = device_driver_find(keyval_text(device, "driver"), NULL);

	return driver && driver->role == ROLE_DIMM;
}

bool line_uses_memory(const struct line *line, const char *id)
{
	const char *name = machine_backend(line);
	const json_t *one;
	size_t i;

	if (name && strcmp(name, id) == 0)
		return true;
	json_array_foreach(line->devices, i, one) {
		name = keyval_text(one, "memdev");
		if (name && strcmp(name, id) == 0 && is_dimm(one))
			return true;
	}
	return false;
}

/* Whether another device has that memory. */
static bool is_taken(const struct line *line, const json_t *device, const char *id)
{
	const char *name = machine_backend(line);
	const json_t *one;
	size_t i;

	if (name && strcmp(name, id) == 0)
		return true;
	json_array_foreach(line->devices, i, one) {
		name = keyval_text(one, "memdev");
		if (one != device && name && strcmp(name, id) == 0)
			return true;
	}
	return false;
}

int line_dimm_of(const struct line *line, const json_t *device, struct ram_dimm *dimm, struct error *error)
{
	const char *id = keyval_text(device, "memdev");
	const json_t *object = id ? find_object(line, id) : NULL;
	uint64_t slot = RAM_ANY_SLOT, gpa = 0, size = 0, node = 0;

	if (!id)
		return error_set(error, EINVAL, "'memdev' property is not set");
	if (!object || !memory_backend_is(object))
		return error_set(error, ENOENT, "Device '%.60s' not found: memdev= names an -object memory-backend-ram", id);
	if (memory_backend_is_file(object))
		return error_set(error, ENOTSUP, "memdev=%.60s: a pc-dimm is in no file: use memory-backend-memfd", id);
	if (is_taken(line, device, id))
		return error_set(error, EBUSY, "can't use already busy memdev: %.60s", id);
	if (keyval_size(object, "size", 1, &size, error) < 0 ||
	    keyval_number(device, "slot", UINT32_MAX, &slot, error) < 0 ||
	    keyval_size(device, "addr", 1, &gpa, error) < 0 || keyval_number(device, "node", 0, &node, error) < 0)
		return -EINVAL;
	*dimm = (struct ram_dimm){.slot = slot, .gpa = gpa, .size_bytes = size};
	return 0;
}

int line_add_dimm(struct line *line, const json_t *device, struct error *error)
{
	struct machine_config *config = &line->config;
	int result;

	if (config->dimm_count == RAM_DIMMS_MAX)
		return error_set(error, ENOSPC, "at most %u DIMMs", RAM_DIMMS_MAX);
	result = line_dimm_of(line, device, &config->dimms[config->dimm_count], error);
	if (result == 0)
		config->dimm_count++;
	return result;
}

json_t *line_find_dimm(const struct line *line, unsigned slot)
{
	uint64_t said;
	json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one) {
		said = RAM_ANY_SLOT;
		if (is_dimm(one) && keyval_number(one, "slot", UINT32_MAX, &said, NULL) == 0 && said == slot)
			return one;
	}
	return NULL;
}

void line_note_dimm(json_t *device, const struct ram_dimm *dimm, bool is_hotplugged)
{
	json_object_set_new(device, "slot", json_integer(dimm->slot));
	json_object_set_new(device, "addr", json_integer(dimm->gpa));
	json_object_set_new(device, "size", json_integer(dimm->size_bytes));
	json_object_set_new(device, "hotplugged", json_boolean(is_hotplugged));
}
