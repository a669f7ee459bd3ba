/* What people can ask of the machine, mostly what QMP's queries answer. */
#include "monitor/hmp_info.h"

#include <string.h>

#include "device/guest_memory.h"
#include "machine/inspect.h"
#include "monitor/hmp_disks.h"
#include "monitor/hmp_look.h"
#include "monitor/hmp_migration.h"
#include "monitor/hmp_network.h"
#include "monitor/hmp_pci.h"
#include "monitor/hmp_snapshots.h"
#include "monitor/hmp_tree.h"
#include "monitor/version.h"

static void info_version(struct hmp_line *line)
{
	hmp_print(line->text, "%d.%d.%d (kvik " KVIK_VERSION ")\n", VERSION_QEMU_MAJOR,
		  VERSION_QEMU_MINOR, VERSION_QEMU_MICRO);
}

static void info_status(struct hmp_line *line)
{
	json_t *status = hmp_ask(line, "query-status");
	const char *name = hmp_string(status, "status");
	bool runs = json_is_true(json_object_get(status, "running"));

	hmp_print(line->text, "VM status: %s%s%s%s\n", runs ? "running" : "paused",
		  runs || strcmp(name, "paused") == 0 ? "" : " (",
		  runs || strcmp(name, "paused") == 0 ? "" : name,
		  runs || strcmp(name, "paused") == 0 ? "" : ")");
	json_decref(status);
}

static void info_cpus(struct hmp_line *line)
{
	json_t *cpus = hmp_ask(line, "query-cpus-fast"), *cpu;
	size_t i;

	json_array_foreach(cpus, i, cpu)
		hmp_print(line->text, "%c CPU #%lld: thread_id=%lld\n", i == *line->cpu ? '*' : ' ',
			  json_integer_value(json_object_get(cpu, "cpu-index")),
			  json_integer_value(json_object_get(cpu, "thread-id")));
	json_decref(cpus);
}

static void info_iothreads(struct hmp_line *line)
{
	json_t *threads = hmp_ask(line, "query-iothreads"), *one;
	size_t i;

	json_array_foreach(threads, i, one)
		hmp_print(line->text, "%s:\n  thread_id=%lld\n", hmp_string(one, "id"),
			  json_integer_value(json_object_get(one, "thread-id")));
	json_decref(threads);
}

static void info_hotpluggable_cpus(struct hmp_line *line)
{
	static const char *const places[] = {"node-id", "socket-id", "die-id", "core-id", "thread-id"};
	json_t *cpus = hmp_ask(line, "query-hotpluggable-cpus"), *cpu, *place;
	size_t i;
	unsigned j;

	if (cpus)
		hmp_print(line->text, "Hotpluggable CPUs:\n");
	json_array_foreach(cpus, i, cpu) {
		hmp_print(line->text, "  type: \"%s\"\n  vcpus_count: \"%lld\"\n", hmp_string(cpu, "type"),
			  json_integer_value(json_object_get(cpu, "vcpus-count")));
		if (*hmp_string(cpu, "qom-path"))
			hmp_print(line->text, "  qom_path: \"%s\"\n", hmp_string(cpu, "qom-path"));
		hmp_print(line->text, "  CPUInstance Properties:\n");
		for (j = 0; j < sizeof(places) / sizeof(places[0]); j++) {
			place = json_object_get(json_object_get(cpu, "props"), places[j]);
			if (place)
				hmp_print(line->text, "    %s: \"%lld\"\n", places[j], json_integer_value(place));
		}
	}
	json_decref(cpus);
}

