#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/virtio/balloon.h"
#include "machine/cpuid.h"
#include "machine/e820.h"
#include "machine/inspect.h"
#include "machine/power_on_state.h"
#include "machine/snapshot.h"
#include "machine/vcpu.h"
#include "sandbox/spawner.h"
#include "util/log.h"

/* Four pages that Intel's virtualization hardware needs, in the device hole below any firmware. */
#define IDENTITY_MAP_GPA E820_BACKEND_START
#define TSS_GPA		 (E820_BACKEND_START + 0x1000)

/* How often halted vCPUs of a flat guest are asked whether anything can still wake them. */
#define FIRST_IDLE_CHECK_NS 5000000ull
#define IDLE_CHECK_NS	    50000000ull

#define MSR_MISC_ENABLE	     0x1a0
#define MISC_ENABLE_FAST_STR 0x1
#define MSR_HWCR	     0xc0010015 /* AMD PPR: the TSC counts at the P0 frequency */
#define HWCR_TSC_FREQ_SEL (1u << 24)
#define MSR_MTRR_DEF_TYPE    0x2ff
#define MTRR_ENABLED	     0x800
#define MTRR_WRITE_BACK	     6
#define MSR_MTRR_PHYS_BASE0  0x200
#define MSR_MTRR_PHYS_MASK0  0x201
#define MTRR_VALID	     0x800
#define DEVICE_HOLE_BYTES    (RAM_HIGH_START - RAM_LOW_LIMIT)

/* UEFI makes page tables for all that can be addressed, by 2 MiB: for 46 bits 256 MiB of them. Software
 * expects no less than 40 bits of a virtual machine, which is what QEMU's have. */
#define FIRMWARE_PHYSICAL_BITS 40
#define FIRMWARE_RAM_MAX       (512ull << 30)

enum machine_state { MACHINE_PAUSED, MACHINE_RUNNING, MACHINE_ENDED };

struct machine {
	struct machine_config config;
	struct kvm_system system;
	struct kvm_vm vm;
	bool has_system, has_vm;
	struct ram ram;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct board *board;
	struct boot *boot;
	struct interrupts interrupts;
	struct sandbox_report sandbox;
	int spawner; /* of stubs; -1: none. One thread at a time: */
	pthread_mutex_t spawner_lock;
	struct stub_source stubs;
	struct vcpu *vcpus; /* config.cpus of them; created in order */
	unsigned vcpu_count;
	struct cpuid_facts cpuid;
	struct event_source request_source; /* an eventfd: a request waits, or all have parked */
	struct event_timer idle_timer;
	struct machine_observer *observers; /* the I/O thread's, and what they were told: */
	bool told_paused;
	enum machine_cause last_cause;
	struct machine_debugger debugger; /* `met` NULL: none */
	struct char_watch line_ready[3]; /* wakes vCPUs that wait in hold_while_overfull */
	uint64_t resets;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t state_changed;
	enum machine_state state; /* also read atomically without the lock, as a hint */
	unsigned parked;	  /* vCPU threads that wait in machine_may_run */
	bool has_request, is_by_user;
	enum power_request request;
	int request_status;
	bool is_idle[MACHINE_MAX_CPUS];
	bool is_quitting; /* the user's wish: wins over the guest's requests */
	bool wants_save;
	unsigned pauses; /* enum machine_pause */
	bool has_gone_on; /* nobody wanted a pause for a moment, although `settle` didn't see it */
};

static void wake_io_thread(struct machine *machine)
{
	uint64_t one = 1;

	/* A full counter wakes it as well. */
	if (write(machine->request_source.fd, &one, sizeof(one)) < 0)
		return;
}

