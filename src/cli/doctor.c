/*
 * `kvik doctor`: what this host offers to a virtual machine, as a table for people or as JSON for
 * scripts. Everything is measured or read once into struct host_report; printing decides nothing.
 */
#include <cpuid.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/accel.h"
#include "cli/commands.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawner.h"
#include "util/log.h"

static const char usage[] =
	"Usage: kvik doctor [--json]\n"
	"\n"
	"Shows /dev/kvm and how fast it is, the CPU's features, memory, which backend\n"
	"kvik would take and why, and which layers of the sandbox this host allows.\n";

/* A CPU feature that matters to guests or to the engine; where CPUID shows it. */
struct feature {
	const char *name;
	uint32_t leaf, subleaf;
	enum { IN_EAX, IN_EBX, IN_ECX, IN_EDX } where;
	unsigned bit;
};

static const struct feature features[] = {
	{"vmx", 1, 0, IN_ECX, 5},	     {"svm", 0x80000001, 0, IN_ECX, 2},
	{"sse4.2", 1, 0, IN_ECX, 20},	     {"popcnt", 1, 0, IN_ECX, 23},
	{"aes", 1, 0, IN_ECX, 25},	     {"xsave", 1, 0, IN_ECX, 26},
	{"avx", 1, 0, IN_ECX, 28},	     {"f16c", 1, 0, IN_ECX, 29},
	{"rdrand", 1, 0, IN_ECX, 30},	     {"hypervisor", 1, 0, IN_ECX, 31},
	{"fsgsbase", 7, 0, IN_EBX, 0},	     {"bmi1", 7, 0, IN_EBX, 3},
	{"avx2", 7, 0, IN_EBX, 5},	     {"bmi2", 7, 0, IN_EBX, 8},
	{"avx512f", 7, 0, IN_EBX, 16},	     {"adx", 7, 0, IN_EBX, 19},
	{"sha", 7, 0, IN_EBX, 29},	     {"fma", 1, 0, IN_ECX, 12},
	{"movbe", 1, 0, IN_ECX, 22},	     {"invtsc", 0x80000007, 0, IN_EDX, 8},
};

#define FEATURE_COUNT (sizeof(features) / sizeof(features[0]))

struct host_report {
	struct utsname system;
	char cpu_model[64];
	long cpus;
	bool has_feature[FEATURE_COUNT];
	uint64_t memory_bytes, free_bytes;
	struct accel_probe kvm;
	char kvm_access[128]; /* empty when it can be opened */
	bool engine_works;
	char engine_reason[256];
	bool runs_directly;
	char direct_reason[256]; /* why it does not */
	const char *choice;
	struct sandbox_report sandbox;
};

static void read_cpu(struct host_report *report)
{
	uint32_t registers[4], brand[12];
	unsigned i;

	for (i = 0; i < 3; i++)
		__get_cpuid(0x80000002 + i, &brand[i * 4], &brand[i * 4 + 1], &brand[i * 4 + 2],
			    &brand[i * 4 + 3]);
	memcpy(report->cpu_model, brand, sizeof(brand));
	for (i = 0; i < FEATURE_COUNT; i++) {
		memset(registers, 0, sizeof(registers));
		__get_cpuid_count(features[i].leaf, features[i].subleaf, &registers[0],
				  &registers[1], &registers[2], &registers[3]);
		report->has_feature[i] = registers[features[i].where] >> features[i].bit & 1;
	}
	report->cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

static void read_memory(struct host_report *report)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return;
	report->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
	report->free_bytes = ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
}

static int spawn_stub(void *context, struct stub *stub)
{
	return spawner_spawn(*(int *)context, stub);
}

static int kill_stub(void *context, uint32_t id)
{
	return spawner_kill(*(int *)context, id);
}

/* While this process has one thread: the spawner is forked. */
static void probe_direct(struct host_report *report)
{
	int spawner, result;
	const struct stub_source stubs = {spawn_stub, kill_stub, &spawner, SPAWNER_STUBS};
	struct error error;

	spawner = spawner_start(kvm_backend_direct.stub_function(), STUB_LOCKS, &error);
	if (spawner < 0) {
		snprintf(report->direct_reason, sizeof(report->direct_reason), "%.255s",
			 error.message);
		return;
	}
	result = kvm_backend_direct.probe_stubs(&stubs);
	report->runs_directly = result == 0;
	if (result == -ENOTSUP)
		snprintf(report->direct_reason, sizeof(report->direct_reason),
			 "this CPU or kernel lacks XSAVE");
	else if (result < 0)
		snprintf(report->direct_reason, sizeof(report->direct_reason),
			 "no process that runs guest code can be made: %s", strerror(-result));
	close(spawner);
}

static void examine(struct host_report *report)
{
	const struct sandbox_config confinement = {.uses_kvm = true};
	struct kvm_system engine;
	struct error error;

	memset(report, 0, sizeof(*report));
	probe_direct(report);
	uname(&report->system);
	read_cpu(report);
	read_memory(report);
	accel_probe_kvm(&report->kvm);
	if (report->kvm.is_present && access("/dev/kvm", R_OK | W_OK) < 0)
		snprintf(report->kvm_access, sizeof(report->kvm_access), "%s%s", strerror(errno),
			 errno == EACCES ? ": is this user in the group kvm?" : "");
	report->engine_works = kvm_system_open(&engine, &kvm_backend_engine, NULL, &error) == 0;
	if (report->engine_works)
		kvm_system_close(&engine);
	else
		snprintf(report->engine_reason, sizeof(report->engine_reason), "%.255s",
			 error.message);
	report->choice = report->kvm.is_usable && report->kvm.is_hardware_speed ? "kvm" : "engine";
	if (sandbox_probe(&confinement, &report->sandbox) < 0)
		memset(&report->sandbox, 0, sizeof(report->sandbox));
}

