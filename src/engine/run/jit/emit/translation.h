/*
 * The code of a block under construction, shared by the files that emit it.
 */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_TRANSLATION_H
#define KVIK_ENGINE_RUN_JIT_EMIT_TRANSLATION_H

#include "engine/run/jit/emit/emitter.h"
#include "engine/run/jit/emit/state.h"
#include "engine/run/jit/emit/stubs.h"
#include "engine/run/jit/plan/plan.h"

/* A place in the block that jumps to an item's slow path, or out of a region or loop. */
struct slow_jump {
	struct near_jump jump;
	uint16_t item; /* or enum slow_kind + a number */
};

#define SITE_HOT JIT_BLOCK_INSNS /* in place of a site's item */

enum slow_kind {
	SLOW_REGION = JIT_BLOCK_INSNS, /* to a region's second translation */
	SLOW_LOOP = SLOW_REGION + REGIONS_MAX, /* from a lookup of the loop's preheader */
	SLOW_INSIDE = SLOW_LOOP + LOOP_KEYS_MAX + 1, /* from the check of a region in the loop */
	SLOW_LEAVE = JIT_BLOCK_INSNS * 2, /* from the loop to an item's ordinary translation */
	SLOW_TAKEN = SLOW_LEAVE + JIT_BLOCK_INSNS + 1, /* to a conditional jump's target */
};

_Static_assert(SLOW_INSIDE + LOOP_REGIONS_MAX <= SLOW_LEAVE, "slow kinds overlap");

/* The cold half of a poll. */
struct poll_exit {
	struct near_jump jump;
	int64_t target;
	uint8_t source;  /* index of the flags' source */
	bool flags_lost;
	int rsp_moved;
};

struct side_exit {
	struct near_jump jump;
	uint16_t item;
	int64_t target;
};

/* The cold half of a paired return, and of a call's look at the room for pairs. */
struct return_miss {
	struct near_jump jump; /* if there is one */
	unsigned index;
	bool flags_lost;
};

struct pair_reset {
	struct near_jump jump; /* if there is one */
	struct code_place back;
	unsigned index;
	bool flags_lost;
};

/* What earlier items have done for later ones. */
struct progress {
	bool vector_checked[JIT_VECTOR_LEVELS]; /* since the last fallback in line */
	bool segment_checked[2]; /* likewise: FS and GS of 32-bit code are flat but for the base */
	bool has_x87_page; /* frame.x87_page is stored */
};

/* A region's, between its two translations. */
struct region_state {
	bool flags_lost, flags_lost_behind; /* translation.flags_lost behind the check, the region */
	struct progress before;
};

/* An access on its way to host memory: at [base + displacement] in the guest, or where the item's
 * operand says (base HOST_NONE). */
struct access {
	unsigned item;
	uint8_t base; /* a host register that holds a guest's */
	int32_t displacement;
	unsigned size;
	bool is_write, aligned;
	int slot; /* the page slot that it tries first, or -1 */
};

/* A check of a page slot, for its other half. */
struct slot_miss {
	struct access access;
	struct near_jump jump;
	struct code_place back; /* behind the check */
	bool keeps_flags;
	bool flags_lost; /* translation.flags_lost behind it */
};

struct translation {
	struct guest_code guest;
	struct plan plan;
	const struct jit_stubs *stubs;
	bool is_shared;             /* other CPUs run it, too */
	bool counts_lookups;        /* as struct jit_options' */
	bool is_lean;               /* little code, made fast: lean.c */
	bool counts_runs;           /* in the block's heat: lean.c */
	enum jit_heat heat;         /* how soon that is enough */
	unsigned heat_number;       /* in frame.heat */

	struct emitter e;           /* the first of what begins as zero */
	int32_t jumps;              /* offset of the jump table in struct cpu */
	unsigned slow_count;
	unsigned site_count;
	struct near_jump heat_jump; /* when it is hot, if there is one */
	unsigned heat_item;         /* in front of which it is counted */
	struct constant_place heat_at; /* the offset of its heat in the frame, if it is there */
	unsigned slot_miss_count, slot_miss_done;
	unsigned side_count;
	unsigned link_count;
	bool flags_lost;            /* here live flags are not the host's, but can be made again */
	bool slow_flags_lost[JIT_BLOCK_INSNS]; /* likewise in the slow path of each item */
	unsigned poll_count;
	struct constant_place next_page_at; /* the next page's index, if it is there */
	struct return_miss return_miss;
	struct pair_reset pair_reset;
	size_t counting_size;       /* bytes of code that counts lookups */
	size_t kept_size;           /* of what is kept about the block */
	bool failed;                /* something that has no translation after all */
	struct progress progress;
	const uint8_t *map; /* where guest registers are: host registers or HOST_NONE */
	unsigned slow_offset; /* added to the items of slow jumps */
	/* Inside a region or loop: where the items' memory operands are, proven to be
	 * accessible; base HOST_NONE: must be looked up. NULL elsewhere. */
	const struct host_memory *places;
	uint8_t scratch[2]; /* registers that emitted items may use */
	uint8_t scratch_count; /* in a region or loop the first, unless an item uses two */
	uint8_t homes[2];   /* homes.c: guest registers that R13 and R14 have, too; 0: none */

