#include "cli/qemu/parts.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/options.h"
#include "util/log.h"

/* Power management: a guest never finds S4 (suspend to disk by the firmware). */
static const struct property pm_properties[] = {
	{"disable_s3", PROPERTY_NUMBER, "0 1 on off"}, {"disable_s4", PROPERTY_NUMBER}, {NULL}};
/* What becomes of a timer's ticks that a guest was late for is the backend's matter, and no guest of today's relies on it. */
static const struct property tick_properties[] = {{"lost_tick_policy", PROPERTY_TEXT, "delay discard"}, {NULL}};
/* Lost ticks of the real-time clock are not caught up with, which no guest of today's relies on. */
static const struct property clock_properties[] = {
	{"base_year", PROPERTY_NUMBER, "0"}, {"lost_tick_policy", PROPERTY_TEXT, "discard slew"}, {NULL}};
static const struct property flash_properties[] = {
	{"secure", PROPERTY_BOOL}, {"width", PROPERTY_NUMBER}, {"sector-length", PROPERTY_NUMBER}, {NULL}};

static const struct machine_part {
	const char *name, *parent;
	const struct property *properties;
} parts[] = {
	{"PIIX4_PM", "pci-device", pm_properties},
	{"ICH9-LPC", "pci-device", pm_properties},
	{"kvm-pit", "isa-device", tick_properties},
	{"mc146818rtc", "isa-device", clock_properties},
	{"cfi.pflash01", "device", flash_properties},
};

#define ON    "1 on true yes y"
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static const struct property *find_property(const struct property *properties, const char *name)
{
	for (; properties->name; properties++)
		if (strcmp(properties->name, name) == 0)
			return properties;
	return NULL;
}

static const struct machine_part *find_part(const char *name)
{
	unsigned i;

	for (i = 0; i < PARTS; i++)
		if (strcmp(parts[i].name, name) == 0)
			return &parts[i];
	return NULL;
}

static bool is_among(const char *words, const char *value)
{
	size_t length = strlen(value);

	for (; *words; words += strspn(words, " ")) {
		if (strncmp(words, value, length) == 0 && strchr(" ", words[length]))
			return true;
		words += strcspn(words, " ");
	}
	return false;
}

static int check_global(const json_t *global, struct error *error)
{
	const char *name = keyval_text(global, "driver"), *key = keyval_text(global, "property"), *value = keyval_text(global, "value");
	const struct machine_part *part = name ? find_part(name) : NULL;
	const struct property *property = part && key ? find_property(part->properties, key) : NULL;

	if (!name || !key || !value)
		return error_set(error, EINVAL, "-global: DRIVER.PROPERTY=VALUE is needed");
	/* Flash that only system management mode may write to is what secure boot's firmware relies on. */
	if (part && part->properties == flash_properties && strcmp(key, "secure") == 0 && is_among(ON, value))
		return error_set(error, EINVAL, "-global cfi.pflash01.secure=on is not there, as there is no system "
				 "management mode: use firmware without secure boot, such as OVMF_CODE_4M.fd");
	if (property && property->only && !is_among(property->only, value))
		log_warning("-global %s.%s=%.60s: there is: %s", name, key, value, property->only);
	else if (part ? !property : !device_driver_find(name, NULL))
		log_warning("-global %.60s.%.60s: there is no such %s", name, key, part ? "property" : "driver");
	return 0;
}

int parts_check_globals(const json_t *globals, struct error *error)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)globals, i, one)
		if (check_global(one, error) < 0)
			return -EINVAL;
	return 0;
}

bool parts_switch_on(const json_t *globals, const char *part, const char *property)
{
	bool is_on = false;
	const json_t *one;
	size_t i;

	/* The last one counts. */
	json_array_foreach((json_t *)globals, i, one)
		if (strcmp(keyval_text(one, "driver"), part) == 0 && strcmp(keyval_text(one, "property"), property) == 0)
			is_on = is_among(ON, keyval_text(one, "value"));
	return is_on;
}

/* As monitors have them. */
static json_t *list_of(const struct property *properties)
{
	json_t *list = json_array();

	for (; properties->name; properties++)
		if (strcmp(properties->name, "id") != 0 && strcmp(properties->name, "qom-type") != 0)
			json_array_append_new(list, json_pack("{s:s,s:s}", "name", properties->name, "type",
							      property_type_name(properties)));
	return list;
}

static void describe_machine(json_t *type, const char *name)
{
	/* Of which board. */
	static const char *const microvm_only[] = {"pcie", "rtc", "isa-serial", "x-option-roms", "auto-kernel-cmdline"};
	static const char *const pc_only[] = {"hpet", "i8042", "nvdimm", "sata", "smbus", "smm", "vmport", "pcspk-audiodev"};
	bool is_microvm = strncmp(name, "microvm", 7) == 0;
	const char *const *others = is_microvm ? pc_only : microvm_only;
	size_t count = is_microvm ? sizeof(pc_only) / sizeof(pc_only[0]) : sizeof(microvm_only) / sizeof(microvm_only[0]), i;
	json_t *list = json_array();
	const struct property *one;

	for (one = options_machine_properties(); one->name; one++) {
		for (i = 0; i < count && strcmp(others[i], one->name) != 0; i++)
			continue;
		if (i == count && strcmp(one->name, "type") != 0 && strcmp(one->name, "accel") != 0)
			json_array_append_new(list, json_pack("{s:s,s:s}", "name", one->name, "type", property_type_name(one)));
	}
	json_object_set_new(type, "properties", list);
}

void parts_describe(json_t *types)
{
	const struct property *properties;
	const char *name, *parent;
	json_t *type;
	unsigned i;

	for (i = 0; i < PARTS; i++)
		json_object_set_new(types, parts[i].name,
				    json_pack("{s:b,s:s,s:o}", "abstract", 0, "parent", parts[i].parent, "properties",
					      list_of(parts[i].properties)));
	json_object_foreach(types, name, type) {
		parent = json_string_value(json_object_get(type, "parent"));
		properties = object_properties(name);
		if (properties)
			json_object_set_new(type, "properties", list_of(properties));
		else if (parent && strcmp(parent, "machine") == 0 && strncmp(name, "none", 4) != 0)
			describe_machine(type, name);
	}
}
