#include "cli/qemu/facts.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/drive_facts.h"
#include "cli/qemu/media.h"
#include "cli/qemu/nets.h"
#include "cli/qemu/options.h"
#include "cli/qemu/parts.h"
#include "cli/qemu/storage.h"
#include "cli/qemu/tpm.h"
#include "machine/cpu_spec.h"
#include "machine/cpuid.h"
#include "util/event_loop.h"

static json_t *describe_machines(void)
{
	json_t *answer = json_array(), *one;
	unsigned i;

	for (i = 0; i < machine_type_count; i++) {
		const struct machine_type *type = &machine_types[i];

		one = json_pack("{s:s,s:i,s:b,s:b,s:b}", "name", type->name, "cpu-max",
				type->has_machine ? MACHINE_MAX_CPUS : 1, "hotpluggable-cpus",
				type->has_machine && type->board != BOARD_MICROVM,
				"numa-mem-supported", 0, "deprecated", 0);
		if (type->other_name)
			json_object_set_new(one, "alias", json_string(type->other_name));
		if (type->is_default)
			json_object_set_new(one, "is-default", json_true());
		if (type->has_machine) {
			json_object_set_new(one, "default-cpu-type", json_string("max-x86_64-cpu"));
			json_object_set_new(one, "default-ram-id",
					    json_string(board_kind_is_pc(type->board) ? "pc.ram" : "microvm.ram"));
		}
		json_array_append_new(answer, one);
	}
	return answer;
}

static void add_property(json_t *objects, const char *path, const char *name, const char *type,
			 json_t *value)
{
	json_t *object = json_object_get(objects, path);

	if (!object) {
		object = json_object();
		json_object_set_new(objects, path, object);
	}
	json_object_set_new(object, name, json_pack("{s:s,s:o}", "type", type, "value", value));
}

static void add_object(json_t *objects, const char *path, const char *type)
{
	add_property(objects, path, "type", "string", json_string(type));
}

/* A property of a device as its type has it. */
static json_t *property_value(const json_t *device, const char *key, const json_t *value)
{
	const char *name = keyval_text(device, "driver");
	const struct device_driver *driver = device_driver_find(name, NULL);
	uint64_t number;

	if (json_is_string(value) && driver && device_property_is_number(driver, key) &&
	    keyval_size(device, key, 1, &number, NULL) == 0)
		return json_integer(number);
	return json_incref((json_t *)value);
}