/* Have all vCPUs park; the I/O thread finds out what for. With the lock held, which is released. */
static void park_and_unlock(struct machine *machine)
{
	unsigned i;

	__atomic_store_n(&machine->state, MACHINE_PAUSED, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
	for (i = 0; i < machine->vcpu_count; i++)
		vcpu_force_exit(&machine->vcpus[i]);
	wake_io_thread(machine);
}

/* Stop the guest for a request. The first one counts, except that the user's end overrides. */
static void post_request(struct machine *machine, enum power_request what, int status, bool is_by_user)
{
	bool is_quit = is_by_user && what == POWER_EXIT;

	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_ENDED || machine->is_quitting ||
	    (machine->has_request && !is_quit)) {
		pthread_mutex_unlock(&machine->lock);
		return;
	}
	machine->has_request = true;
	machine->is_by_user = is_by_user;
	machine->request = what;
	machine->request_status = status;
	machine->is_quitting = is_quit;
	park_and_unlock(machine);
}

static void power_requested(void *context, enum power_request what, int status)
{
	post_request(context, what, status, false);
}

void machine_quit(struct machine *machine, int status)
{
	post_request(machine, POWER_EXIT, status, true);
}

void machine_save(struct machine *machine)
{
	if (machine->config.save_fd < 0) {
		log_warning("nowhere to save the machine: there is no --save FILE");
		return;
	}
	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_ENDED || machine->is_quitting) {
		pthread_mutex_unlock(&machine->lock);
		return;
	}
	machine->wants_save = true;
	park_and_unlock(machine);
}

void machine_ask_reset(struct machine *machine)
{
	post_request(machine, POWER_RESET, 0, true);
}

void machine_pause(struct machine *machine, enum machine_pause why)
{
	pthread_mutex_lock(&machine->lock);
	machine->pauses |= why;
	if (machine->state == MACHINE_ENDED)
		pthread_mutex_unlock(&machine->lock);
	else
		park_and_unlock(machine);
}

void machine_resume(struct machine *machine, enum machine_pause why)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->pauses == (unsigned)why)
		machine->has_gone_on = true;
	machine->pauses &= ~(unsigned)why;
	pthread_mutex_unlock(&machine->lock);
	wake_io_thread(machine);
}

/* The streams that a guest writes to. Returns how many. */
static unsigned list_streams(const struct machine *machine, struct char_stream *list[3])
{
	const struct board_streams *streams = &machine->config.streams;
	unsigned count = 0;

	list[count++] = streams->serial;
	if (streams->debug_console)
		list[count++] = streams->debug_console;
	if (streams->print)
		list[count++] = streams->print;
	return count;
}

static bool any_is_overfull(const struct machine *machine)
{
	struct char_stream *streams[3];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++)
		if (char_is_overfull(streams[i]))
			return true;
	return false;
}

/*
 * A guest may write to a slow line faster than the host reads, and not look or not be able to see
 * that the line isn't ready. Then the vCPU that writes waits here, where no lock of a device is held
 * and where requests to the machine find it.
 */
static void hold_while_overfull(struct machine *machine, const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;

	if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
	    !any_is_overfull(machine))
		return;
	pthread_mutex_lock(&machine->lock);
	while (machine->state == MACHINE_RUNNING && any_is_overfull(machine))
		pthread_cond_wait(&machine->state_changed, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

static void line_ready(void *context)
{
	struct machine *machine = context;

	pthread_mutex_lock(&machine->lock);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

static void watch_lines(struct machine *machine)
{
	struct char_stream *streams[3];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++) {
		machine->line_ready[i] = (struct char_watch){line_ready, machine, NULL};
		char_watch(streams[i], &machine->line_ready[i]);
	}
}

static void unwatch_lines(struct machine *machine)
{
	struct char_stream *streams[3];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++)
		char_unwatch(streams[i], &machine->line_ready[i]);
}

/* vcpu_host.may_run. */
static bool machine_may_run(void *context, struct vcpu *vcpu)
{
	struct machine *machine = context;
	bool may_run;

	hold_while_overfull(machine, vcpu);
	if (__atomic_load_n(&machine->state, __ATOMIC_SEQ_CST) == MACHINE_RUNNING &&
	    !__atomic_load_n(&vcpu->is_held, __ATOMIC_SEQ_CST))
		return true;
	vcpu_complete_access(vcpu);
	pthread_mutex_lock(&machine->lock);
	machine->parked++;
	if (machine->parked == machine->vcpu_count)
		wake_io_thread(machine);
	while (machine->state == MACHINE_PAUSED ||
	       (machine->state == MACHINE_RUNNING && vcpu->is_held))
		pthread_cond_wait(&machine->state_changed, &machine->lock);
	machine->parked--;
	may_run = machine->state == MACHINE_RUNNING;
	pthread_mutex_unlock(&machine->lock);
	return may_run;
}

