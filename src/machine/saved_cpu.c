#include "machine/saved_cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpu_features.h"
#include "machine/power_on_state.h"
#include "util/x86_registers.h"

#define FAR_AWAY (1ull << 45) /* cycles: hours, at any clock */

/* 1: without whether an MSR has changed. */
#define SECTION_VERSION 2

#define CPUID_MAX 1024 /* entries */
#define MSRS_MAX  4096

/* --- CPUID --- */

/* Registers of CPUID that are sets of features: what the guest was told it may use. */
static const struct {
	uint32_t function, index;
	unsigned reg; /* 0 to 3: EAX to EDX */
	uint32_t ignored; /* bits that follow from the guest's own state */
} feature_words[] = {
	{1, 0, 2, 1u << 27 /* OSXSAVE */},
	{1, 0, 3, 1u << 9 /* APIC */},
	{7, 0, 1, 0},
	{7, 0, 2, 1u << 4 /* OSPKE */},
	{7, 0, 3, 0},
	{7, 1, 0, 0},
	{0xd, 0, 0, 0},
	{0xd, 0, 3, 0},
	{0xd, 1, 0, 0},
	{0x14, 0, 1, 0},
	{0x40000001, 0, 0, 0},
	{0x80000001, 0, 2, 0},
	{0x80000001, 0, 3, 1u << 9},
	{0x80000007, 0, 3, 0},
	{0x80000008, 0, 1, 0},
	{0x8000000a, 0, 3, 0},
};

static const char *const register_names[] = {"EAX", "EBX", "ECX", "EDX"};

static struct kvm_cpuid2 *cpuid_alloc(unsigned entries)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + entries * sizeof(cpuid->entries[0]));

	if (cpuid)
		cpuid->nent = entries;
	return cpuid;
}

static void transfer_cpuid_entry(struct state_stream *state, struct kvm_cpuid_entry2 *entry)
{
	state_u32(state, "CPUID", &entry->function);
	state_u32(state, "CPUID", &entry->index);
	state_u32(state, "CPUID", &entry->flags);
	state_u32(state, "CPUID", &entry->eax);
	state_u32(state, "CPUID", &entry->ebx);
	state_u32(state, "CPUID", &entry->ecx);
	state_u32(state, "CPUID", &entry->edx);
}

static uint32_t cpuid_word(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index,
			   unsigned reg)
{
	const struct kvm_cpuid_entry2 *entry;
	unsigned i;

	for (i = 0; i < cpuid->nent; i++) {
		entry = &cpuid->entries[i];
		if (entry->function == function && entry->index == index)
			return (const uint32_t[]){entry->eax, entry->ebx, entry->ecx, entry->edx}[reg];
	}
	return 0;
}

#define NAMES_BYTES 160 /* of a message: the first few say enough */

static void add_name(char *names, unsigned word, unsigned bit)
{
	uint32_t leaf = feature_words[word].function, subleaf = feature_words[word].index;
	const char *name = cpu_feature_name(leaf, subleaf, feature_words[word].reg, bit);
	const char *comma = names[0] ? ", " : "";
	size_t length = strlen(names);
	char number[64];

	if (length >= NAMES_BYTES - sizeof(number)) {
		if (strcmp(names + length - 3, "...") != 0)
			strcat(names, ", ...");
		return;
	}
	if (!name)
		snprintf(number, sizeof(number), "CPUID 0x%x.%u %s bit %u", leaf, subleaf,
			 register_names[feature_words[word].reg], bit);
	snprintf(names + length, NAMES_BYTES - length, "%s%s", comma, name ? name : number);
}

/* What the saved guest may use must be here. */
static void check_features(struct state_stream *state, const struct kvm_cpuid2 *saved,
			   const struct kvm_cpuid2 *ours)
{
	char names[NAMES_BYTES] = "";
	uint32_t missing;
	unsigned i, bit;

	for (i = 0; i < sizeof(feature_words) / sizeof(feature_words[0]); i++) {
		missing = cpuid_word(saved, feature_words[i].function, feature_words[i].index,
				     feature_words[i].reg) &
			  ~cpuid_word(ours, feature_words[i].function, feature_words[i].index,
				      feature_words[i].reg) &
			  ~feature_words[i].ignored;
		for (bit = 0; bit < 32; bit++)
			if (missing >> bit & 1)
				add_name(names, i, bit);
	}
	if (names[0])
		state_fail(state, "it uses CPU features that are not here: %s", names);
}