/* What the line has noted of a device, beside what was said of it. Where it was put is told by "addr". */
static bool is_own_note(const char *key)
{
	static const char *const notes[] = {"place", "scsi place", "tray", "controller", NETS_NOTE};
	unsigned i;

	for (i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if (strcmp(key, notes[i]) == 0)
			return true;
	return false;
}

static void add_named(json_t *objects, const char *folder, const char *name, const char *type,
		      const json_t *properties)
{
	json_t *path = json_sprintf("%s/%s", folder, name), *value;
	const char *key;

	add_object(objects, json_string_value(path), type);
	json_object_foreach((json_t *)properties, key, value) {
		if (json_is_object(value) || json_is_array(value) || is_own_note(key))
			continue;
		value = property_value(properties, key, value);
		add_property(objects, json_string_value(path), key,
			     json_is_boolean(value)   ? "bool"
			     : json_is_integer(value) ? "int"
						      : "string",
			     value);
	}
	json_decref(path);
}

/* The CPUs are the first of /machine/unattached, and tell their features. */
static void add_cpus(json_t *objects, const struct line *line, const struct cpu_feature_set *most)
{
	const struct cpu_spec *spec = &line->config.cpu;
	struct cpu_feature_set features = *most;
	json_t *path, *type;
	unsigned i, j;

	if (spec->model)
		cpu_model_features(spec->model, &features);
	for (i = 0; i < CPU_WORDS; i++)
		features.words[i] = ((features.words[i] | spec->on.words[i]) & ~spec->off.words[i]) &
				    most->words[i];
	type = json_sprintf("%s-x86_64-cpu", spec->model ? spec->model->name : "max");
	for (i = 0; i < line->config.cpus; i++) {
		path = json_sprintf("/machine/unattached/device[%u]", i);
		add_object(objects, json_string_value(path), json_string_value(type));
		add_property(objects, json_string_value(path), "realized", "bool", json_true());
		add_property(objects, json_string_value(path), "unavailable-features", "strList", json_array());
		for (j = 0; j < cpu_feature_count; j++)
			add_property(objects, json_string_value(path), cpu_features[j].name, "bool",
				     json_boolean(cpu_feature_in(&features, &cpu_features[j])));
		json_decref(path);
	}
	json_decref(type);
}

/* What a balloon's driver tells, and how often it is asked: monitors know the values (monitor/commands_qom.c). */
static void add_balloon(json_t *objects, const char *id)
{
	json_t *path = json_sprintf("/machine/peripheral/%s", id);

	add_property(objects, json_string_value(path), "guest-stats", "guest statistics", json_null());
	add_property(objects, json_string_value(path), "guest-stats-polling-interval", "int", json_integer(0));
	json_decref(path);
}

static json_t *describe_objects(const struct line *line, const struct cpu_feature_set *features)
{
	json_t *objects = json_object(), *type, *one;
	const struct device_driver *driver;
	const char *id;
	size_t i;

	add_object(objects, "/", "container");
	add_object(objects, "/objects", "container");
	json_array_foreach(json_object_get(line->said, "object"), i, one)
		if (keyval_text(one, "id"))
			add_named(objects, "/objects", keyval_text(one, "id"),
				  keyval_text(one, "qom-type"), NULL);
	type = json_sprintf("%s-machine", line->type->name);
	add_object(objects, "/machine", json_string_value(type));
	json_decref(type);
	add_object(objects, "/machine/peripheral", "container");
	add_object(objects, "/machine/peripheral-anon", "container");
	add_object(objects, "/machine/unattached", "container");
	json_array_foreach(line->devices, i, one) {
		id = keyval_text(one, "id");
		if (id)
			add_named(objects, "/machine/peripheral", id, keyval_text(one, "driver"), one);
		driver = device_driver_find(keyval_text(one, "driver"), NULL);
		if (id && driver && driver->role == ROLE_BALLOON)
			add_balloon(objects, id);
	}
	if (line->has_machine)
		add_cpus(objects, line, features);
	return objects;
}

static struct char_stream *find_ring(void *context, const char *name)
{
	struct chardev *chardev = chardevs_find(context, name);

	return chardev && chardev->is_ring && !chardev->mux ? chardev->below : NULL;
}

static const struct block *find_disk(void *context, const char *name)
{
	struct line *line = context;
	const struct drive *drive = drives_find(&line->drives, name);

	return drive && drive->is_used ? drive->block : NULL;
}

/* The thread of a device's disk, or of the first that hangs on it; 0: there is none. */
static pid_t disk_thread(struct line *line, const json_t *device)
{
	const char *disk = keyval_text(device, "drive");
	const struct drive *drive = disk ? drives_find(&line->drives, disk) : NULL;
	const json_t *number = json_object_get(device, "controller"), *one;
	pid_t thread = 0;
	size_t i;

	if (drive && drive->is_used && drive->block)
		return event_loop_thread(block_loop(drive->block));
	json_array_foreach(line->devices, i, one)
		if (number && !thread && storage_is_on_controller(one, json_integer_value(number)))
			thread = disk_thread(line, one);
	return thread;
}

/* Each disk has a thread of its own: the first one's that names it, or whose adapter does. */
static pid_t find_iothread(void *context, const char *name)
{
	struct line *line = context;
	pid_t thread = 0;
	const json_t *one;
	size_t i;

	json_array_foreach(line->devices, i, one)
		if (!thread && keyval_text(one, "iothread") && strcmp(keyval_text(one, "iothread"), name) == 0)
			thread = disk_thread(line, one);
	return thread;
}

static int collect_features(struct monitor_facts *facts, const struct line *line, struct error *error)
{
	struct kvm_system system;
	int result = kvm_system_open(&system, line->config.backend, NULL, error);

	if (result < 0)
		return result;
	result = cpuid_supported_features(&system, &facts->cpu_features, error);
	kvm_system_close(&system);
	return result;
}

/* CPU models are types, too. */
static void add_models(json_t *types)
{
	unsigned i;

	for (i = 0; i < cpu_model_count; i++) {
		json_t *name = json_sprintf("%s-x86_64-cpu", cpu_models[i].name);

		json_object_set_new(types, json_string_value(name),
				    json_pack("{s:s,s:b,s:[]}", "parent", "x86_64-cpu", "abstract", 0,
					      "properties"));
		json_decref(name);
	}
}

/* The arrays stay the same ones, as who has the facts has them. */
static void renew_array(json_t *array, json_t *now)
{
	json_array_clear(array);
	json_array_extend(array, now);
	json_decref(now);
}

void facts_look(struct monitor_facts *facts, const struct line *line, const struct machine *machine)
{
	renew_array(facts->blocks, drives_describe(&line->drives));
	renew_array(facts->block_nodes, drives_describe_nodes(&line->drives));
	media_describe(line, machine, facts->blocks);
	media_describe_nodes(line, facts->block_nodes);
	renew_array(facts->networks, nets_describe(&line->nets, line->devices));
}

int facts_collect(struct monitor_facts *facts, struct line *line, struct error *error)
{
	*facts = (struct monitor_facts){
		.name = line->name,
		.uuid = line->uuid,
		.has_kvm = line->has_kvm,
		.uses_kvm = line->uses_kvm,
		.has_node = json_object_get(line->said, "numa") != NULL,
		.find_ring = find_ring,
		.find_disk = find_disk,
		.read_block_counts = disks_read_counts,
		.find_iothread = find_iothread,
		.disk_context = line,
		.context = &line->chardevs,
	};
	unsigned i;

	if (collect_features(facts, line, error) < 0)
		return -EINVAL;
	facts->command_line_options = options_describe();
	facts->machines = describe_machines();
	for (i = 0; i < line->config.port_count; i++)
		chardevs_find(&line->chardevs, keyval_text(line->ports[i], "chardev"))->is_closed = true;
	facts->chardev_backends = chardevs_describe_backends();
	facts->tpms = tpm_describe(line);
	facts->blocks = json_array();
	facts->block_nodes = json_array();
	facts->networks = json_array();
	facts_look(facts, line, NULL);
	facts->types = devices_describe_types();
	add_models(facts->types);
	parts_describe(facts->types);
	facts->objects = describe_objects(line, &facts->cpu_features);
	return 0;
}

void facts_renew(struct monitor_facts *facts, const struct line *line)
{
	json_t *objects = describe_objects(line, &facts->cpu_features);

	facts_look(facts, line, NULL);
	json_object_clear(facts->objects);
	json_object_update(facts->objects, objects);
	json_decref(objects);
}

void facts_free(struct monitor_facts *facts)
{
	json_decref(facts->command_line_options);
	json_decref(facts->machines);
	json_decref(facts->chardev_backends);
	json_decref(facts->tpms);
	json_decref(facts->blocks);
	json_decref(facts->block_nodes);
	json_decref(facts->networks);
	json_decref(facts->types);
	json_decref(facts->objects);
}