/* vcpu_host.report_idle. */
static void machine_report_idle(void *context, unsigned id, bool is_idle)
{
	struct machine *machine = context;
	bool all_idle = true;
	unsigned i;

	pthread_mutex_lock(&machine->lock);
	machine->is_idle[id] = is_idle;
	for (i = 0; i < machine->vcpu_count; i++)
		all_idle = all_idle && machine->is_idle[i];
	pthread_mutex_unlock(&machine->lock);
	if (all_idle)
		post_request(machine, POWER_OFF, 0, false);
}

/* vcpu_host.debug. */
static void machine_debug(void *context, struct vcpu *vcpu)
{
	struct machine *machine = context;

	if (machine->debugger.met)
		machine->debugger.met(machine->debugger.context, vcpu->kvm.id,
				      &vcpu->kvm.run->debug.arch);
}

static void idle_check(void *context)
{
	struct machine *machine = context;
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++)
		vcpu_force_exit(&machine->vcpus[i]);
}

static void set_state(struct machine *machine, enum machine_state state)
{
	pthread_mutex_lock(&machine->lock);
	__atomic_store_n(&machine->state, state, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

/*
 * The MSRs that a CPU has at power-on, and then, without any, firmware's: cacheable RAM, uncached device
 * hole (SDM vol. 3 §12.11). All CPUs the same.
 */
static void set_first_msrs(const struct kvm_vcpu *vcpu, const struct cpuid_facts *cpuid,
			   bool has_firmware)
{
	const uint64_t hole_mask = ((1ull << cpuid->physical_bits) - 1) & ~(DEVICE_HOLE_BYTES - 1);
	const struct kvm_msr_entry entries[] = {
		{.index = cpuid->is_amd ? MSR_HWCR : MSR_MISC_ENABLE,
		 .data = cpuid->is_amd ? HWCR_TSC_FREQ_SEL : MISC_ENABLE_FAST_STR},
		{.index = MSR_MTRR_PHYS_BASE0, .data = RAM_LOW_LIMIT},
		{.index = MSR_MTRR_PHYS_MASK0, .data = hole_mask | MTRR_VALID},
		{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED | MTRR_WRITE_BACK},
	};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one;
	unsigned i, count = has_firmware ? 1 : sizeof(entries) / sizeof(entries[0]);

	for (i = 0; i < count; i++) {
		memset(&one, 0, sizeof(one));
		one.header.nmsrs = 1;
		one.entry = entries[i];
		if (kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &one) != 1)
			log_guest_at(LOG_DEBUG, "CPU %u: MSR 0x%x cannot be set", vcpu->id,
				     one.entry.index);
	}
}

/* Power-on or reset: everything to its first state, the boot image into RAM. vCPUs are parked. */
static int machine_reset(struct machine *machine, struct error *error)
{
	struct entry entry = {0};
	bool has_firmware = boot_firmware(machine->boot);
	uint64_t rsdp_gpa;
	unsigned i;
	int result;

	board_reset(machine->board);
	result = interrupts_reset(&machine->interrupts, error);
	if (result < 0)
		return result;
	for (i = 0; i < machine->vcpu_count; i++) {
		result = power_on_state_restore(&machine->vcpus[i].power_on, &machine->vcpus[i].kvm,
						error);
		if (result < 0)
			return result;
		set_first_msrs(&machine->vcpus[i].kvm, &machine->cpuid, has_firmware);
		machine->is_idle[i] = false;
	}
	/* RAM stays as it is, and the boot CPU begins at its reset vector. */
	if (has_firmware)
		return 0;
	result = board_write_tables(machine->board, &rsdp_gpa, error);
	if (result < 0)
		return result;
	result = boot_load(machine->boot, &machine->ram, rsdp_gpa, &entry, error);
	if (result < 0)
		return result;
	return entry_apply(&entry, &machine->ram.memory, &machine->vcpus[0].kvm, error);
}

static struct snapshot_parts snapshot_parts(struct machine *machine)
{
	return (struct snapshot_parts){
		.vm = &machine->vm,
		.vcpus = machine->vcpus,
		.cpus = machine->vcpu_count,
		.ram = &machine->ram,
		.board = machine->board,
		.board_kind = machine->config.board,
		.irqchip_kind = machine->config.irqchip,
		.interrupts = &machine->interrupts,
	};
}

/* The vCPUs are parked. Whether it worked. */
static bool save_now(struct machine *machine)
{
	struct snapshot_parts parts = snapshot_parts(machine);
	struct error error;
	int result;

	board_hold(machine->board);
	result = snapshot_save(&parts, machine->config.save_fd, &error);
	if (result < 0)
		log_error("%s", error.message);
	else
		log_info("saved the machine");
	if (result < 0 || !machine->config.ends_when_saved)
		board_release(machine->board);
	return result == 0;
}

static void finish(struct machine *machine, int status)
{
	struct machine_observer *observer, *next;

	machine->request_status = status;
	set_state(machine, MACHINE_ENDED);
	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->ended)
			observer->ended(observer->context, status);
	}
	event_loop_stop(machine->config.loop);
}

