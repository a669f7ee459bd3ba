/*
 * The vCPU thread: enter the guest, serve the exit, again. Exit reasons are those of KVM api.rst
 * section 5, `struct kvm_run`.
 */
#include "machine/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/thread.h"
#include "util/x86_registers.h"

static void serve_port(struct machine_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;
	uint32_t i, value;

	for (i = 0; i < run->io.count; i++, data += size) {
		value = 0;
		if (run->io.direction == KVM_EXIT_IO_IN) {
			value = pio_bus_read(vcpu->pio, run->io.port, size);
			memcpy(data, &value, size);
		} else {
			memcpy(&value, data, size);
			pio_bus_write(vcpu->pio, run->io.port, size, value);
		}
	}
	vcpu->statistics.port_accesses += run->io.count;
}

static void serve_mmio(struct machine_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->kvm.run;

	if (run->mmio.is_write)
		mmio_bus_write(vcpu->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		mmio_bus_read(vcpu->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	vcpu->statistics.mmio_accesses++;
}

static const char *mode_name(const struct kvm_sregs *sregs)
{
	if (!(sregs->cr0 & CR0_PE))
		return "16-bit real mode";
	if (sregs->efer & EFER_LMA)
		return sregs->cs.l ? "64-bit mode" : "compatibility mode";
	return sregs->cs.db ? "32-bit protected mode" : "16-bit protected mode";
}

static void print_registers(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	log_info("rax %016llx rbx %016llx rcx %016llx rdx %016llx", regs->rax, regs->rbx, regs->rcx,
		 regs->rdx);
	log_info("rsi %016llx rdi %016llx rbp %016llx rsp %016llx", regs->rsi, regs->rdi, regs->rbp,
		 regs->rsp);
	log_info("r8  %016llx r9  %016llx r10 %016llx r11 %016llx", regs->r8, regs->r9, regs->r10,
		 regs->r11);
	log_info("r12 %016llx r13 %016llx r14 %016llx r15 %016llx", regs->r12, regs->r13, regs->r14,
		 regs->r15);
	log_info("rip %016llx rflags %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx", regs->rip,
		 regs->rflags, sregs->cr0, sregs->cr2, sregs->cr3, sregs->cr4, sregs->efer);
	log_info("cs %04x base %llx, ss %04x, ds %04x, tr %04x, gdt %llx+%x, idt %llx+%x",
		 sregs->cs.selector, sregs->cs.base, sregs->ss.selector, sregs->ds.selector,
		 sregs->tr.selector, sregs->gdt.base, sregs->gdt.limit, sregs->idt.base,
		 sregs->idt.limit);
}

/* The guest cannot go on: say why and where in one line, with all registers under -v. */
static void crash(struct machine_vcpu *vcpu, const char *what)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};

	if (kvm_vcpu_ioctl(&vcpu->kvm, KVM_GET_REGS, &regs) < 0 ||
	    kvm_vcpu_ioctl(&vcpu->kvm, KVM_GET_SREGS, &sregs) < 0)
		log_error("CPU %u: %s", vcpu->index, what);
	else
		log_error("CPU %u: %s at %04x:0x%llx in %s", vcpu->index, what, sregs.cs.selector,
			  regs.rip, mode_name(&sregs));
	print_registers(&regs, &sregs);
	vcpu->has_crashed = true;
	power_request(&vcpu->power, POWER_CRASH, 0);
}

static void crash_internal_error(struct machine_vcpu *vcpu)
{
	static const char *const causes[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction that cannot be emulated",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit during event delivery",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit that it doesn't know",
	};
	const struct kvm_run *run = vcpu->kvm.run;
	unsigned suberror = run->internal.suberror;
	const char *cause = suberror < sizeof(causes) / sizeof(causes[0]) ? causes[suberror] : NULL;
	char what[256];
	int used;
	unsigned i, count = run->internal.ndata;

	used = snprintf(what, sizeof(what), "%s reports internal error %u (%s)",
			vcpu->kvm.system->backend->name, suberror, cause ? cause : "unknown");
	if (count > 4)
		count = 4;
	for (i = 0; i < count && used < (int)sizeof(what); i++)
		used += snprintf(what + used, sizeof(what) - used, "%s%llx", i ? " " : ", data ",
				 run->internal.data[i]);
	crash(vcpu, what);
}

static void triple_fault(struct machine_vcpu *vcpu)
{
	if (!vcpu->resets_at_triple_fault) {
		crash(vcpu, "the guest crashed: triple fault");
		return;
	}
	log_guest("CPU %u: triple fault", vcpu->index);
	power_request(&vcpu->power, POWER_RESET, 0);
}

static void serve_system_event(struct machine_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;

	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN: power_request(&vcpu->power, POWER_OFF, 0); break;
	case KVM_SYSTEM_EVENT_RESET: power_request(&vcpu->power, POWER_RESET, 0); break;
	default: crash(vcpu, "the guest reported its own crash"); break;
	}
}

