/* The files of this room among themselves: the tier's state for one CPU. */
#ifndef KVIK_ENGINE_RUN_DIRECT_INTERNAL_H
#define KVIK_ENGINE_RUN_DIRECT_INTERNAL_H

#include "engine/run/direct/direct.h"
#include "engine/run/direct/book.h"
#include "engine/run/direct/copies.h"
#include "engine/run/direct/crossing.h"
#include "engine/run/direct/policy.h"
#include "engine/run/direct/process.h"
#include "engine/run/direct/scan.h"
#include "engine/run/direct/shadow.h"
#include "engine/run/tier/code_index.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/cpu.h"
#include "engine/x86/mmu/paging.h"

/* Linux's selectors, which a stub has. */
#define DIRECT_USER32_CS 0x23
#define DIRECT_USER_DS   0x2b
#define DIRECT_USER_CS   0x33

/* Why code in ring 3 is another tier's. */
enum direct_obstacle {
	OBSTACLE_NONE,
	OBSTACLE_WIDTH,    /* 16-bit code, or no IA-32e mode */
	OBSTACLE_SEGMENTS, /* that a stub cannot have */
	OBSTACLE_FLAGS,    /* TF, AC, IOPL, interrupts off */
	OBSTACLE_DEBUGGER, /* breakpoints, of the guest's or not */
	OBSTACLE_CONTROL,  /* CR0, CR4 and XCR0 */
	OBSTACLE_HIDDEN,   /* the guest's CPUID hides what a stub could execute all the same: hidden.c */
	OBSTACLE_PLACE,    /* the guest has mapped memory wherever the stub could be; or there is no stub */
	OBSTACLES,
};

struct direct_counters {
	uint64_t obstacles[OBSTACLES]; /* that code was given to other tiers for */
	uint64_t moved;                /* stubs, since the guest had mapped memory near them */
	uint64_t narrow;               /* entries into 32-bit code */
	uint64_t widths;               /* far transfers between 32-bit and 64-bit code, seen at a stop */
	uint64_t entries, system_calls, fills, ahead, guest_faults, kicks, repeated, refused, exceptions, cpuids;
	uint64_t sensitive, pieces, stays; /* visits of code that is not run directly */
	uint64_t trapped, copied; /* instructions that are traps in copies of pages, and pages copied */
	uint64_t turned_to_write, turned_to_execute; /* pages that were the other before */
	uint64_t restless; /* mappings that are both */
	uint64_t translated_stays, holds, locked;
	uint64_t doubts, compared, gone; /* spaces and pages compared, and pages that were not the same */
	uint64_t pages, mappings, wholes, unmapped, evicted, dropped, processes, failures, lost;
	uint64_t given_back, unmade; /* stubs that made room for others, and those that could not be made */
};

#define DIRECT_CHANGES 4096u

struct direct {
	struct cpu *cpu;
	const struct stub_source *stubs;
	const struct direct_memory *memory;
	struct shadow shadow;
	struct code_holder holder; /* what may be executed in the shadow is code that it keeps */
	struct scan_cache scans;
	struct copies copies;
	/* What the last comparison of a space has found: settle.c. */
	uint64_t changes[DIRECT_CHANGES];
	uint32_t change_count;
	/* Of each space of the shadow. A space outlives its process, which may be killed. */
	struct direct_process processes[SHADOW_SPACES];
	struct book book;
	struct book_entry *present; /* of the present stay in ring 3; NULL: there is none */
	struct policy *policy;      /* its thread's */
	uint64_t stay_began;        /* host TSC */
	bool is_skipped;            /* the present stay is not measured */
	unsigned untold;            /* how many behind it are not either, and need not be told of: cpu->untold_stays */
	uint64_t entries_before;    /* when it began */
	struct crossing crossing;
	uint32_t tsc_khz; /* the host's */
	bool is_always;             /* whatever it costs */
	bool is_looked_at;          /* `obstacle_of_cpuid` is known: CPUID does not change once a CPU has run */
	enum direct_obstacle obstacle_of_cpuid; /* for good */
	uint64_t doubt_ticks;       /* ... after which a space is compared in any case: a second */
	const struct direct_process *_Atomic running; /* whom a kick is for */
	bool cpuid_faults; /* in stubs */
	bool was_kernel;   /* ring 3 is left */
	bool declines;     /* until the kernel has been there */
	unsigned stub_count;  /* of `processes` */
	unsigned attempts;    /* to make a stub, in vain, since the last one was made */
	unsigned why_none;    /* errno of the last of them; 0: one was made */
	uint64_t rests_until; /* host TSC: none is tried before */
	/* Of the last fill, and the entry before it: the same again at once is not filled again. */
	uint64_t fault_rip, fault_gva, fault_entry;
	uint64_t cpuid_entry; /* the entry that a CPUID ended last */
	/* The last page fault that the guest's kernel was told: what it has mapped by the time that the
	 * same instruction is executed again is filled before. */
	struct {
		bool is_open;
		uint64_t rip, gva, cr3;
		enum paging_access access;
	} raised;
	unsigned allowed; /* by the guest's kernel, by which all that is mapped came in: ALLOW_RDTSC, ALLOW_FSGSBASE */
	uint32_t clock;
	struct direct_counters counters;
	struct direct_comparison *comparison; /* NULL: nothing is compared */
};