static void print_table(const struct host_report *report)
{
	unsigned i;

	printf("kvik        %s\n", KVIK_VERSION);
	printf("host        %s %s, %s\n", report->system.sysname, report->system.release,
	       report->system.machine);
	printf("cpu         %s, %ld online\n", report->cpu_model, report->cpus);
	printf("features   ");
	for (i = 0; i < FEATURE_COUNT; i++)
		if (report->has_feature[i])
			printf(" %s", features[i].name);
	printf("\nmemory      %.1f GiB, %.1f GiB free\n", report->memory_bytes / 1073741824.0,
	       report->free_bytes / 1073741824.0);
	printf("/dev/kvm    %s", !report->kvm.is_present  ? "missing"
				  : report->kvm_access[0] ? "no access"
				  : !report->kvm.is_usable ? "not usable"
							   : "usable");
	if (report->kvm_access[0])
		printf(" (%s)", report->kvm_access);
	printf("\nkvm speed   ");
	if (report->kvm.million_instructions_per_second > 0)
		printf("%.0f million instructions a second%s\n",
		       report->kvm.million_instructions_per_second,
		       report->kvm.is_hardware_speed ? "" : " (emulated, or on an emulation)");
	else
		puts("-");
	printf("engine      %s%s\n", report->engine_works ? "works" : "not usable: ",
	       report->engine_reason);
	printf("direct      %s%s\n", report->runs_directly ? "works" : "not usable: ",
	       report->direct_reason);
	for (i = 0; i < SANDBOX_LAYERS; i++)
		printf("%-12s%s: %s%s\n", i ? "" : "sandbox", sandbox_layer_name(i),
		       report->sandbox.layers[i].holds ? "" : "no: ",
		       report->sandbox.layers[i].how);
	printf("kvik takes  %s: %s\n", report->choice, report->kvm.reason);
}

static json_t *sandbox_json(const struct sandbox_report *report)
{
	json_t *layers = json_object();
	unsigned i;

	for (i = 0; i < SANDBOX_LAYERS; i++)
		json_object_set_new(layers, sandbox_layer_name(i),
				    json_pack("{s:b, s:s}", "holds", report->layers[i].holds, "how",
					      report->layers[i].how));
	return layers;
}

static json_t *report_json(const struct host_report *report)
{
	const struct accel_probe *kvm = &report->kvm;
	json_t *names = json_array(), *host, *cpu, *memory, *kvm_json, *engine, *choice;
	unsigned i;

	for (i = 0; i < FEATURE_COUNT; i++)
		if (report->has_feature[i])
			json_array_append_new(names, json_string(features[i].name));
	host = json_pack("{s:s, s:s, s:s}", "system", report->system.sysname, "release",
			 report->system.release, "machine", report->system.machine);
	cpu = json_pack("{s:s, s:I, s:o}", "model", report->cpu_model, "online",
			(json_int_t)report->cpus, "features", names);
	memory = json_pack("{s:I, s:I}", "total_bytes", (json_int_t)report->memory_bytes,
			   "free_bytes", (json_int_t)report->free_bytes);
	kvm_json = json_pack("{s:b, s:b, s:b, s:f, s:s}", "present", kvm->is_present, "usable",
			     kvm->is_usable, "hardware_speed", kvm->is_hardware_speed,
			     "million_instructions_per_second",
			     kvm->million_instructions_per_second, "access_error",
			     report->kvm_access);
	engine = json_pack("{s:b, s:s, s:b, s:s}", "usable", report->engine_works, "reason",
			   report->engine_reason, "direct", report->runs_directly, "direct_reason",
			   report->direct_reason);
	choice = json_pack("{s:s, s:s}", "backend", report->choice, "reason", kvm->reason);
	/* Takes all of them over; NULL when one is. */
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", KVIK_VERSION, "host",
			 host, "cpu", cpu, "memory", memory, "kvm", kvm_json, "engine", engine,
			 "choice", choice, "sandbox", sandbox_json(&report->sandbox));
}

static int print_json(const struct host_report *report)
{
	json_t *json = report_json(report);
	int result;

	if (!json) {
		log_error("doctor: out of memory");
		return EXIT_ERROR;
	}
	result = json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return result < 0 ? EXIT_ERROR : EXIT_OK;
}

int command_doctor(int count, char **arguments)
{
	struct host_report report;
	bool wants_json = false;
	int i, status = EXIT_OK;

	for (i = 0; i < count; i++) {
		if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) {
			fputs(usage, stdout);
			return EXIT_OK;
		}
		if (strcmp(arguments[i], "--json") == 0) {
			wants_json = true;
			continue;
		}
		log_error("doctor: unknown %s '%s' (see kvik doctor --help)",
			  arguments[i][0] == '-' ? "option" : "argument", arguments[i]);
		return EXIT_USAGE;
	}
	examine(&report);
	if (wants_json)
		status = print_json(&report);
	else
		print_table(&report);
	/* A script that asked and got nothing must know (a full disk, a closed pipe). */
	if (fflush(stdout) != 0) {
		log_error("doctor: cannot write to standard output: %s", strerror(errno));
		status = EXIT_ERROR;
	}
	return status;
}
