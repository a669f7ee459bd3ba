/*
 * The state of one x86-64 CPU, and what the CPU asks of the platform around it.
 *
 * This struct is the architecture's state in the form that those who execute it work on (engine/run);
 * what they have to know of it they hear through cpu->observer. Guest-visible structs are those of <linux/kvm.h> where they fit (segments, tables), so that
 * the KVM requests copy rather than convert.
 *
 * Ownership: a struct cpu belongs to the thread that is inside cpu_run (run/runner.h). Others touch
 * only `requests` and `request_limit` (atomic), or everything while the CPU is known to be outside
 * cpu_run.
 */
#ifndef KVIK_ENGINE_X86_CPU_H
#define KVIK_ENGINE_X86_CPU_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/page.h"
#include "engine/x86/decode/insn_rules.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/mmu/tlb_set.h"

/* General registers in encoding order (Intel SDM vol. 2 table 2-2 ff.). */
enum cpu_register {
	CPU_RAX, CPU_RCX, CPU_RDX, CPU_RBX, CPU_RSP, CPU_RBP, CPU_RSI, CPU_RDI,
	CPU_R8, CPU_R9, CPU_R10, CPU_R11, CPU_R12, CPU_R13, CPU_R14, CPU_R15,
	CPU_REGISTERS,
};

/* Segment registers in encoding order. */
enum cpu_segment { CPU_ES, CPU_CS, CPU_SS, CPU_DS, CPU_FS, CPU_GS, CPU_SEGMENTS };

/* What an instruction's meaning depends on besides its bytes: part of a decoded block's key. */
enum cpu_mode {
	CPU_MODE_CODE16 = 0,      /* CS.D = 0, outside 64-bit mode */
	CPU_MODE_CODE32 = 1,      /* CS.D = 1, outside 64-bit mode */
	CPU_MODE_CODE64 = 2,      /* EFER.LMA and CS.L */
	CPU_MODE_CODE_MASK = 3,
	CPU_MODE_STACK32 = 1 << 2, /* SS.B = 1 (always set in 64-bit mode) */
	CPU_MODE_PROTECTED = 1 << 3, /* CR0.PE and not RFLAGS.VM: selectors mean descriptors */
	CPU_MODE_VM86 = 1 << 4,   /* RFLAGS.VM */
	CPU_MODE_LONG = 1 << 5,   /* EFER.LMA: 64-bit or compatibility mode */
	CPU_MODE_FLAT = 1 << 6,   /* CS, DS, ES, SS: base 0, limit 4 GiB, usual types: no checks */
};

/* Requests to a running CPU, looked at between blocks. Set with cpu_request. */
enum cpu_request {
	CPU_REQUEST_EXIT = 1 << 0,      /* leave cpu_run with CPU_EXIT_INTERRUPTED */
	CPU_REQUEST_EVENT = 1 << 1,     /* an interrupt, NMI, SMI or INIT/SIPI may be pending */
	CPU_REQUEST_PAUSE = 1 << 2,     /* another thread waits in platform->exclusive_begin */
	CPU_REQUEST_TLB_FLUSH = 1 << 3, /* drop all cached translations */
	CPU_REQUEST_STOP_BLOCK = 1 << 4, /* end the current block (own thread: mode or code changed) */
	CPU_REQUEST_YIELD = 1 << 5,     /* own thread: it waits for another CPU */
};

/* Why cpu_run returned. */
enum cpu_exit {
	CPU_EXIT_USER,        /* cpu->run holds an exit for user space (exit_reason set) */
	CPU_EXIT_INTERRUPTED, /* CPU_REQUEST_EXIT was seen; it is cleared */
	CPU_EXIT_HALTED,      /* HLT executed (cpu->halted is set): the platform waits or exits */
};

/* An exception, interrupt or NMI that waits for delivery (Intel SDM vol. 3 §6). */
struct cpu_event {
	bool pending;
	bool has_error_code;
	bool is_software; /* INT n, INT3, INTO, INT1: DPL checks apply, return address is next */
	uint8_t vector;
	uint8_t instruction_length; /* for software interrupts injected from outside */
	uint32_t error_code;
	uint64_t payload; /* CR2 for #PF, DR6 bits for #DB */
};