static inline struct direct *direct_of(const struct cpu *cpu)
{
	return tier_state(cpu, TIER_DIRECT);
}

static inline struct direct_process *process_of(struct direct *direct, const struct shadow_space *space)
{
	return &direct->processes[space - direct->shadow.spaces];
}

/* -- eligible.c -- */

enum direct_obstacle direct_obstacle(const struct cpu *cpu);

/* -- hidden.c -- */

/* Whether the guest's CPUID is less than the host's where ring 3 would notice. Not on the hot path. */
bool hidden_is_executable(const struct cpu *cpu);

/* -- state.c: the CPU's registers to a stub's frame and back. Vector registers free -- */

void state_to_stub(struct direct *direct, struct direct_process *process);
/* Unwinds with #GP where the guest's tables have no such segments as the stub has come to. */
void state_from_stub(struct direct *direct, const struct direct_process *process);

/* -- fill.c, settle.c: from the guest's page tables to mappings. Vector registers free -- */

enum fill {
	FILL_DONE,      /* the access can be made now */
	FILL_SENSITIVE, /* what is there is not to be run directly */
	FILL_REFUSED,   /* no memory, or no plain one, or no room: execute the instruction otherwise */
};

/* Map gva's page for the access, and neighbours. Raises the guest's #PF. */
enum fill fill_page(struct direct *direct, struct shadow_space *space, uint64_t gva,
		    enum paging_access access);
/* Map what code is about to touch: where the guest's last page fault was, and the stack. */
void fill_ahead(struct direct *direct, struct shadow_space *space);
/* Before anything is mapped: what is in doubt is compared, what is lost altogether is unmapped. */
void fill_settle(struct direct *direct, struct shadow_space *space);
/* Likewise: copies of code that are not what memory holds any more are lost. */
void fill_compare_copies(struct direct *direct, struct shadow_space *space);
/* After that: unmap the pages that were lost and are not there again. */
void fill_unmap_losses(struct direct *direct, struct shadow_space *space);

/* -- compare.c: for DIRECT_COMPARED; without, nothing happens. Vector registers free, but for the first -- */

/* Whether stubs may write to the guest's page at hva as it is. Any state of the vector registers. */
bool compare_may_write(const struct direct *direct, const uint8_t *hva);
/* They will be given the page to write to. */
void compare_note_write(struct direct *direct, uint64_t gpa, uint8_t *hva);
/* A stub is about to be entered with the CPU's present state. */
void compare_begin(struct direct *direct);
/* It has come to the CPU's present state, by an exception, a system call (which takes RCX and R11), or a kick. */
void compare_end(struct direct *direct, bool is_call, bool is_kicked);
/* 0 or -ENOMEM. */
int compare_attach(struct direct *direct);
uint64_t compare_differences(const struct direct *direct);
void compare_detach(struct direct *direct);

/* -- supply.c. Vector registers free, but for the last -- */

/* The space of the CPU's page tables, with its stub. NULL: there is no stub, or no place for one. */
struct shadow_space *supply_space(struct direct *direct);
/* The space's stub, which has one, is ended. */
void supply_end(struct direct *direct, struct shadow_space *space);
/* There was none to be had so often that it is not tried now. */
bool supply_rests(const struct direct *direct);

/* -- run.c -- */

enum tier_stop direct_run(struct cpu *cpu);
void direct_access_changed(struct cpu *cpu);

#endif