static void info_block(struct hmp_line *line)
{
	json_t *blocks = hmp_ask(line, "query-block"), *block, *inserted, *cache;
	size_t i;

	json_array_foreach(blocks, i, block) {
		inserted = json_object_get(block, "inserted");
		cache = json_object_get(inserted, "cache");
		hmp_print(line->text, "%s%s", i ? "\n" : "", hmp_string(block, "device"));
		if (json_is_true(json_object_get(block, "removable")) && !*hmp_string(block, "device"))
			hmp_print(line->text, "%s", hmp_string(block, "qdev"));
		if (!inserted) {
			hmp_print(line->text, ": [not inserted]\n");
			continue;
		}
		if (*hmp_string(inserted, "node-name"))
			hmp_print(line->text, " (%s)", hmp_string(inserted, "node-name"));
		hmp_print(line->text, ": %s (%s%s)\n", hmp_string(inserted, "file"), hmp_string(inserted, "drv"),
			  json_is_true(json_object_get(inserted, "ro")) ? ", read-only" : "");
		if (*hmp_string(block, "qdev"))
			hmp_print(line->text, "    Attached to:      %s\n", hmp_string(block, "qdev"));
		hmp_print(line->text, "    Cache mode:       %s%s%s\n",
			  json_is_true(json_object_get(cache, "writeback")) ? "writeback" : "writethrough",
			  json_is_true(json_object_get(cache, "direct")) ? ", direct" : "",
			  json_is_true(json_object_get(cache, "no-flush")) ? ", ignore flushes" : "");
	}
	json_decref(blocks);
}

static void info_blockstats(struct hmp_line *line)
{
	json_t *counts = hmp_ask(line, "query-blockstats");

	hmp_print_block_counts(line->text, counts);
	json_decref(counts);
}

static void info_block_jobs(struct hmp_line *line)
{
	json_t *jobs = hmp_ask(line, "query-block-jobs");

	hmp_print_block_jobs(line->text, jobs);
	json_decref(jobs);
}