static void tell(struct machine *machine, size_t what)
{
	struct machine_observer *observer, *next;
	void (*function)(void *context);

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		function = *(void (**)(void *))((char *)observer + what);
		if (function)
			function(observer->context);
	}
}

#define TELL(machine, what) tell(machine, offsetof(struct machine_observer, what))

/* Nothing is to be carried out: run, unless somebody wants the machine to stand still. */
static void settle(struct machine *machine)
{
	bool was_told = machine->told_paused, has_gone_on;

	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_PAUSED && !machine->has_request && !machine->wants_save) {
		machine->told_paused = machine->pauses && machine->parked == machine->vcpu_count;
		if (!machine->pauses) {
			__atomic_store_n(&machine->state, MACHINE_RUNNING, __ATOMIC_SEQ_CST);
			pthread_cond_broadcast(&machine->state_changed);
		}
	}
	has_gone_on = machine->has_gone_on || !machine->told_paused;
	machine->has_gone_on = false;
	pthread_mutex_unlock(&machine->lock);
	if (was_told && has_gone_on)
		TELL(machine, resumed);
	if (machine->told_paused && (!was_told || has_gone_on))
		TELL(machine, paused);
}

/* The guest is off, for good or until the user resets the machine. */
static void power_off(struct machine *machine, enum machine_cause cause, int status)
{
	machine->last_cause = cause;
	TELL(machine, ending);
	if (!machine->config.stays_when_off || cause == MACHINE_GUEST_CRASH) {
		finish(machine, status);
		return;
	}
	pthread_mutex_lock(&machine->lock);
	machine->pauses |= MACHINE_PAUSE_OFF;
	pthread_mutex_unlock(&machine->lock);
}

/* Everything to its first state, by the guest's wish or the user's. */
static void start_anew(struct machine *machine, enum machine_cause cause)
{
	struct error error;

	if (machine->config.ends_at_reset) {
		power_off(machine, cause, MACHINE_STATUS_OFF);
		return;
	}
	log_guest("the %s reset the machine", cause == MACHINE_BY_USER ? "user" : "guest");
	machine->resets++;
	machine->last_cause = cause;
	TELL(machine, resetting);
	if (machine_reset(machine, &error) < 0) {
		log_error("cannot reset the machine: %s", error.message);
		finish(machine, MACHINE_STATUS_ERROR);
		return;
	}
	/* A machine that was off doesn't start by itself. */
	pthread_mutex_lock(&machine->lock);
	if (machine->pauses & MACHINE_PAUSE_OFF)
		machine->pauses = (machine->pauses & ~MACHINE_PAUSE_OFF) | MACHINE_PAUSE_USER;
	pthread_mutex_unlock(&machine->lock);
	TELL(machine, was_reset);
}