/* Restart state of one instruction whose MMIO or port accesses were answered by user space. */
struct cpu_io {
	/* Accesses of the current instruction that are already done, in order; see mmio.h. */
	unsigned done;   /* number of completed fragments */
	unsigned cursor; /* number met so far in the present execution of the instruction */
	struct {
		uint64_t gpa; /* or the port */
		uint8_t data[8];
		uint8_t size; /* bytes */
		bool is_write;
		bool is_port;
		bool is_msr; /* gpa is its index */
	} fragments[16];
	bool mmio_pending; /* run->mmio of the last exit awaits its answer (fragment `done`) */
	bool pio_pending;  /* run->io of the last exit awaits its answer */
	bool msr_pending;  /* run->msr of the last exit awaits its answer */
	bool msr_error;    /* which is that the access faults */
	bool is_plain_port; /* it was IN's or OUT's, which has no more to do than take it ... */
	uint32_t mode;      /* ... in this mode ... */
	uint64_t next_rip;  /* ... and go on there */
	bool is_reset_after; /* the present instruction is followed by io_reset: mmio.h */
	unsigned string_count; /* REP INS/OUTS: elements in run's page, sent or asked for */
	bool is_delivery;  /* the exit was on the way of an event's delivery, not an instruction's */
	uint64_t linear_rip; /* where the CPU was: the answer is void when user space moved it */
};

#define CPU_FEATURE_WORDS 13

struct cpu;
struct cpu_msrs;
struct insn;
struct cpu_observer;
struct tiers;
struct cpu_catcher;
struct memory_watch;

/*
 * What is asked on every TLB miss, while the guest's vector state may be in the host's registers: these
 * leave vector registers alone, whatever they call. So they are of a type of their own, by what they
 * take as context, which no other function does: the platform's, as in struct cpu_platform. Such a table
 * stands in a library that tools/check-vector-free looks at, beside its functions.
 */
struct vector_free_context;
struct host_claims;
struct cpu_lookups {
	bool (*page)(struct vector_free_context *context, uint64_t gpa, struct cpu_page *page);
	void (*page_dirty)(struct vector_free_context *context, uint64_t gpa);
};

/*
 * What the CPU asks of the world around it; all called on the CPU's own thread, between guest
 * memory accesses, with the guest's vector state saved: all of these may use vector registers, so platform.h
 * alone calls them. `context` is cpu->platform_context.
 */
struct cpu_platform {
	/* The memory behind gpa's page. Returns true and fills `page`, or false for no memory. */
	bool (*page_lookup)(void *context, uint64_t gpa, struct cpu_page *page);
	/* The page at gpa is about to be written: log it. */
	void (*page_dirty)(void *context, uint64_t gpa);
	/* In place of the two above, and quicker; or NULL. */
	const struct cpu_lookups *lookups;

	/* An access of 1..8 bytes that is not memory. True when a device inside the engine (local
	 * APIC, I/O APIC, ioeventfd) took it; false when user space must answer. */
	bool (*mmio)(void *context, uint64_t gpa, void *data, unsigned size, bool is_write);
	/* A port access of 1, 2 or 4 bytes; as mmio. */
	bool (*pio)(void *context, uint16_t port, void *data, unsigned size, bool is_write);

	/* Whether a maskable interrupt waits (for any RFLAGS.IF), without taking it. */
	bool (*interrupt_pending)(void *context);
	/* Acknowledge the highest interrupt: its vector, or -1 when there is none after all. */
	int (*interrupt_acknowledge)(void *context);
	/* Whether user space's interrupts would get through now, as far as the platform is
	 * concerned (for KVM_EXIT_IRQ_WINDOW_OPEN). May be NULL: yes. */
	bool (*injection_possible)(void *context);
	/* After CPU_REQUEST_EVENT: fold NMI, INIT, SIPI into the CPU's state. False: the CPU must
	 * leave cpu_run (it now waits for SIPI, or was reset). */
	bool (*process_events)(void *context);