static void info_chardev(struct hmp_line *line)
{
	json_t *list = hmp_ask(line, "query-chardev"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		hmp_print(line->text, "%s: filename=%s\n", hmp_string(one, "label"), hmp_string(one, "filename"));
	json_decref(list);
}

static void info_name(struct hmp_line *line)
{
	if (line->monitor->facts.name)
		hmp_print(line->text, "%s\n", line->monitor->facts.name);
}

static void info_uuid(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-uuid");

	hmp_print(line->text, "%s\n", hmp_string(answer, "UUID"));
	json_decref(answer);
}

static void info_kvm(struct hmp_line *line)
{
	hmp_print(line->text, "kvm support: %s\n",
		  line->monitor->facts.uses_kvm ? "enabled" : "disabled");
}

static void info_memory(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-memory-size-summary");

	if (answer)
		hmp_print(line->text, "base memory: %lld\nplugged memory: %lld\n",
			  json_integer_value(json_object_get(answer, "base-memory")),
			  json_integer_value(json_object_get(answer, "plugged-memory")));
	json_decref(answer);
}

static void info_numa(struct hmp_line *line)
{
	json_t *memory = hmp_ask(line, "query-memory-size-summary"), *cpus = hmp_ask(line, "query-cpus-fast"), *cpu;
	json_int_t plugged = json_integer_value(json_object_get(memory, "plugged-memory"));
	size_t i;

	hmp_print(line->text, "%d nodes\n", line->monitor->facts.has_node ? 1 : 0);
	if (memory && cpus && line->monitor->facts.has_node) {
		hmp_print(line->text, "node 0 cpus:");
		json_array_foreach(cpus, i, cpu)
			hmp_print(line->text, " %lld", json_integer_value(json_object_get(cpu, "cpu-index")));
		hmp_print(line->text, "\nnode 0 size: %lld MB\nnode 0 plugged: %lld MB\n",
			  (json_integer_value(json_object_get(memory, "base-memory")) + plugged) >> 20, plugged >> 20);
	}
	json_decref(memory);
	json_decref(cpus);
}

/* RAM, in the order in which it lies in its file, with where the guest has it. */
static void info_ramblock(struct hmp_line *line)
{
	const struct guest_memory *memory = line->monitor->machine ? machine_memory(line->monitor->machine) : NULL;
	const struct guest_region *region;
	unsigned i;

	hmp_print(line->text, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Guest address", "Used", "Total");
	for (i = 0; memory && i < memory->region_count; i++) {
		region = &memory->regions[i];
		if (region->size_bytes)
			hmp_print(line->text, "%24s %8s  0x%016llx 0x%016llx 0x%016llx\n", "pc.ram", "4 KiB",
				  (unsigned long long)region->gpa, (unsigned long long)region->size_bytes,
				  (unsigned long long)region->size_bytes);
	}
}

static void info_memory_devices(struct hmp_line *line)
{
	json_t *devices = hmp_ask(line, "query-memory-devices"), *one, *data;
	size_t i;

	json_array_foreach(devices, i, one) {
		data = json_object_get(one, "data");
		hmp_print(line->text, "Memory device [%s]: \"%s\"\n", hmp_string(one, "type"), hmp_string(data, "id"));
		hmp_print(line->text, "  addr: 0x%llx\n  slot: %lld\n  node: %lld\n  size: %lld\n",
			  json_integer_value(json_object_get(data, "addr")),
			  json_integer_value(json_object_get(data, "slot")),
			  json_integer_value(json_object_get(data, "node")),
			  json_integer_value(json_object_get(data, "size")));
		hmp_print(line->text, "  memdev: %s\n  hotplugged: %s\n  hotpluggable: %s\n", hmp_string(data, "memdev"),
			  json_is_true(json_object_get(data, "hotplugged")) ? "true" : "false",
			  json_is_true(json_object_get(data, "hotpluggable")) ? "true" : "false");
	}
	json_decref(devices);
}

static void info_memdev(struct hmp_line *line)
{
	json_t *list = hmp_ask(line, "query-memdev"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		hmp_print(line->text, "memory backend: %s\n  size:  %lld\n  share: %s\n", hmp_string(one, "id"),
			  json_integer_value(json_object_get(one, "size")),
			  json_is_true(json_object_get(one, "share")) ? "true" : "false");
	json_decref(list);
}

static void info_balloon(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-balloon");

	if (answer)
		hmp_print(line->text, "balloon: actual=%lld\n",
			  json_integer_value(json_object_get(answer, "actual")) >> 20);
	json_decref(answer);
}

static void info_network(struct hmp_line *line)
{
	hmp_print_networks(line->text, line->monitor->facts.networks);
}

static void info_usernet(struct hmp_line *line)
{
	const struct monitor_facts *facts = &line->monitor->facts;
	json_t *networks = facts->read_user_networks ? facts->read_user_networks(facts->change_context) : NULL;

	hmp_print_user_networks(line->text, networks);
	json_decref(networks);
}

static void info_pci(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-pci");

	if (answer)
		hmp_print_pci(line->text, answer);
	json_decref(answer);
}

static void info_snapshots(struct hmp_line *line)
{
	hmp_info_snapshots(line->monitor, line->text);
}

static void info_migrate(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-migrate");

	hmp_print_migration(line->text, answer);
	json_decref(answer);
}

static void info_dirty_rate(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-dirty-rate");

	hmp_print_dirty_rate(line->text, answer);
	json_decref(answer);
}

static void info_migrate_parameters(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-migrate-parameters");

	hmp_print(line->text, "max-bandwidth: %lld bytes/second\ndowntime-limit: %lld ms\n",
		  json_integer_value(json_object_get(answer, "max-bandwidth")),
		  json_integer_value(json_object_get(answer, "downtime-limit")));
	json_decref(answer);
}

static void info_migrate_capabilities(struct hmp_line *line)
{
	json_t *list = hmp_ask(line, "query-migrate-capabilities"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		hmp_print(line->text, "%s: %s\n", hmp_string(one, "capability"),
			  json_is_true(json_object_get(one, "state")) ? "on" : "off");
	json_decref(list);
}

static void info_dump(struct hmp_line *line)
{
	json_t *answer = hmp_ask(line, "query-dump");

	hmp_print(line->text, "Status: %s\n", hmp_string(answer, "status"));
	json_decref(answer);
}

static void info_tpm(struct hmp_line *line)
{
	json_t *tpms = hmp_ask(line, "query-tpm"), *tpm, *options;
	size_t i;

	hmp_print(line->text, json_array_size(tpms) ? "TPM device:\n" : "No TPM device\n");
	json_array_foreach(tpms, i, tpm) {
		options = json_object_get(tpm, "options");
		hmp_print(line->text, " tpm%zu: model=%s\n  \\ %s: type=%s,chardev=%s\n", i, hmp_string(tpm, "model"),
			  hmp_string(tpm, "id"), hmp_string(options, "type"),
			  hmp_string(json_object_get(options, "data"), "chardev"));
	}
	json_decref(tpms);
}

static const struct hmp_command information[] = {
	{"balloon", NULL, info_balloon, "how many MiB of memory the guest has kept"},
	{"block", NULL, info_block, "the disks"},
	{"block-jobs", NULL, info_block_jobs, "what copies disks, and how far it is"},
	{"blockstats", NULL, info_blockstats, "what the disks have done"},
	{"chardev", NULL, info_chardev, "the consoles, and where they lead"},
	{"cpus", NULL, info_cpus, "the CPUs, and their threads on the host"},
	{"dirty_rate", NULL, info_dirty_rate, "how fast the guest writes to its memory, when calc_dirty_rate has ended"},
	{"dump", NULL, info_dump, "what has become of dump-guest-memory"},
	{"hotpluggable-cpus", NULL, info_hotpluggable_cpus, "which CPUs can be there, and which are"},
	{"iothreads", NULL, info_iothreads, "the threads of -object iothread"},
	{"jit", NULL, hmp_info_jit, "what the engine has counted"},
	{"kvm", NULL, info_kvm, "whether /dev/kvm runs the CPUs"},
	{"lapic", NULL, hmp_info_lapic, "[CPU]: its local APIC"},
	{"mem", NULL, hmp_info_mem, "which addresses the CPU has mapped, in ranges of one protection"},
	{"memdev", NULL, info_memdev, "the memory that -object has made"},
	{"memory-devices", NULL, info_memory_devices, "memory that was plugged in"},
	{"memory_size_summary", NULL, info_memory, "how much memory there is"},
	{"mice", NULL, hmp_info_mice, "what there is to point with"},
	{"migrate", NULL, info_migrate, "what has become of a migration"},
	{"migrate_capabilities", NULL, info_migrate_capabilities, "how machines are sent"},
	{"migrate_parameters", NULL, info_migrate_parameters, "what a migration may take"},
	{"mtree", NULL, hmp_info_mtree, "what is at which addresses and ports"},
	{"name", NULL, info_name, "the machine's name"},
	{"network", NULL, info_network, "network devices, and where their frames go"},
	{"numa", NULL, info_numa, "the node of memory and CPUs, if -numa says that there is one"},
	{"pci", NULL, info_pci, "what is on the PCI buses"},
	{"pic", NULL, hmp_info_pic, "the interrupt controllers but local APICs"},
	{"qom-tree", NULL, hmp_info_qom_tree, "the objects, and of which types they are"},
	{"qtree", NULL, hmp_info_qtree, "the devices"},
	{"ramblock", NULL, info_ramblock, "the guest's memory, and where the guest has it"},
	{"registers", NULL, hmp_info_registers, "[-a | CPU]: the CPU's registers, or those of all"},
	{"snapshots", NULL, info_snapshots, "snapshots of the machine, in its disks"},
	{"status", NULL, info_status, "whether the machine runs"},
	{"tlb", NULL, hmp_info_tlb, "each page that the CPU has mapped"},
	{"tpm", NULL, info_tpm, "the TPM"},
	{"usb", NULL, hmp_info_usb, "what is plugged into USB ports"},
	{"usernet", NULL, info_usernet, "connections of networks in user space, and ports that are forwarded"},
	{"uuid", NULL, info_uuid, "the machine's UUID"},
	{"version", NULL, info_version, "this program's version"},
};

#define INFORMATION (sizeof(information) / sizeof(information[0]))

void hmp_info(struct hmp_line *line)
{
	size_t length = strcspn(line->rest, " \t\r\n");
	const struct hmp_command *found = hmp_find(information, INFORMATION, line->rest, length);
	unsigned i;

	if (found) {
		line->rest += length;
		line->rest += strspn(line->rest, " \t\r\n");
		found->run(line);
	} else if (length) {
		hmp_print(line->text, "info: nothing is known of '%.*s': 'info' lists what is\n", (int)length,
			  line->rest);
	} else {
		for (i = 0; i < INFORMATION; i++)
			hmp_print(line->text, "info %s -- %s\n", information[i].name, information[i].help);
	}
}