/* Whether a debugger wants to look at what is left of the guest. */
static bool keep_crashed(struct machine *machine)
{
	bool is_kept = false;
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++) {
		if (!machine->vcpus[i].has_crashed)
			continue;
		machine->vcpus[i].has_crashed = false;
		if (machine->debugger.crashed)
			is_kept |= machine->debugger.crashed(machine->debugger.context, i);
	}
	return is_kept;
}

/* I/O thread: carry out a request once every vCPU has parked. */
static void request_ready(void *context)
{
	struct machine *machine = context;
	enum power_request what;
	uint64_t wakes;
	int status;
	bool is_ready, has_request, is_by_user, wants_save;

	if (read(machine->request_source.fd, &wakes, sizeof(wakes)) < 0)
		return;
	pthread_mutex_lock(&machine->lock);
	is_ready = machine->state == MACHINE_PAUSED && machine->parked == machine->vcpu_count;
	has_request = machine->has_request;
	is_by_user = machine->is_by_user;
	wants_save = machine->wants_save;
	what = machine->request;
	status = machine->request_status;
	if (is_ready)
		machine->has_request = machine->wants_save = false;
	pthread_mutex_unlock(&machine->lock);
	if (!is_ready)
		return;
	/* What the guest asked for comes first: a machine that ends or begins anew isn't saved. */
	if (!has_request) {
		if (wants_save && save_now(machine) && machine->config.ends_when_saved)
			finish(machine, MACHINE_STATUS_OFF);
	} else {
		switch (what) {
		case POWER_OFF: power_off(machine, MACHINE_GUEST_SHUTDOWN, MACHINE_STATUS_OFF); break;
		case POWER_EXIT: finish(machine, status); break;
		case POWER_CRASH:
			if (!keep_crashed(machine))
				power_off(machine, MACHINE_GUEST_CRASH, MACHINE_STATUS_CRASHED);
			break;
		case POWER_RESET:
			start_anew(machine, is_by_user ? MACHINE_BY_USER : MACHINE_GUEST_RESET);
			break;
		}
	}
	settle(machine);
}

void machine_observe(struct machine *machine, struct machine_observer *observer)
{
	observer->next = machine->observers;
	machine->observers = observer;
}

void machine_unobserve(struct machine *machine, struct machine_observer *observer)
{
	struct machine_observer **at = &machine->observers;

	while (*at && *at != observer)
		at = &(*at)->next;
	if (*at)
		*at = observer->next;
}

void machine_set_debugger(struct machine *machine, const struct machine_debugger *debugger)
{
	machine->debugger = debugger ? *debugger : (struct machine_debugger){0};
}

unsigned machine_pauses(const struct machine *machine)
{
	return __atomic_load_n(&machine->pauses, __ATOMIC_RELAXED);
}

enum machine_cause machine_last_cause(const struct machine *machine)
{
	return machine->last_cause;
}

int machine_press_power_button(struct machine *machine, struct error *error)
{
	if (!board_press_power_button(machine->board))
		return error_set(error, ENOTSUP, "this machine has no power button");
	TELL(machine, power_button);
	return 0;
}

int machine_screendump(struct machine *machine, int fd, struct error *error)
{
	struct picture picture;
	int result = board_take_picture(machine->board, &picture);

	if (result == -ENODEV)
		return error_set(error, ENODEV, "this machine has no display");
	if (result == 0) {
		result = picture_write(&picture, fd);
		picture_free(&picture);
	}
	return result < 0 ? error_set_errno(error, -result, "cannot write the screen's picture") : 0;
}

int machine_set_balloon(struct machine *machine, uint64_t bytes)
{
	struct virtio_device *balloon = board_balloon(machine->board);
	uint64_t all = machine->config.ram_bytes;

	if (!balloon)
		return -ENODEV;
	virtio_balloon_set_target(balloon, bytes < all ? all - bytes : 0);
	return 0;
}

int machine_read_balloon(struct machine *machine, uint64_t *bytes)
{
	struct virtio_device *balloon = board_balloon(machine->board);
	uint64_t given_back;

	if (!balloon)
		return -ENODEV;
	given_back = virtio_balloon_given_back(balloon);
	/* The driver may say anything. */
	*bytes = given_back < machine->config.ram_bytes ? machine->config.ram_bytes - given_back : 0;
	return 0;
}