	/* -- lists, only as far as the counts above say; all else begins as zero -- */
	struct code_place item_place[JIT_BLOCK_INSNS + 1];
	struct code_place resume_place[JIT_BLOCK_INSNS]; /* behind each item, where all state is the guest's */
	struct code_place entry_place[JIT_BLOCK_INSNS + 1]; /* before each item, likewise */
	struct slow_jump slow[JIT_BLOCK_INSNS * 8];
	struct { struct code_place place; uint16_t item; } sites[JIT_BLOCK_INSNS * 2 + 2];
	struct slot_miss slot_misses[JIT_BLOCK_INSNS * 4];
	struct side_exit sides[JIT_BLOCK_INSNS * 3];
	struct { struct near_jump jump; int64_t target; } link_jumps[JIT_BLOCK_INSNS * 3 + 3];
	struct poll_exit polls[JIT_BLOCK_INSNS * 3 + 3];
	struct region_state region_states[REGIONS_MAX];
	struct emit_externals externals;
	struct jit_item items[JIT_BLOCK_INSNS * 2]; /* guest.items */
};

/* Of a conditional jump. */
static inline enum host_condition item_condition(const struct jit_item *item)
{
	return item->form.opcode & 0xf;
}

/* host_register() of each. */
extern const uint8_t host_registers[CPU_REGISTERS];

/* -- recreate.c: `index` stands for the place before that item, the count for the block's end -- */

/* Whether code that is inserted in front of the item's operation, or the check of a region, must
 * leave the flags alone. If not, they count as lost: emit_flags makes them again where they are
 * needed. `index` as in struct slow_jump. */
bool flags_stay(struct translation *t, unsigned index);
/* The same with the flags in `live` to be kept. */
bool flags_stay_for(struct translation *t, unsigned index, uint16_t live);
/* Make lost flags again. RSP has moved by `rsp_moved` since the item began; `scratch` may be used. */
void emit_flags(struct translation *t, unsigned index, int rsp_moved, unsigned scratch);
void emit_flags_again(struct translation *t, unsigned index, int rsp_moved, unsigned scratch);
bool flags_lost_with_scratch(const struct translation *t, unsigned index); /* it will be used */
/* Save the flags where that is the way to keep them; emit_flags_before does it, too. */
void emit_flags_save(struct translation *t, unsigned index);
/* Around each item: before its code, and between its checks and its operation. */
void emit_flags_before(struct translation *t, unsigned index);
void emit_flags_inside(struct translation *t, unsigned index);

/* -- slow.c -- */

/* The call that ends here is a site of the item: its stub may go on to the slow stub. The flags are not
 * lost here. */
void emit_site(struct translation *t, unsigned item);
/* The jump goes to the item's slow path. */
void emit_slow_jump(struct translation *t, struct near_jump jump, unsigned item);
/* emit_slow_jump, and what comes that way is counted. R14 is lost there. Both are without effect on
 * the count unless counts_lookups is set. */
void emit_slow_jump_counted(struct translation *t, struct near_jump jump, unsigned item,
			    enum jit_count which);
/* Count this time. Flags survive, R14 is lost. */
void emit_count(struct translation *t, enum jit_count which);
/* The slow path unless RCX is 0. Takes the guest's RCX back from R13. Flags survive. */
void emit_slow_unless_rcx_zero(struct translation *t, unsigned slow);
/* The slow path unless the 8 bytes at `blocked` in struct cpu are 0. Flags survive, R13 does not. */
void emit_slow_if_blocked(struct translation *t, unsigned slow, int32_t blocked);

/* -- address.c; R13 and R14 are scratch in all of these -- */

/* reg = guest register, wherever it lives; its lower half in 32-bit code. */
void emit_load_guest(struct translation *t, unsigned reg, unsigned guest);
/* reg = the guest address `distance` bytes from the start of the block's page. 32 bits unless
 * `wide`. */