/* Show the guest the CPU that it knows, once we know that ours has all of it. */
static void load_cpuid(struct machine_vcpu *vcpu, struct state_stream *state)
{
	struct kvm_cpuid2 *ours = vcpu->cpuid, *saved;
	uint32_t count = 0;
	unsigned i;

	state_u32(state, "CPUID entries", &count);
	state_check(state, "CPUID entries", count <= CPUID_MAX);
	saved = cpuid_alloc(state->has_failed ? 0 : count);
	if (!saved) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	for (i = 0; i < saved->nent; i++)
		transfer_cpuid_entry(state, &saved->entries[i]);
	/* Not against what an earlier saved machine had: that may be less than what this one can have. */
	check_features(state, saved, vcpu->made_cpuid ? vcpu->made_cpuid : ours);
	if (!state->has_failed &&
	    (saved->nent != ours->nent ||
	     memcmp(saved->entries, ours->entries, ours->nent * sizeof(ours->entries[0]))) &&
	    kvm_vcpu_ioctl(&vcpu->kvm, KVM_SET_CPUID2, saved) < 0)
		state_fail(state, "its CPUID cannot be set here");
	if (state->has_failed) {
		free(saved);
		return;
	}
	vcpu->cpuid = saved;
	if (vcpu->made_cpuid)
		free(ours);
	else
		vcpu->made_cpuid = ours;
}

static void save_cpuid(const struct machine_vcpu *vcpu, struct state_stream *state)
{
	uint32_t i, count = vcpu->cpuid->nent;

	state_u32(state, "CPUID entries", &count);
	for (i = 0; i < count; i++)
		transfer_cpuid_entry(state, &vcpu->cpuid->entries[i]);
}

/* --- registers --- */

static void transfer_quadwords(struct state_stream *state, const char *field, void *values,
			       unsigned count)
{
	uint64_t value;
	unsigned i;

	for (i = 0; i < count; i++) {
		memcpy(&value, (uint8_t *)values + i * 8, 8);
		state_u64(state, field, &value);
		memcpy((uint8_t *)values + i * 8, &value, 8);
	}
}

static void transfer_segment(struct state_stream *state, const char *field,
			     struct kvm_segment *segment)
{
	uint64_t base = segment->base;

	state_u64(state, field, &base);
	segment->base = base;
	state_u32(state, field, &segment->limit);
	state_u16(state, field, &segment->selector);
	state_u8(state, field, &segment->type);
	state_u8(state, field, &segment->present);
	state_u8(state, field, &segment->dpl);
	state_u8(state, field, &segment->db);
	state_u8(state, field, &segment->s);
	state_u8(state, field, &segment->l);
	state_u8(state, field, &segment->g);
	state_u8(state, field, &segment->avl);
	state_u8(state, field, &segment->unusable);
}

static void transfer_sregs(struct state_stream *state, struct kvm_sregs *sregs)
{
	transfer_segment(state, "CS", &sregs->cs);
	transfer_segment(state, "DS", &sregs->ds);
	transfer_segment(state, "ES", &sregs->es);
	transfer_segment(state, "FS", &sregs->fs);
	transfer_segment(state, "GS", &sregs->gs);
	transfer_segment(state, "SS", &sregs->ss);
	transfer_segment(state, "TR", &sregs->tr);
	transfer_segment(state, "LDTR", &sregs->ldt);
	transfer_quadwords(state, "GDTR", &sregs->gdt.base, 1);
	state_u16(state, "GDTR", &sregs->gdt.limit);
	transfer_quadwords(state, "IDTR", &sregs->idt.base, 1);
	state_u16(state, "IDTR", &sregs->idt.limit);
	transfer_quadwords(state, "CR0", &sregs->cr0, 1);
	transfer_quadwords(state, "CR2", &sregs->cr2, 1);
	transfer_quadwords(state, "CR3", &sregs->cr3, 1);
	transfer_quadwords(state, "CR4", &sregs->cr4, 1);
	transfer_quadwords(state, "CR8", &sregs->cr8, 1);
	transfer_quadwords(state, "EFER", &sregs->efer, 1);
	transfer_quadwords(state, "APIC base", &sregs->apic_base, 1);
	transfer_quadwords(state, "interrupt bitmap", sregs->interrupt_bitmap,
			   sizeof(sregs->interrupt_bitmap) / 8);
}