pid_t machine_cpu_thread(const struct machine *machine, unsigned cpu)
{
	return __atomic_load_n(&machine->vcpus[cpu].thread_id, __ATOMIC_RELAXED);
}

const struct machine_config *machine_configuration(const struct machine *machine)
{
	return &machine->config;
}

unsigned machine_cpus(const struct machine *machine)
{
	return machine->vcpu_count;
}

const struct kvm_vcpu *machine_cpu(const struct machine *machine, unsigned cpu)
{
	return &machine->vcpus[cpu].kvm;
}

const struct kvm_cpuid2 *machine_cpu_cpuid(const struct machine *machine, unsigned cpu)
{
	return machine->vcpus[cpu].cpuid;
}

const struct guest_memory *machine_memory(const struct machine *machine)
{
	return &machine->ram.memory;
}

void machine_hold_cpu(struct machine *machine, unsigned cpu, bool is_held)
{
	pthread_mutex_lock(&machine->lock);
	__atomic_store_n(&machine->vcpus[cpu].is_held, is_held, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
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
	int result;

	result = kvm_vm_create(&machine->vm, &machine->system, error);
	if (result < 0)
		return result;
	machine->has_vm = true;
	kvm_vm_own_memory(&machine->vm);
	/* Only Intel's hardware wants these; elsewhere they do nothing. */
	kvm_vm_ioctl(&machine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	kvm_vm_ioctl(&machine->vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA);
	result = interrupts_create(&machine->interrupts, &interrupts, error);
	if (result < 0)
		return result;
	result = ram_create(&machine->ram, machine->config.ram_bytes, error);
	if (result < 0)
		return result;
	kvm_vm_share_memory(&machine->vm, machine->ram.base, machine->ram.size_bytes,
			    machine->ram.memfd);
	return ram_attach(&machine->ram, &machine->vm, error);
}

static int spawn_stub(void *context, struct stub *stub)
{
	struct machine *machine = context;
	int result;

	pthread_mutex_lock(&machine->spawner_lock);
	result = spawner_spawn(machine->spawner, stub);
	pthread_mutex_unlock(&machine->spawner_lock);
	return result;
}

static int kill_stub(void *context, uint32_t id)
{
	struct machine *machine = context;
	int result;

	pthread_mutex_lock(&machine->spawner_lock);
	result = spawner_kill(machine->spawner, id);
	pthread_mutex_unlock(&machine->spawner_lock);
	return result;
}

/* For a backend that runs guest code in processes of their own; without, it does it otherwise. While this
 * process has one thread. */
static void start_spawner(struct machine *machine)
{
	struct machine_config *config = &machine->config;
	struct error error;

	if (!config->backend->stub_function)
		return;
	machine->spawner = spawner_start(config->backend->stub_function(), STUB_LOCKS, &error);
	if (machine->spawner < 0) {
		log_info("no direct execution: %s", error.message);
		return;
	}
	machine->stubs = (struct stub_source){spawn_stub, kill_stub, machine};
	config->kvm_options.stubs = &machine->stubs;
	config->sandbox.uses_helpers = true;
}

/* The last path that is opened, and then no paths any more. */
static int open_system(struct machine *machine, struct error *error)
{
	struct machine_config *config = &machine->config;
	int result;

	start_spawner(machine);
	result = kvm_system_open(&machine->system, config->backend, &config->kvm_options, error);
	if (result < 0)
		return result;
	machine->has_system = true;
	return config->is_confined ? sandbox_enter(&config->sandbox, &machine->sandbox, error) : 0;
}

static int create_vcpus(struct machine *machine, struct error *error)
{
	struct cpu_spec cpu = machine->config.cpu;
	struct vcpu *vcpu;
	unsigned i, limit;
	int result;

	if (boot_firmware(machine->boot) && !cpu.physical_bits &&
	    machine->config.ram_bytes <= FIRMWARE_RAM_MAX)
		cpu.physical_bits = FIRMWARE_PHYSICAL_BITS;

	limit = kvm_check_extension(&machine->system, KVM_CAP_MAX_VCPUS);
	if (limit && machine->config.cpus > limit)
		return error_set(error, EINVAL, "%u CPUs are too many for %s, which can do %u",
				 machine->config.cpus, machine->config.backend->name, limit);
	machine->vcpus = calloc(machine->config.cpus, sizeof(*machine->vcpus));
	if (!machine->vcpus)
		return error_set_errno(error, ENOMEM, "cannot create the CPUs");
	for (i = 0; i < machine->config.cpus; i++) {
		vcpu = &machine->vcpus[i];
		result = kvm_vcpu_create(&vcpu->kvm, &machine->vm, i, error);
		if (result < 0)
			return result;
		machine->vcpu_count++;
		kvm_vcpu_ignore_signals(&vcpu->kvm);
		vcpu->pio = machine->pio;
		vcpu->mmio = machine->mmio;
		vcpu->interrupts = &machine->interrupts;
		vcpu->power = (struct power){power_requested, machine};
		vcpu->host = (struct vcpu_host){machine_may_run, machine_debug, machine_report_idle,
						  machine};
		vcpu->reports_idle = boot_is_flat(machine->boot);
		vcpu->resets_at_triple_fault = machine->config.resets_at_triple_fault;
		result = cpuid_apply(&vcpu->kvm, &cpu, machine->config.cpus,
		                     &machine->cpuid, &vcpu->cpuid, error);
		if (result < 0)
			return result;
		result = power_on_state_capture(&vcpu->power_on, &vcpu->kvm, error);
		if (result < 0)
			return result;
	}
	return 0;
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
		.physical_bits = machine->cpuid.physical_bits,
		.irq = interrupts_line(&machine->interrupts),
		.msi = interrupts_msi_target(&machine->interrupts),
		.power = {power_requested, machine},
		.streams = machine->config.streams,
		.firmware_prints = true,
		.has_vga = machine->config.has_vga,
		.print_port = machine->config.print_port,
		.debug_exit_port = machine->config.debug_exit_port,
		.vm = &machine->vm,
		.option_count = machine->config.device_count,
		.disks = machine->config.disks,
		.disk_count = machine->config.disk_count,
		.nets = machine->config.nets,
		.net_count = machine->config.net_count,
		.shares = machine->config.shares,
		.share_count = machine->config.share_count,
		.ports = machine->config.ports,
		.port_count = machine->config.port_count,
		.console_slot_plus_1 = machine->config.console_slot_plus_1,
	};

	board.firmware = boot_firmware(machine->boot);
	memcpy(board.options, machine->config.devices, sizeof(board.options));
	machine->board = board_create(&board, error);
	return machine->board ? 0 : -EINVAL;
}

static int create_requests(struct machine *machine, struct error *error)
{
	int result;

	machine->request_source.ready = request_ready;
	machine->request_source.context = machine;
	machine->request_source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->request_source.fd < 0)
		return error_set_errno(error, errno, "cannot create the machine");
	result = event_loop_add(machine->config.loop, &machine->request_source);
	if (result == 0)
		result = event_timer_init(&machine->idle_timer, machine->config.loop, idle_check,
					  machine);
	if (result < 0)
		return error_set_errno(error, -result, "cannot create the machine");
	return 0;
}