void emit_code_address(struct emitter *e, unsigned reg, bool wide, int64_t distance);
/* reg = base + (index << scale) + displacement, of 32 bits where addresses are. */
void emit_sum(struct emitter *e, const struct insn *insn, unsigned reg, unsigned base, unsigned index);
/* R13 = the effective address, with the segment's base. May jump to the slow path. */
void emit_address(struct translation *t, const struct jit_item *item);
/* Move the guest's stack pointer. */
void emit_stack_move(struct translation *t, int32_t bytes);
/* R13 = the linear address of the operand that the item names: BT and its like may access another. */
void emit_operand_linear(struct translation *t, const struct access *access);
/* R13 = the access's linear address; may use R14. */
void emit_linear(struct translation *t, const struct access *access);
#define TLB_ENTRY(field)                                                                           \
	((int32_t)(offsetof(struct tlb_set, entries) + offsetof(struct tlb_entry, field)))
/* With the address XOR a page's in `reg`: jump unless all of the access lies in that page, and is
 * aligned if it must be. Returns the jump; changes flags. */
struct near_jump emit_offset_check(struct emitter *e, unsigned reg, const struct access *access);
/* RCX = 0 when the distance in `reg` is one in the page, aligned for the access. Flags survive. */
void emit_alignment_bits(struct emitter *e, unsigned reg, const struct access *access);
/* entry = the TLB entry of the address in another register: changes flags. */
void emit_tlb_entry(struct emitter *e, unsigned entry, unsigned address);
/* With an address in R13: R14 = its TLB entry, and a jump, which is returned, where
 * that has it with the right whose tag it is, all of the access in the page, and aligned if it must be.
 * `distance` (RCX will do) becomes its distance from the tag, RCX is in frame.spill[0], flags survive. */
struct short_jump emit_tag_check_flagless(struct emitter *e, unsigned distance, int32_t tag,
					  const struct access *access);
/* opcode reg, [base + displacement] of a TLB entry. */
void emit_entry_op(struct emitter *e, uint8_t opcode, unsigned reg, unsigned base,
		   int32_t displacement);

/* -- access.c; R13 and R14 are scratch -- */

/*
 * Check an access against the TLB; jumps to the item's slow path where it misses. The result is where
 * the operand is in host memory: base is R13 (then the linear address, displacement 0) or the
 * guest's base register, index R14. Flags survive where the item's are live.
 */
struct host_memory emit_operand_access(struct translation *t, unsigned index, unsigned size,
				       bool is_write, bool aligned);
/* The same for a stack slot at [base + displacement], base a host register that holds a guest's. */
struct host_memory emit_stack_access(struct translation *t, unsigned index, unsigned base,
				     int32_t displacement, bool is_write);

/* -- homes.c -- */

/* Host registers that may stand for guest registers which live in struct cpu: scratch ones. */
struct home_hosts {
	uint8_t host[2];
	uint8_t count;
};

void homes_forget(struct translation *t);
/* Those of the guest registers (bits) that live in struct cpu here. */
uint16_t homes_of(const struct translation *t, uint16_t registers);
/* What an item with these may use. */
struct home_hosts homes_hosts(const struct translation *t, uint16_t homes);
/* The host register that stands for a guest register, one of `used`, which the item uses: with its value if it
 * `is_read`. Who writes it stores it, too. */
unsigned emit_home(struct translation *t, unsigned guest, const struct home_hosts *hosts, uint16_t used,
		   bool is_read);
/* The one for a result that is made of all others in one instruction. */
unsigned homes_result(struct translation *t, unsigned guest, const struct home_hosts *hosts);

/* -- lean.c -- */

/* Whether the access is a stub's: of lean code, and nothing special. */
bool access_has_stub(const struct translation *t, const struct access *access);
/* Then, what emit_operand_access promises; the operand's base is R13, without an index. */
struct host_memory emit_lean_access(struct translation *t, const struct access *access);
/* Whether code here may be a call of a stub, with a site. */
bool is_lean_here(const struct translation *t);
/* Then: leave in front of a jump if the CPU is wanted elsewhere. */
void emit_lean_poll(struct translation *t, unsigned index);
/* R13 = the return address, pushed and committed; there is room for a pair. */
void emit_lean_push_return(struct translation *t, unsigned index);
/* frame.spill[2] = where the code for the address in R13 is, which stays there. */
void emit_lean_lookup(struct translation *t, unsigned index);
/* A return, without parameters. */
void emit_lean_return(struct translation *t, unsigned index);
/* Count this run, in front of the item, if that is to be done and has not been; flags must be free. */
void emit_heat(struct translation *t, unsigned index);
void emit_lean_stubs(struct jit_stubs *stubs, struct emitter *e);

/* -- slot.c -- */

