/* A machine's life: made of its parts, run, ended. */
#include "machine/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/tpm/tpm_emulator.h"
#include "machine/e820.h"
#include "machine/machine_parts.h"
#include "machine/power_on_state.h"
#include "util/log.h"

/* Four pages that Intel's virtualization hardware needs, in the device hole below any firmware. */
#define IDENTITY_MAP_GPA E820_BACKEND_START
#define TSS_GPA		 (E820_BACKEND_START + 0x1000)

/* How often halted vCPUs of a flat guest are asked whether anything can still wake them. */
#define FIRST_IDLE_CHECK_NS 5000000ull
#define IDLE_CHECK_NS	    50000000ull

/* UEFI makes page tables for all that can be addressed, by 2 MiB: for 46 bits 256 MiB of them. Software
 * expects no less than 40 bits of a virtual machine, which is what QEMU's have. */
#define FIRMWARE_PHYSICAL_BITS 40
#define FIRMWARE_RAM_MAX       (512ull << 30)

static void idle_check(void *context)
{
	struct machine *machine = context;
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++)
		vcpu_force_exit(&machine->vcpus[i]);
}

/* interrupts_config.kick_boot_cpu. */
static void kick_boot_cpu(void *context)
{
	struct machine *machine = context;

	if (machine->vcpu_count)
		vcpu_force_exit(&machine->vcpus[0]);
}

static int create_vm(struct machine *machine, struct error *error)
{
	const struct interrupts_config interrupts = {
		.kind = machine->config.irqchip,
		.vm = &machine->vm,
		.loop = machine->config.loop,
		.pio = machine->pio,
		.mmio = machine->mmio,
		.kick_boot_cpu = kick_boot_cpu,
		.context = machine,
	};
	uint64_t identity_map = IDENTITY_MAP_GPA;
	unsigned i;
	int result;

	result = kvm_vm_create(&machine->vm, &machine->system, error);
	if (result < 0)
		return result;
	machine->has_vm = true;
	kvm_vm_own_memory(&machine->vm);
	kvm_vm_tell_writes(&machine->vm);
	/* Only Intel's hardware wants these; elsewhere they do nothing. */
	kvm_vm_ioctl(&machine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	kvm_vm_ioctl(&machine->vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA);
	result = interrupts_create(&machine->interrupts, &interrupts, error);
	if (result < 0)
		return result;
	result = ram_create(&machine->ram,
			    machine->config.board == BOARD_Q35 ? &ram_layout_q35 : &ram_layout_pc,
			    machine->config.ram_bytes, &machine->config.more_ram,
			    &machine->config.ram_backing, error);
	if (result < 0)
		return result;
	kvm_vm_share_memory(&machine->vm, machine->ram.base, machine->ram.mapped_bytes,
			    machine->ram.memfd);
	result = ram_attach(&machine->ram, &machine->vm, error);
	for (i = 0; result == 0 && i < machine->config.dimm_count; i++)
		result = ram_add_dimm(&machine->ram, &machine->config.dimms[i], &machine->vm, error);
	return result;
}

/* The last path that is opened, and then no paths any more. */
static int open_system(struct machine *machine, struct error *error)
{
	struct machine_config *config = &machine->config;
	int result;

	result = kvm_system_open(&machine->system, config->backend, &config->kvm_options, error);
	if (result < 0)
		return result;
	machine->has_system = true;
	return config->is_confined ? sandbox_enter(&config->sandbox, &machine->sandbox, error) : 0;
}

static int create_vcpus(struct machine *machine, struct error *error)
{
	struct cpu_spec cpu = machine->config.cpu;
	struct machine_vcpu *vcpu;
	unsigned i, limit, cpus = machine_most_cpus(&machine->config);
	const struct cpu_topology topology = cpu_topology_of(&machine->config.topology, cpus);
	uint64_t present = machine_first_cpus(&machine->config);
	int result;

	if (boot_firmware(machine->boot) && !cpu.physical_bits &&
	    ram_end(&machine->ram) <= FIRMWARE_RAM_MAX)
		cpu.physical_bits = FIRMWARE_PHYSICAL_BITS;

	limit = kvm_check_extension(&machine->system, KVM_CAP_MAX_VCPUS);
	if (limit && cpus > limit)
		return error_set(error, EINVAL, "%u CPUs are too many for %s, which can do %u",
				 cpus, machine->config.backend->name, limit);
	machine->vcpus = calloc(cpus, sizeof(*machine->vcpus));
	if (!machine->vcpus)
		return error_set_errno(error, ENOMEM, "cannot create the CPUs");
	for (i = 0; i < cpus; i++) {
		vcpu = &machine->vcpus[i];
		vcpu->index = i;
		result = kvm_vcpu_create(&vcpu->kvm, &machine->vm, cpu_topology_apic_id(&topology, i), error);
		if (result < 0)
			return result;
		machine->vcpu_count++;
		kvm_vcpu_ignore_signals(&vcpu->kvm);
		vcpu->is_absent = !(present >> i & 1);
		vcpu->pio = machine->pio;
		vcpu->mmio = machine->mmio;
		vcpu->interrupts = &machine->interrupts;
		vcpu->power = (struct power){machine_power_requested, machine};
		vcpu->host = (struct vcpu_host){machine_may_run, machine_debug, machine_report_idle,
						  machine};
		vcpu->reports_idle = boot_is_flat(machine->boot);
		vcpu->resets_at_triple_fault = machine->config.resets_at_triple_fault;
		result = cpuid_apply(&vcpu->kvm, &cpu, &topology, i,
		                     &machine->cpuid, &vcpu->cpuid, error);
		if (result < 0)
			return result;
		result = power_on_state_capture(&vcpu->power_on, &vcpu->kvm, error);
		if (result < 0)
			return result;
	}
	return 0;
}

/* board_config.unplugged. */
static void unplugged(void *context, unsigned slot)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->unplugged)
			observer->unplugged(observer->context, slot);
	}
}