/* A machine that was saved goes on from there. */
static int load_state(struct machine *machine, struct error *error)
{
	struct snapshot_parts parts = snapshot_parts(machine);
	int result;

	if (machine->config.load_fd < 0)
		return 0;
	result = snapshot_load(&parts, machine->config.load_fd, error);
	if (result == 0)
		log_info("loaded the machine");
	return result;
}

/* Disks, links and shares that no device has taken. */
static void close_unused(struct machine_config *config)
{
	unsigned i;

	for (i = 0; i < config->disk_count; i++)
		block_close(config->disks[i].block, NULL);
	for (i = 0; i < config->net_count; i++)
		net_link_close(&config->nets[i].link);
	for (i = 0; i < config->share_count; i++)
		share_close(&config->shares[i].share);
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
	machine->request_source.fd = machine->spawner = -1;
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->spawner_lock, NULL);
	pthread_cond_init(&machine->state_changed, NULL);
	machine->pio = pio_bus_create();
	machine->mmio = mmio_bus_create();
	if (!machine->pio || !machine->mmio) {
		error_set_errno(error, ENOMEM, "cannot create the machine");
		goto fail;
	}
	watch_lines(machine);
	machine->boot = boot_open(&config->boot, config->ram_bytes, error);
	if (!machine->boot)
		goto fail;
	log_info("booting a %s", boot_description(machine->boot));
	if (open_system(machine, error) < 0 || create_requests(machine, error) < 0 ||
	    create_vm(machine, error) < 0 ||
	    create_vcpus(machine, error) < 0 || create_board(machine, error) < 0 ||
	    machine_reset(machine, error) < 0 || load_state(machine, error) < 0)
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
	unwatch_lines(machine);
	board_destroy(machine->board);
	close_unused(&machine->config);
	for (i = 0; i < machine->vcpu_count; i++) {
		power_on_state_free(&machine->vcpus[i].power_on);
		free(machine->vcpus[i].cpuid);
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
	if (machine->request_source.fd >= 0) {
		event_loop_remove(&machine->request_source);
		close(machine->request_source.fd);
	}
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
		settle(machine);
		board_release(machine->board);
		if (boot_is_flat(machine->boot))
			event_timer_set(&machine->idle_timer, monotonic_ns() + FIRST_IDLE_CHECK_NS,
					IDLE_CHECK_NS);
		result = event_loop_run(machine->config.loop);
		if (result < 0)
			error_set_errno(error, -result, "the I/O loop failed");
	}
	set_state(machine, MACHINE_ENDED);
	for (i = 0; i < machine->vcpu_count; i++) {
		vcpu_force_exit(&machine->vcpus[i]);
		vcpu_join(&machine->vcpus[i]);
	}
	*status = machine->request_status;
	return result;
}