	/* CR8, the local APIC's task priority class (0..15). */
	uint8_t (*read_cr8)(void *context);
	void (*write_cr8)(void *context, uint8_t value);

	/* What guests may be told of the host's CPU. May be NULL: all that is known. */
	const struct host_claims *(*host_claims)(void *context);

	/* MSRs that are not the CPU's own: APIC base, x2APIC, TSC deadline, kvm-clock, ...
	 * 0, or -ENOENT when there is no such MSR (#GP), or -EINVAL for a bad value (#GP). */
	int (*msr_read)(void *context, uint32_t index, uint64_t *value);
	int (*msr_write)(void *context, uint32_t index, uint64_t value);

	/* Whether user space lets the guest access that MSR; asked while cpu->has_msr_filter. */
	bool (*msr_allowed)(void *context, uint32_t index, bool is_write);
	/* Whether user space answers accesses that are refused for this reason, one of
	 * KVM_MSR_EXIT_REASON_*. May be NULL: no. */
	bool (*msr_exits)(void *context, uint32_t reason);

	/* The guest's TSC without IA32_TSC_ADJUST and offset applied by the CPU: host TSC scaled. Asked
	 * only while cpu->tsc_is_host is false; may be NULL otherwise. */
	uint64_t (*read_tsc)(void *context);

	/*
	 * Run alone: returns once every other CPU of the VM is between instructions and stays there
	 * until exclusive_end. Used for split-lock accesses, the first code on a page, memory slots.
	 * May not nest. `pause` is how a CPU obeys CPU_REQUEST_PAUSE: it returns when it may go on.
	 */
	void (*exclusive_begin)(void *context);
	void (*exclusive_end)(void *context);
	/*
	 * The same but for CPUs between go_apart and come_back, whose code goes on: they wait behind that. `widen` has these
	 * stop, too. All four may be NULL: exclusive_begin is for all then.
	 */
	void (*exclusive_begin_beside)(void *context);
	void (*exclusive_widen)(void *context);
	void (*go_apart)(void *context);
	void (*come_back)(void *context);
	void (*pause)(void *context);
	/* The CPU spins: let others have the host's processor for a while. As `pause`, memory slots may
	 * have changed when it returns. May be NULL. */
	void (*yield)(void *context);

	/* Hypercall VMCALL/VMMCALL: the value for RAX. */
	uint64_t (*hypercall)(void *context, uint64_t number, const uint64_t arguments[4]);
};

/* Whether the CPU is inside an exclusive section that it began. */
enum cpu_exclusive {
	CPU_SHARES,    /* no */
	CPU_IS_BESIDE, /* one beside CPUs that are apart */
	CPU_IS_ALONE,
};

struct cpu {
	/* -- the part that translated code addresses: small offsets first -- */
	uint64_t gpr[CPU_REGISTERS];
	uint64_t rip;      /* of the current instruction while one executes */
	uint64_t next_rip; /* what rip becomes when it completes; branches assign it */
	uint64_t zero;     /* always 0: the base or index that a memory operand does not have */
	uint64_t rflags;   /* always exact, bit 1 set */
	_Atomic uint32_t requests; /* enum cpu_request */
	/* Becomes UINT64_MAX with each request. A tier may keep a limit of its own here, for a comparison
	 * that it makes anyway: who requests knows no tiers, and changes both in one cache line. */
	_Atomic uint64_t request_limit;
	uint32_t mode;     /* enum cpu_mode; kept by cpu_update_mode */
	uint8_t cpl;       /* current privilege level 0..3 (SS.DPL; 3 in virtual-8086 mode, 0 in real) */
	bool halted;       /* HLT, until an event */
	uint8_t interrupt_shadow; /* 0, KVM_X86_SHADOW_INT_STI or KVM_X86_SHADOW_INT_MOV_SS */
	bool nmi_blocked;  /* from NMI delivery to IRET */
	bool exits_softly; /* the handler is called by who looks at is_leaving: no need to unwind */
	bool is_leaving;   /* cpu->run holds an exit: leave cpu_run */
	uint8_t exclusive; /* enum cpu_exclusive; an unwind ends it */
	bool interrupt_waiting; /* look for an interrupt as soon as RFLAGS.IF allows one */
	struct tlb_set *tlb; /* the set for the current privilege: &tlb_sets[...] */
	const struct insn *insn; /* the instruction being executed, NULL between instructions */