static void transfer_events(struct state_stream *state, struct kvm_vcpu_events *events)
{
	state_u8(state, "exception", &events->exception.injected);
	state_u8(state, "exception", &events->exception.nr);
	state_u8(state, "exception", &events->exception.has_error_code);
	state_u8(state, "exception", &events->exception.pending);
	state_u32(state, "exception", &events->exception.error_code);
	state_u8(state, "interrupt", &events->interrupt.injected);
	state_u8(state, "interrupt", &events->interrupt.nr);
	state_u8(state, "interrupt", &events->interrupt.soft);
	state_u8(state, "interrupt", &events->interrupt.shadow);
	state_u8(state, "NMI", &events->nmi.injected);
	state_u8(state, "NMI", &events->nmi.pending);
	state_u8(state, "NMI", &events->nmi.masked);
	state_u32(state, "SIPI vector", &events->sipi_vector);
	state_u32(state, "events", &events->flags);
	state_u8(state, "SMI", &events->smi.smm);
	state_u8(state, "SMI", &events->smi.pending);
	state_u8(state, "SMI", &events->smi.smm_inside_nmi);
	state_u8(state, "SMI", &events->smi.latched_init);
	state_u8(state, "triple fault", &events->triple_fault.pending);
	state_u8(state, "exception payload", &events->exception_has_payload);
	transfer_quadwords(state, "exception payload", &events->exception_payload, 1);
}

static void transfer_debugregs(struct state_stream *state, struct kvm_debugregs *debugregs)
{
	transfer_quadwords(state, "DR0 to DR3", debugregs->db, 4);
	transfer_quadwords(state, "DR6", &debugregs->dr6, 1);
	transfer_quadwords(state, "DR7", &debugregs->dr7, 1);
	transfer_quadwords(state, "debug flags", &debugregs->flags, 1);
}

static void transfer_xcrs(struct state_stream *state, struct kvm_xcrs *xcrs)
{
	unsigned i;

	state_u32(state, "XCRs", &xcrs->nr_xcrs);
	state_check(state, "XCRs", xcrs->nr_xcrs <= KVM_MAX_XCRS);
	for (i = 0; i < xcrs->nr_xcrs && i < KVM_MAX_XCRS; i++) {
		state_u32(state, "XCR", &xcrs->xcrs[i].xcr);
		transfer_quadwords(state, "XCR", &xcrs->xcrs[i].value, 1);
	}
}

/* `saved` has, when loading, what this vCPU has now: sizes are as here. */
static void transfer_registers(struct state_stream *state, struct power_on_state *saved)
{
	uint64_t xsave_bytes = saved->xsave ? saved->xsave_bytes : 0;
	bool has_xcrs = saved->has_xcrs;

	transfer_quadwords(state, "registers", &saved->regs, sizeof(saved->regs) / 8);
	transfer_sregs(state, &saved->sregs);
	state_u64(state, "size of the vector state", &xsave_bytes);
	if (xsave_bytes != (saved->xsave ? saved->xsave_bytes : 0))
		state_fail(state, "its vector state has %llu bytes, this host's %llu",
			   (unsigned long long)xsave_bytes,
			   (unsigned long long)(saved->xsave ? saved->xsave_bytes : 0));
	if (saved->xsave)
		state_bytes(state, "vector state", saved->xsave, saved->xsave_bytes);
	else
		state_bytes(state, "FPU", &saved->fpu, sizeof(saved->fpu));
	state_bool(state, "XCRs", &has_xcrs);
	state_check(state, "XCRs", has_xcrs == saved->has_xcrs);
	if (saved->has_xcrs)
		transfer_xcrs(state, &saved->xcrs);
	state_bytes(state, "local APIC", &saved->lapic, sizeof(saved->lapic));
	state_u32(state, "run state", &saved->mp.mp_state);
	transfer_events(state, &saved->events);
	transfer_debugregs(state, &saved->debugregs);
}

static uint64_t *find_msr(struct kvm_msrs *msrs, uint32_t index)
{
	unsigned i;

	for (i = 0; i < msrs->nmsrs; i++)
		if (msrs->entries[i].index == index)
			return (uint64_t *)&msrs->entries[i].data;
	return NULL;
}

/* Each with whether it has changed since power-on: one that hasn't may be missing elsewhere. */
static void save_msrs(struct state_stream *state, const struct kvm_msrs *msrs,
		      struct kvm_msrs *power_on)
{
	uint32_t i, count = msrs->nmsrs, index;
	uint64_t value;
	const uint64_t *first;
	bool has_changed;