/* board_config.tray_moved. */
static void tray_moved(void *context, unsigned disk, bool is_open)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->tray_moved)
			observer->tray_moved(observer->context, disk, is_open);
	}
}

/* board_config.balloon_listener. */
static void balloon_changed(void *context)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->balloon_changed)
			observer->balloon_changed(observer->context);
	}
}

/* board_config.filter_changed. */
static void filter_changed(void *context, const char *name)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->filter_changed)
			observer->filter_changed(observer->context, name);
	}
}

/* board_config.console_listener. */
static void port_changed(void *context, unsigned port, bool is_open)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->port_changed)
			observer->port_changed(observer->context, port, is_open);
	}
}

static int create_board(struct machine *machine, struct error *error)
{
	struct board_config board = {
		.kind = machine->config.board,
		.pio = machine->pio,
		.mmio = machine->mmio,
		.loop = machine->config.loop,
		.ram = &machine->ram,
		.cpus = machine->config.cpus,
		.topology = machine->config.topology,
		.max_cpus = machine->config.max_cpus,
		.present_cpus = machine_first_cpus(&machine->config),
		.physical_bits = machine->cpuid.physical_bits,
		.irq = interrupts_line(&machine->interrupts),
		.msi = interrupts_msi_target(&machine->interrupts),
		.power = {machine_power_requested, machine},
		.streams = machine->config.streams,
		.smbios = &machine->config.smbios,
		.files = machine->config.files,
		.file_count = machine->config.file_count,
		.has_no_sleep = machine->config.has_no_sleep,
		.has_no_i8042 = machine->config.has_no_i8042,
		.firmware_has_menu = machine->config.firmware_has_menu,
		.boot_menu_ms = machine->config.boot_menu_ms,
		.clock_offset_s = machine->config.clock_offset_s,
		.firmware_prints = !machine->config.firmware_is_silent,
		.display = machine->config.display,
		.display_place = machine->config.display_place,
		.gpu = machine->config.gpu,
		.print_port = machine->config.print_port,
		.debug_exit_port = machine->config.debug_exit_port,
		.vm = &machine->vm,
		.option_count = machine->config.device_count,
		.disks = machine->config.disks,
		.disk_count = machine->config.disk_count,
		.controllers = machine->config.controllers,
		.controller_count = machine->config.controller_count,
		.nets = machine->config.nets,
		.net_count = machine->config.net_count,
		.shares = machine->config.shares,
		.share_count = machine->config.share_count,
		.vsock = &machine->config.vsock,
		.usb = machine->config.usb,
		.tpm = &machine->config.tpm,
		.ports = machine->config.ports,
		.port_count = machine->config.port_count,
		.console_place = machine->config.console_place,
		.console_interface = machine->config.console_interface,
		.console_rings = machine->config.console_rings,
		.root_port_count = machine->config.root_port_count,
	};
	unsigned i;

	for (i = 0; i < machine->config.disk_count; i++)
		machine_note_disk(machine, machine->config.disks[i].block);
	board.unplugged = unplugged;
	board.unplug_context = machine;
	board.tray_moved = tray_moved;
	board.tray_context = machine;
	board.cpu_ejected = machine_cpu_ejected;
	board.cpu_reported = machine_cpu_reported;
	board.cpu_context = machine;
	board.memory_slots = machine->config.more_ram.slots;
	board.memory_may_go = machine_memory_may_go;
	board.memory_ejected = machine_memory_ejected;
	board.memory_reported = machine_memory_reported;
	board.memory_context = machine;
	board.filter_changed = filter_changed;
	board.filter_context = machine;
	board.balloon_listener = (struct virtio_balloon_listener){balloon_changed, machine};
	board.console_listener = (struct virtio_console_listener){port_changed, machine};
	board.firmware = boot_firmware(machine->boot);
	memcpy(board.options, machine->config.devices, sizeof(board.options));
	memcpy(board.root_ports, machine->config.root_ports, sizeof(board.root_ports));
	machine->board = board_create(&board, error);
	if (!machine->board)
		return -EINVAL;
	for (i = 0; i < machine->config.dimm_count; i++)
		board_fill_memory(machine->board, machine->config.dimms[i].slot, machine->config.dimms[i].gpa,
				  machine->config.dimms[i].size_bytes, false);
	return 0;
}