	/* -- segments and system registers -- */
	struct kvm_segment segment[CPU_SEGMENTS];
	struct kvm_segment ldt, tr;
	struct kvm_dtable gdt, idt;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t efer;
	uint64_t xcr0;
	uint64_t dr[4], dr6, dr7;
	uint64_t pdptr[4]; /* the PAE page-directory pointers loaded with CR3 (SDM vol. 3 §4.4.1) */

	/* -- MSRs that are plain CPU state -- */
	uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, misc_enable, tsc_adjust, tsc_offset, debugctl, spec_ctrl, xss;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[16], mcg_status;
	uint64_t smbase;
	struct cpu_msrs *msrs; /* the rest: msr.c; owned */

	/* -- events -- */
	struct cpu_event exception; /* raised by an instruction, or injected (KVM_SET_VCPU_EVENTS) */
	struct cpu_event interrupt; /* acknowledged or injected (KVM_INTERRUPT), not yet delivered */
	uint8_t nmis_pending; /* at most two: cpu_post_nmi */
	bool single_step_pending; /* RFLAGS.TF was set when the instruction began */
	uint8_t delivering;       /* the class of the event under delivery: exception.c */
	/* What is armed, a bit a breakpoint, of the guest's or user space's: debug_update. */
	uint8_t code_breakpoints; /* whoever executes must ask breakpoint_code_hits */
	uint8_t data_breakpoints; /* the TLB must ask breakpoint_watches_page */
	uint8_t port_breakpoints;
	uint64_t armed_dr7, armed_address[4]; /* what translations of addresses were made with */
	uint64_t debug_pending;   /* DR6 bits of traps that the current instruction met */
	uint64_t shadow_rip;      /* the instruction that interrupt_shadow covers */
	struct cpu_io io;

	/* -- execution -- */
	struct cpu_catcher *catcher; /* where unwinding leads: exception.h */
	struct memory_watch *watch;  /* NULL: none; memory.h */
	struct kvm_run *run;
	const struct cpu_platform *platform;
	void *platform_context;
	const struct cpu_observer *observer; /* whoever executes it; NULL: nobody does. observer.h */
	/*
	 * Of stays in ring 3 that begin by SYSRET and end by SYSCALL the observer need not hear (access_changed) as long as
	 * FS is the same: so many may still begin, one may end unless `tells_stay`, or RAX is `told_call`. Observers that
	 * want to know keep these; at first nobody does.
	 */
	uint64_t untold_stays, told_call;
	bool tells_stay;
	struct tiers *tiers;                 /* theirs: run/tier/tier.h */
	/* A tier in which nobody looks at the requests sets this: cpu_request calls it, on any thread and
	 * inside handlers of signals, but for CPU_REQUEST_STOP_BLOCK. */
	void (*_Atomic wake)(struct cpu *cpu);
	/* Counts when guest memory may have been written unseen: code that was decoded before is compared
	 * with its bytes before it runs (run/tier/code_index.h). */
	uint64_t code_epoch;
	/* Others than CPUs who write to memory tell of it (run/tier/code_outside.h). */
	bool tells_outside_writes;
	/* Else: counts interrupts by those who may have written; NULL: any interrupt is one. */
	const _Atomic uint32_t *outside_interrupts;
	uint32_t outside_seen; /* of *outside_interrupts */
	bool is_reentry;       /* cpu_run goes on where it was, user space has not run in between */
	uint64_t spin_began, spin_last; /* host TSC: of the present run of PAUSEs, isa_move.c */
	uint64_t spin_place; /* RIP of the PAUSE that gave way last, until the next one; 0: none */
	struct fpu fpu;
	struct tlb tlb_sets; /* owned */