static const char *exit_name(unsigned reason)
{
	static const char *const names[VCPU_EXIT_REASONS] = {
		[KVM_EXIT_IO] = "port I/O",
		[KVM_EXIT_MMIO] = "memory-mapped I/O",
		[KVM_EXIT_HLT] = "halt",
		[KVM_EXIT_INTR] = "signal",
		[KVM_EXIT_SHUTDOWN] = "triple fault",
		[KVM_EXIT_FAIL_ENTRY] = "failed entry",
		[KVM_EXIT_INTERNAL_ERROR] = "internal error",
		[KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window",
		[KVM_EXIT_IOAPIC_EOI] = "end of interrupt",
		[KVM_EXIT_SYSTEM_EVENT] = "system event",
		[KVM_EXIT_DEBUG] = "debug",
	};

	return names[reason] ? names[reason] : "other";
}

static void print_statistic(void *context, const char *name, uint64_t value)
{
	const unsigned *id = context;

	fprintf(stderr, "kvik: CPU %u: %s %llu\n", *id, name, (unsigned long long)value);
}

void machine_print_statistics(const struct machine *machine)
{
	const struct vcpu_statistics *statistics;
	unsigned i, reason;

	fprintf(stderr, "kvik: statistics: resets %llu\n", (unsigned long long)machine->resets);
	for (i = 0; i < machine->vcpu_count; i++) {
		statistics = &machine->vcpus[i].statistics;
		fprintf(stderr,
			"kvik: CPU %u: port accesses %llu, memory-mapped accesses %llu, kicks %llu",
			i, (unsigned long long)statistics->port_accesses,
			(unsigned long long)statistics->mmio_accesses,
			(unsigned long long)statistics->kicks);
		for (reason = 0; reason < VCPU_EXIT_REASONS; reason++)
			if (statistics->exits[reason])
				fprintf(stderr, ", %s exits %llu", exit_name(reason),
					(unsigned long long)statistics->exits[reason]);
		fputc('\n', stderr);
		if (machine->system.backend->read_statistics)
			machine->system.backend->read_statistics(machine->vcpus[i].kvm.fd,
								 print_statistic, &i);
	}
}