static int create_requests(struct machine *machine, struct error *error)
{
	int result = event_signal_init(&machine->request_signal, machine->config.loop, machine_request_ready, machine);

	if (result == 0)
		result = event_timer_init(&machine->idle_timer, machine->config.loop, idle_check,
					  machine);
	if (result == 0)
		result = machine_watch_failures(machine);
	if (result < 0)
		return error_set_errno(error, -result, "cannot create the machine");
	return 0;
}

/* Disks, links, shares and sockets that no device has taken. */
static void close_unused(struct machine_config *config)
{
	unsigned i;

	for (i = 0; i < config->disk_count; i++)
		block_close(config->disks[i].block, NULL);
	for (i = 0; i < config->net_count; i++)
		board_net_close(&config->nets[i]);
	for (i = 0; i < config->share_count; i++)
		share_close(&config->shares[i].share);
	board_vsock_close(&config->vsock);
	tpm_emulator_destroy(config->tpm.emulator);
	config->tpm.emulator = NULL;
}

struct machine *machine_create(const struct machine_config *config, struct error *error)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	if (!machine) {
		struct machine_config unused = *config;

		close_unused(&unused);
		error_set_errno(error, ENOMEM, "cannot create the machine");
		return NULL;
	}
	machine->config = *config;
	machine->pauses = config->pauses;
	machine->spawner = -1;
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->spawner_lock, NULL);
	pthread_cond_init(&machine->state_changed, NULL);
	machine->pio = pio_bus_create();
	machine->mmio = mmio_bus_create();
	if (!machine->pio || !machine->mmio) {
		error_set_errno(error, ENOMEM, "cannot create the machine");
		goto fail;
	}
	machine_watch_lines(machine);
	/* Each stub is a copy of the spawner, which is one of this process: before there are large files in it. */
	machine_start_spawner(machine);
	machine->boot = boot_open(&config->boot, config->ram_bytes, error);
	if (!machine->boot)
		goto fail;
	log_info("booting a %s", boot_description(machine->boot));
	if (open_system(machine, error) < 0 || create_requests(machine, error) < 0 ||
	    create_vm(machine, error) < 0 ||
	    create_vcpus(machine, error) < 0 || create_board(machine, error) < 0 ||
	    machine_reset(machine, error) < 0 || machine_load_state(machine, error) < 0)
		goto fail;
	return machine;