	/* -- configuration -- */
	struct kvm_cpuid_entry2 *cpuid; /* owned; KVM_SET_CPUID2 */
	unsigned cpuid_count;
	uint32_t features[CPU_FEATURE_WORDS]; /* feature words of it: features.h */
	struct insn_rules rules;              /* which of its instructions are there */
	uint32_t rules_changes;               /* counts when these may have become others */
	struct insn_memo *memo;               /* owned; decode/memo.h */
	bool is_amd;                          /* vendor AMD or Hygon: SYSCALL, SYSENTER, ... differ */
	unsigned physical_bits; /* MAXPHYADDR from CPUID 8000_0008 */
	uint32_t guest_debug;   /* KVM_SET_GUESTDBG control bits */
	uint64_t guest_debug_dr[8];
	unsigned id;            /* vCPU id */
	const struct host_claims *host_claims;
	bool has_msr_filter; /* changes inside exclusive sections */
	bool tsc_is_host; /* the guest's TSC is the host's plus tsc_offset; false: platform->read_tsc */
	/* Nobody else reads and writes guest memory with atomic instructions: translated code may
	 * leave LOCK out. Changes with all translations dropped. */
	bool is_alone;

	/* -- for --stats -- */
	uint64_t tlb_misses, exceptions_delivered, interrupts_delivered;
};

/* Ask a CPU for something. Any thread. */
static inline void cpu_request(struct cpu *cpu, uint32_t requests)
{
	void (*wake)(struct cpu *);

	atomic_fetch_or(&cpu->requests, requests);
	/* Pairs with the exchange by which a tier sets it, and then looks at the requests. */
	atomic_store_explicit(&cpu->request_limit, UINT64_MAX, memory_order_release);
	/* Pairs with the tier's store, after which it looks at the requests once more. */
	wake = atomic_load(&cpu->wake);
	/* Such a tier has no block under way. */
	if (wake && (requests & ~(uint32_t)CPU_REQUEST_STOP_BLOCK))
		wake(cpu);
}

/*
 * So many NMIs more. Beside one that is under way one waits; otherwise two do, as the first is about to
 * be taken (SDM vol. 3 §6.7.1). The others are lost. The CPU's own thread.
 */
static inline void cpu_post_nmi(struct cpu *cpu, unsigned count)
{
	unsigned limit = cpu->nmi_blocked ? 1 : 2;

	count += cpu->nmis_pending;
	cpu->nmis_pending = (uint8_t)(count < limit ? count : limit);
}

/*
 * Run alone, see cpu_platform.exclusive_begin; may nest (returns false, and then the caller does
 * not end it). Translations may have changed meanwhile: get host pointers after it, not before.
 */
bool cpu_exclusive_begin(struct cpu *cpu);
void cpu_exclusive_end(struct cpu *cpu);

/*
 * Likewise, but beside CPUs that are apart: vm/exclusive.h says what for. Inside one cpu_exclusive_begin widens it, as
 * cpu_exclusive_widen does, which does nothing inside of others.
 */
bool cpu_exclusive_begin_beside(struct cpu *cpu);
void cpu_exclusive_widen(struct cpu *cpu);

/*
 * Guest code is about to be executed outside of this process, and nothing of the CPU or its VM is touched until
 * cpu_come_back. What cpu_exclusive_begin says of translations holds behind that. The CPU's own thread, between two
 * instructions.
 */
void cpu_go_apart(struct cpu *cpu);
void cpu_come_back(struct cpu *cpu);

/*
 * Set up `cpu` in the state after power-up (SDM vol. 3 table 9-1) and allocate its TLB and the like.
 * What executes it is added by runner_create (run/runner.h).
 * 0 or -ENOMEM. `run` may be NULL for a CPU that never exits to user space (tests).
 */
int cpu_create(struct cpu *cpu, unsigned id, struct kvm_run *run,
	       const struct cpu_platform *platform, void *platform_context);
void cpu_destroy(struct cpu *cpu);

/* Power-up or INIT reset (SDM vol. 3 §9.1.1; INIT keeps FPU state, MSRs, TSC). */
void cpu_reset(struct cpu *cpu, bool is_init);

/* Recompute mode, cpl and the current TLB set after segments, CRs, EFER or RFLAGS changed. */
void cpu_update_mode(struct cpu *cpu);

#endif