/* The slot for accesses off a host register that holds a guest's; for an item's operand, or -1. */
int slot_of_stack(unsigned base);
int slot_of_operand(const struct jit_item *item);
/* Check an access with the slot that it has; what emit_operand_access promises. */
void emit_slot_access(struct translation *t, const struct access *access);
/* The other halves of the checks since the last call. */
void emit_slot_misses(struct translation *t);
void emit_slot_stubs(struct jit_stubs *stubs, struct emitter *e);

/* -- item.c -- */

/* Take the slow path unless vector instructions of this level may run. R13 is scratch. */
void emit_vector_check(struct translation *t, unsigned slow, unsigned level);
void emit_item(struct translation *t, unsigned index);
/* The jump goes where the conditional jump `index` goes. */
void emit_side_jump(struct translation *t, struct near_jump jump, unsigned index);

/* -- system.c: instructions of the kernel that change a few fields of struct cpu -- */

void emit_push_flags(struct translation *t, unsigned index);
void emit_pop_flags(struct translation *t, unsigned index);
void emit_system(struct translation *t, unsigned index);

/* -- system_call.c -- */

/* SYSCALL or SYSRET as a stub executes it, where that can be: its site is behind it. False: it is none of these. */
bool emit_system_call(struct translation *t, unsigned index);
void emit_system_call_stubs(struct jit_stubs *stubs, struct emitter *e);

/* -- string.c -- */

void emit_string(struct translation *t, unsigned index);
void emit_string_stubs(struct jit_stubs *stubs, struct emitter *e);

/* -- way_out.c -- */

/* In front of a jump that will be linked while other CPUs may execute it: align the
 * displacement, which is behind `opcode_size` bytes. */
void emit_align_link(struct translation *t, unsigned opcode_size);
/*
 * Jump to `target` from the instruction at `from`, both from the start of the page, where the flags
 * in `live` are read. `index` and `rsp_moved` say where that is, as for emit_flags.
 */
void emit_goto(struct translation *t, unsigned from, int64_t target, unsigned index, int rsp_moved,
	       uint16_t live);
/* The same, from behind the instruction, with the flags in the host's. */
void emit_goto_exact(struct translation *t, unsigned from, int64_t target, uint16_t live);
/* The last part of that, with nothing left to do: a jump, or a host call. */
void emit_way_out(struct translation *t, int64_t target, bool is_call);
/* What stands before a block for those who come with an address in R13 where it may be: struct
 * jit_block. */
void emit_entry(struct translation *t);
/* ITEM_NEXT_PAGE: on to the slow path unless the next page is at its address in the present view. */
void emit_next_page(struct translation *t, unsigned index);
/* The cold halves of polls. */
void emit_poll_exits(struct translation *t);

/* -- lookup.c -- */

/*
 * With a guest address in R13: find its translation in the jump table. Falls through with the
 * table's byte offset / 2 in R14 on a hit; on a miss, or when the CPU is wanted elsewhere, goes to
 * the item's slow path.
 */
void emit_jump_lookup(struct translation *t, unsigned index);
/* Leave to the block's entry that emit_jump_lookup has found, which expects its address in R13. */
void emit_jump_found(struct translation *t, unsigned index, int rsp_moved);
/* The same lookup, in any emitter, with flags kept: RCX is lost, and 0 on a hit. */
void emit_jump_probe(struct emitter *e, int32_t jumps);
/* The same where flags are free, with the table's byte offset / 2 in R14, and RCX as it was. */
void emit_jump_index(struct emitter *e, int32_t jumps, struct near_jumps *misses);
/* The entry's code, by its byte offset / 2. */
#define JUMP_CODE(jumps) ((jumps) + (int32_t)offsetof(struct jit_jump, code))
/* cmp dword gs:[requests], 0; jne. Returns the jump. */
struct near_jump emit_if_requests(struct emitter *e);

/* -- control.c -- */

/* Push a guest register, or with `guest` CPU_REGISTERS the constant; commits RSP. */
void emit_push_value(struct translation *t, unsigned index, unsigned guest, uint64_t constant);
void emit_call(struct translation *t, unsigned index);
void emit_indirect(struct translation *t, unsigned index); /* jump or call */

/* -- return.c -- */

/* Whether a call leaves its pair for the return to find. */
bool call_is_paired(struct translation *t, unsigned index);
/* With the return address in R13, pushed and committed, and `live` flags: make room for the pair if
 * need be, make lost flags again and push it. R14 is scratch. What follows must be a host call and
 * emit_landing. */
void emit_pair(struct translation *t, unsigned index, uint16_t live);
/* The last part of that. */
void emit_pair_push(struct translation *t, unsigned index);
void emit_landing(struct translation *t, unsigned index);
void emit_return(struct translation *t, unsigned index);
/* The cold halves of all that. */
void emit_return_misses(struct translation *t);
void emit_return_stubs(struct jit_stubs *stubs, struct emitter *e);

#endif