	state_u32(state, "MSRs", &count);
	for (i = 0; i < count; i++) {
		index = msrs->entries[i].index;
		value = msrs->entries[i].data;
		first = find_msr(power_on, index);
		has_changed = !first || memcmp(first, &value, sizeof(value)) != 0;
		state_u32(state, "MSR", &index);
		state_u64(state, "MSR", &value);
		state_bool(state, "MSR", &has_changed);
	}
}

/* MSRs that are system registers, too: a backend may list them or not. */
static bool is_in_sregs(uint32_t index)
{
	return index == 0x1b /* IA32_APIC_BASE */ || index == 0xc0000080 /* EFER */ ||
	       index == 0xc0000100 /* FS_BASE */ || index == 0xc0000101 /* GS_BASE */;
}

/* Into those that this vCPU has. One that it hasn't must have been of no use. */
static void load_msrs(struct state_stream *state, struct kvm_msrs *msrs)
{
	uint32_t i, count = 0, index = 0;
	uint64_t value = 0, *ours;
	bool has_changed;

	state_u32(state, "MSRs", &count);
	state_check(state, "MSRs", count <= MSRS_MAX);
	for (i = 0; i < count && !state->has_failed; i++) {
		state_u32(state, "MSR", &index);
		state_u64(state, "MSR", &value);
		has_changed = value != 0;
		if (state->version >= 2)
			state_bool(state, "MSR", &has_changed);
		ours = find_msr(msrs, index);
		if (ours)
			memcpy(ours, &value, sizeof(value));
		else if (has_changed && !is_in_sregs(index))
			state_fail(state, "MSR 0x%x, which is 0x%llx, is not here", index,
				   (unsigned long long)value);
	}
}

static int set_msr(const struct kvm_vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = {{.nmsrs = 1}, {.index = index, .data = value}};

	return kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, &one);
}

uint64_t saved_cpu_read_tsc(const struct kvm_vcpu *vcpu)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} one = {{.nmsrs = 1}, {.index = MSR_TSC}};

	return kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, &one) == 1 ? one.entry.data : 0;
}

void saved_cpu_set_tsc(const struct kvm_vcpu *vcpu, uint64_t tsc)
{
	/* A value near what the counter is by now would be taken for that (kvm_synchronize_tsc): come
	 * from far away. */
	if (vcpu->id == 0)
		set_msr(vcpu, MSR_TSC, tsc + FAR_AWAY);
	set_msr(vcpu, MSR_TSC, tsc);
}

void saved_cpu_arm(const struct kvm_vcpu *vcpu, uint64_t deadline)
{
	if (deadline)
		set_msr(vcpu, MSR_TSC_DEADLINE, deadline);
}

void saved_cpu_save(const struct machine_vcpu *vcpu, const char *name, struct state_stream *state)
{
	struct power_on_state now;
	struct error error = {.message = ""};

	state_section_begin(state, name, SECTION_VERSION);
	if (power_on_state_capture(&now, &vcpu->kvm, &error) < 0) {
		state_fail(state, "%s", error.message);
		return;
	}
	save_cpuid(vcpu, state);
	transfer_registers(state, &now);
	save_msrs(state, now.msrs, vcpu->power_on.msrs);
	state_section_end(state);
	power_on_state_free(&now);
}

void saved_cpu_load(struct machine_vcpu *vcpu, const char *name, uint64_t *deadline,
		    struct state_stream *state)
{
	struct power_on_state loaded;
	struct error error = {.message = ""};
	uint64_t *armed;

	*deadline = 0;
	state_section_begin(state, name, SECTION_VERSION);
	load_cpuid(vcpu, state);
	if (state->has_failed)
		return;
	if (power_on_state_capture(&loaded, &vcpu->kvm, &error) < 0) {
		state_fail(state, "%s", error.message);
		return;
	}
	transfer_registers(state, &loaded);
	load_msrs(state, loaded.msrs);
	if (!state_complete(state))
		goto out;
	/* Set here it would count by the counter of another machine, or not at all as the local APIC's
	 * timer is not in that mode yet. */
	armed = find_msr(loaded.msrs, MSR_TSC_DEADLINE);
	if (armed) {
		*deadline = *armed;
		*armed = 0;
	}
	if (power_on_state_restore(&loaded, &vcpu->kvm, &error) < 0)
		state_fail(state, "%s", error.message);
out:
	state_section_end(state);
	power_on_state_free(&loaded);
}