fail:
	machine_destroy(machine);
	return NULL;
}

void machine_destroy(struct machine *machine)
{
	unsigned i;

	if (!machine)
		return;
	machine_unwatch_lines(machine);
	board_destroy(machine->board);
	close_unused(&machine->config);
	for (i = 0; i < machine->vcpu_count; i++) {
		power_on_state_free(&machine->vcpus[i].power_on);
		free(machine->vcpus[i].cpuid);
		free(machine->vcpus[i].made_cpuid);
		kvm_vcpu_close(&machine->vcpus[i].kvm);
	}
	free(machine->vcpus);
	interrupts_destroy(&machine->interrupts);
	if (machine->has_vm)
		kvm_vm_close(&machine->vm);
	if (machine->has_system)
		kvm_system_close(&machine->system);
	if (machine->spawner >= 0)
		close(machine->spawner);
	ram_destroy(&machine->ram);
	event_timer_destroy(&machine->idle_timer);
	event_signal_destroy(&machine->request_signal);
	event_signal_destroy(&machine->failure_signal);
	boot_close(machine->boot);
	mmio_bus_destroy(machine->mmio);
	pio_bus_destroy(machine->pio);
	pthread_cond_destroy(&machine->state_changed);
	pthread_mutex_destroy(&machine->spawner_lock);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}

static int lock_sandbox(struct machine *machine, struct error *error)
{
	struct sandbox_report *report = &machine->sandbox;
	int result = sandbox_lock(&machine->config.sandbox, report, error);
	unsigned i;

	for (i = 0; i < SANDBOX_LAYERS; i++)
		log_info("sandbox: %s: %s%s", sandbox_layer_name(i),
			 report->layers[i].holds ? "" : "no: ", report->layers[i].how);
	return result;
}

int machine_run(struct machine *machine, int *status, struct error *error)
{
	unsigned i;
	int result = 0;

	/* vCPU threads wait in may_run until all are there. */
	for (i = 0; i < machine->vcpu_count && result == 0; i++)
		result = vcpu_start(&machine->vcpus[i], error);
	if (result == 0 && machine->config.is_confined)
		result = lock_sandbox(machine, error);
	if (result == 0) {
		machine_settle(machine);
		if (!(machine->config.pauses & MACHINE_PAUSE_INCOMING))
			board_release(machine->board);
		if (boot_is_flat(machine->boot))
			event_timer_set(&machine->idle_timer, monotonic_ns() + FIRST_IDLE_CHECK_NS,
					IDLE_CHECK_NS);
		result = event_loop_run(machine->config.loop);
		if (result < 0)
			error_set_errno(error, -result, "the I/O loop failed");
	}
	machine_set_state(machine, MACHINE_ENDED);
	for (i = 0; i < machine->vcpu_count; i++) {
		vcpu_force_exit(&machine->vcpus[i]);
		vcpu_join(&machine->vcpus[i]);
	}
	*status = machine->request_status;
	return result;
}