static void serve_exit(struct machine_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;
	unsigned reason = run->exit_reason;
	char what[128];

	vcpu->statistics.exits[reason < VCPU_EXIT_REASONS ? reason : VCPU_EXIT_REASONS - 1]++;
	switch (reason) {
	case KVM_EXIT_IO: serve_port(vcpu); break;
	case KVM_EXIT_MMIO: serve_mmio(vcpu); break;
	case KVM_EXIT_IOAPIC_EOI: interrupts_eoi(vcpu->interrupts, run->eoi.vector); break;
	case KVM_EXIT_HLT:
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN: break;
	case KVM_EXIT_SHUTDOWN: triple_fault(vcpu); break;
	case KVM_EXIT_SYSTEM_EVENT: serve_system_event(vcpu); break;
	case KVM_EXIT_DEBUG: vcpu->host.debug(vcpu->host.context, vcpu); break;
	case KVM_EXIT_INTERNAL_ERROR: crash_internal_error(vcpu); break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what),
			 "the guest's state cannot be entered (hardware reason 0x%llx)",
			 run->fail_entry.hardware_entry_failure_reason);
		crash(vcpu, what);
		break;
	default:
		snprintf(what, sizeof(what), "unexpected exit, reason %u", reason);
		crash(vcpu, what);
		break;
	}
}

/* Whether only another CPU can wake this one: not started, or HLT with interrupts off. */
static bool is_idle(struct machine_vcpu *vcpu)
{
	struct kvm_mp_state mp;
	struct kvm_regs regs;

	if (kvm_vcpu_ioctl(&vcpu->kvm, KVM_GET_MP_STATE, &mp) < 0)
		return false;
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return true;
	return mp.mp_state == KVM_MP_STATE_HALTED &&
	       kvm_vcpu_ioctl(&vcpu->kvm, KVM_GET_REGS, &regs) == 0 && !(regs.rflags & RFLAGS_IF);
}

void vcpu_complete_access(struct machine_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;

	/* The instruction may access more, or be one that a debugger steps over. */
	while (run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO) {
		__atomic_store_n(&vcpu->kvm.run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		if (kvm_vcpu_ioctl(&vcpu->kvm, KVM_RUN, NULL) < 0)
			return;
		serve_exit(vcpu);
	}
}

static void *vcpu_thread(void *argument)
{
	struct machine_vcpu *vcpu = argument;
	char what[128];
	int result;

	__atomic_store_n(&vcpu->thread_id, gettid(), __ATOMIC_RELAXED);
	sem_post(&vcpu->has_started);
	while (vcpu->host.may_run(vcpu->host.context, vcpu)) {
		interrupts_before_run(vcpu->interrupts, &vcpu->kvm);
		result = kvm_vcpu_ioctl(&vcpu->kvm, KVM_RUN, NULL);
		if (result == -EINTR) {
			vcpu->statistics.kicks++;
			if (vcpu->reports_idle)
				vcpu->host.report_idle(vcpu->host.context, vcpu->index,
						       is_idle(vcpu));
		} else if (result == 0) {
			serve_exit(vcpu);
			if (vcpu->reports_idle && vcpu->kvm.run->exit_reason == KVM_EXIT_HLT)
				vcpu->host.report_idle(vcpu->host.context, vcpu->index,
						       is_idle(vcpu));
		} else if (result != -EAGAIN) {
			snprintf(what, sizeof(what), "%s cannot run the guest (%s)",
				 vcpu->kvm.system->backend->name, strerror(-result));
			crash(vcpu, what);
		}
	}
	return NULL;
}

int vcpu_start(struct machine_vcpu *vcpu, struct error *error)
{
	sigset_t blocked;
	int number, result;

	/* Signals are the main thread's, but for the one that a kick uses (a real-time signal). */
	sigfillset(&blocked);
	thread_keep_faults(&blocked);
	for (number = SIGRTMIN; number <= SIGRTMAX; number++)
		sigdelset(&blocked, number);
	sem_init(&vcpu->has_started, 0, 0);
	result = thread_start(&vcpu->thread, &blocked, vcpu_thread, vcpu);
	if (result < 0)
		return error_set_errno(error, -result, "cannot start the thread of CPU %u",
				       vcpu->index);
	vcpu->has_thread = true;
	/* Monitors may ask for its number from now on. */
	while (sem_wait(&vcpu->has_started) < 0 && errno == EINTR)
		;
	return 0;
}

void vcpu_force_exit(struct machine_vcpu *vcpu)
{
	if (vcpu->has_thread)
		kvm_vcpu_kick(&vcpu->kvm, vcpu->thread);
}

void vcpu_join(struct machine_vcpu *vcpu)
{
	if (!vcpu->has_thread)
		return;
	pthread_join(vcpu->thread, NULL);
	sem_destroy(&vcpu->has_started);
	vcpu->has_thread = false;
}
