/*
 * From guest instructions to a block of host code.
 *
 * Fixed register map: guest RAX..R12 live in the host registers of the same name, except RSP, which
 * lives in R15; guest R13, R14 and R15 live in struct cpu. Host R13 and R14 are scratch, RSP is the
 * host's stack. So every instruction with implicit operands (MUL, shifts by CL, CMPXCHG) can be
 * copied as it stands.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run/jit/lockstep.h"
#include "engine/run/jit/loop.h"
#include "engine/run/jit/region.h"
#include "engine/run/jit/translation.h"
#include "engine/x86/decode/decode.h"
#include "engine/run/interp/exec.h"
#include "engine/x86/system.h"

static void emit_fallback(struct translation *t, unsigned index)
{
	/* The record's address is known only when the block is complete. */
	emit_slow_jump(t, emit_jump(&t->e), index);
	memset(t->progress.vector_checked, 0, sizeof(t->progress.vector_checked));
	memset(t->progress.segment_checked, 0, sizeof(t->progress.segment_checked));
}

/* Whether nobody reads the flags that there are where a slow path begins. */
static bool flags_are_dead(const struct translation *t, unsigned slow)
{
	if (slow >= SLOW_LOOP) /* a loop begins so */
		return true;
	if (slow >= SLOW_REGION)
		slow = t->regions[slow - SLOW_REGION].start;
	return !flags_needed(&t->jit->items[slow]);
}

void emit_vector_check(struct translation *t, unsigned slow, unsigned level)
{
	int32_t blocked = STATE(fast.vector_blocked) + (int32_t)level * 8;
	struct emitter *e = &t->e;

	if (t->progress.vector_checked[level])
		return;
	if (flags_are_dead(t, slow)) {
		emit_test_state(e, blocked);
		emit_slow_jump(t, emit_jump_if(e, 0x5), slow); /* not zero */
	} else {
		emit_slow_if_blocked(t, slow, blocked);
	}
	/* A slow path that changes this leaves the block. */
	for (unsigned i = 0; i <= level; i++)
		t->progress.vector_checked[i] |= i != JIT_VECTOR_X87 || level == JIT_VECTOR_X87;
}

static void emit_item_vector_check(struct translation *t, unsigned index, unsigned level)
{
	t->jit->items[index].vector_levels |= 1u << level;
	emit_vector_check(t, index, level);
}

/* All of a block is in one page, so that is stored once. */
static void emit_x87_pointer(struct translation *t, unsigned offset, unsigned scratch)
{
	if (!t->progress.has_x87_page) {
		emit_load_state(&t->e, scratch, STATE(fast.code_page));
		emit_store_state(&t->e, scratch, STATE(fast.x87_page));
	}
	t->progress.has_x87_page = true;
	emit_store_state_constant(&t->e, JIT_X87_MOVED | offset, STATE(fast.x87_offset));
}

/* Whether the item changes the same memory in each iteration of a loop, which nobody but vCPUs'
 * LOCK must see at once. */
static bool is_loop_update(const struct jit_item *item, const struct reencode *rename)
{
	return item->info.has_memory && item_is_update(item) &&
	       rename->memory.index == HOST_NONE && rename->memory.base != HOST_R13 &&
	       (rename->without_lock || !(item->instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK));
}

/*
 * op [memory], source as: move, op reg, [memory], store. The flags are the same. Zen 4 keeps a value
 * that is stored and loaded again by such instructions in a register (0.3 ns an iteration), but not
 * for the one instruction (1.8 ns). `reg` may be the source.
 */
static void emit_loop_update(struct emitter *e, const struct jit_item *item,
			     const struct host_memory *memory, unsigned source, unsigned reg)
{
	bool wide = item->insn.operand_size == 8;

	if (source != reg)
		emit_move_width(e, wide, reg, source);
	emit_memory_op(e, wide, item->instruction.opcode | 2, reg, memory);
	emit_memory_move(e, wide, true, reg, memory);
}

static void emit_copy(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	struct emitter *e = &t->e;
	struct reencode rename;
	uint16_t used = item->info.gpr_read | item->info.gpr_written;
	unsigned free_scratch[2] = { t->scratch[0], t->scratch[1] }, next = 0;
	int level = item_is_general(item->instruction.mnemonic) ? -1
								 : item_vector_level(&item->instruction);
	bool moves_pointer = level == JIT_VECTOR_X87 && item_moves_x87_pointer(item);

	if (level >= 0)
		emit_item_vector_check(t, index, level);
	if (level > JIT_VECTOR_X87 && item_mixes_mmx(item))
		emit_item_vector_check(t, index, JIT_VECTOR_X87);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		rename.map[i] = t->map[i];
	rename.without_lock = t->jit->cpu->is_alone && !item_is_fence(item);
	if (item->info.has_memory) {
		rename.memory = emit_operand_access(t, index, item->info.memory_size,
						    item->info.memory_written,
						    item_needs_alignment(item));
		emit_flags_inside(t, index);
		if (rename.memory.base == HOST_R13 && rename.memory.index == HOST_R14 &&
		    (guest_home_count(used) || (moves_pointer && !t->progress.has_x87_page))) {
			emit_lea(e, true, HOST_R13, HOST_R14, HOST_R13, 0, 0);
			rename.memory = (struct host_memory){ HOST_R13, HOST_NONE, 0 };
			free_scratch[0] = HOST_R14;
		}
	}
	if (moves_pointer)
		emit_x87_pointer(t, item->offset, free_scratch[0]);
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++) {
		if (!(used >> i & 1) || t->map[i] != HOST_NONE)
			continue;
		rename.map[i] = free_scratch[next++];
		if (item->info.gpr_read >> i & 1)
			emit_load_state(e, rename.map[i], home(i));
	}
	if (is_loop_update(item, &rename))
		emit_loop_update(e, item, &rename.memory, rename.map[item->insn.reg[1] / 8],
				 free_scratch[0]);
	else if (!reencode_emit(e, &item->instruction, item->bytes, &item->info, &rename))
		t->failed = true;
	for (unsigned i = HOST_R13; i < CPU_REGISTERS; i++)
		if (item->info.gpr_written >> i & 1 && t->map[i] == HOST_NONE)
			emit_store_state(e, rename.map[i], home(i));
}

static void emit_lea_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = t->map[guest];
	unsigned reg = host == HOST_NONE ? t->scratch[0] : host;

	emit_address(t, item, reg, true);
	if (item->insn.operand_size == 4 && item->insn.address_size == 8) {
		/* mov reg32, reg32 */
		emit_rex(&t->e, false, reg, 0, reg);
		emit8(&t->e, 0x89);
		emit8(&t->e, 0xc0 | (reg & 7) << 3 | (reg & 7));
	}
	if (host == HOST_NONE)
		emit_store_state(&t->e, reg, home(guest));
}

/* One instruction on R13 or R14 and perhaps another register, given as its opcode and ModRM byte. */
static void emit_operation(struct emitter *e, uint8_t rex, bool wide, uint8_t opcode, uint8_t modrm)
{
	emit8(e, rex | wide << 3);
	emit8(e, opcode);
	emit8(e, modrm);
}

/*
 * DIV and IDIV, as long as they cannot raise #DE: the dividend's upper half is below the divisor, or
 * the dividend is a sign-extended half and the divisor neither 0 nor -1. Anything else is the
 * interpreter's, and so are the rare cases in which somebody reads the flags behind them.
 */
static void emit_divide(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	bool is_signed = item->instruction.mnemonic == ZYDIS_MNEMONIC_IDIV;
	bool wide = item->insn.operand_size == 8;
	struct emitter *e = &t->e;

	if (item->live_after) {
		emit_fallback(t, index);
		return;
	}
	if (item->insn.kind[0] == INSN_OPERAND_MEMORY) {
		struct host_memory divisor =
			emit_operand_access(t, index, item->insn.operand_size, false, false);

		emit_memory_move(e, wide, false, HOST_R14, &divisor);
	} else {
		emit_load_guest(t, HOST_R14, item->insn.reg[0] / 8);
	}
	if (is_signed) {
		emit_move(e, HOST_R13, HOST_RAX);
		emit_operation(e, 0x41, wide, 0xc1, 0xfd); /* sar r13, 31 or 63 */
		emit8(e, wide ? 63 : 31);
		emit_operation(e, 0x41, wide, 0x39, 0xd5); /* cmp r13, rdx */
		emit_slow_jump(t, emit_jump_if(e, 0x5), index); /* not equal */
		emit_lea(e, wide, HOST_R13, HOST_R14, HOST_NONE, 0, 1);
		emit_immediate_flags(e, wide, 7, HOST_R13, 1);
		emit_slow_jump(t, emit_jump_if(e, 0x6), index); /* below or equal */
		emit_operation(e, 0x41, wide, 0xf7, 0xfe); /* idiv r14 */
	} else {
		emit_operation(e, 0x44, wide, 0x39, 0xf2); /* cmp rdx, r14 */
		emit_slow_jump(t, emit_jump_if(e, 0x3), index); /* not below */
		emit_operation(e, 0x41, wide, 0xf7, 0xf6); /* div r14 */
	}
}

/* Both accesses are checked before the store. */
static void emit_push_memory(struct translation *t, unsigned index)
{
	struct emitter *e = &t->e;
	struct host_memory value = emit_operand_access(t, index, t->width, false, false), top;

	emit_memory_move(e, !t->is_32, false, HOST_R13, &value);
	emit_store_state(e, HOST_R13, STATE(fast.spill[1]));
	top = emit_stack_access(t, index, HOST_R15, -(int32_t)t->width, true);
	if (top.base == HOST_R13) {
		emit_lea(e, true, HOST_R14, HOST_R13, HOST_R14, 0, 0);
		top = (struct host_memory){ HOST_R14, HOST_NONE, 0 };
	}
	emit_load_state(e, HOST_R13, STATE(fast.spill[1]));
	emit_memory_move(e, !t->is_32, true, HOST_R13, &top);
	emit_stack_move(t, -(int32_t)t->width);
}

static void emit_pop_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];
	unsigned guest = item->insn.reg[0] / 8;
	uint8_t host = host_register(guest);

	struct host_memory top = emit_stack_access(t, index, HOST_R15, 0, false);

	emit_flags_inside(t, index);
	emit_memory_move(&t->e, !t->is_32, false, host == HOST_NONE ? t->scratch[0] : host, &top);
	if (host == HOST_NONE)
		emit_store_state(&t->e, t->scratch[0], home(guest));
	if (guest != CPU_RSP)
		emit_stack_move(t, (int32_t)t->width);
}

static void emit_leave_item(struct translation *t, unsigned index)
{
	struct host_memory top = emit_stack_access(t, index, HOST_RBP, 0, false);

	emit_flags_inside(t, index);
	emit_memory_move(&t->e, !t->is_32, false, t->scratch[0], &top);
	emit_lea(&t->e, !t->is_32, HOST_R15, HOST_RBP, HOST_NONE, 0, (int32_t)t->width);
	emit_move(&t->e, HOST_RBP, t->scratch[0]);
}

void emit_side_jump(struct translation *t, size_t at, unsigned index)
{
	t->sides[t->side_count++] = (struct side_exit){
		at, index, item_target(&t->jit->items[index])
	};
}

static void emit_jump_if_item(struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];
	uint8_t condition = item->instruction.opcode & 0xf;
	int64_t target = item_target(item);
	size_t past;

	if (target > item->offset) {
		emit_align_link(t, 2);
		emit_side_jump(t, emit_jump_if(&t->e, condition), index);
		return;
	}
	/* A loop, most of the time: what it needs stands in line. */
	past = emit_jump_if(&t->e, condition ^ 1);
	emit_goto(t, item->offset, target, index, 0, item->live_after);
	t->flags_lost = false;
	emit_patch(&t->e, past);
}

void emit_item(struct translation *t, unsigned index)
{
	struct jit_item *item = &t->jit->items[index];

	emit_flags_before(t, index);
	switch (item->kind) {
	case ITEM_NOTHING: break;
	case ITEM_COPY: emit_copy(t, index); break;
	case ITEM_LEA: emit_lea_item(t, index); break;
	case ITEM_DIVIDE: emit_divide(t, index); break;
	case ITEM_PUSH:
		if (item->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			emit_push_value(t, index, CPU_REGISTERS, item->insn.immediate);
		else
			emit_push_value(t, index, item->insn.reg[0] / 8, 0);
		break;
	case ITEM_PUSH_MEMORY: emit_push_memory(t, index); break;
	case ITEM_PUSH_FLAGS: emit_push_flags(t, index); break;
	case ITEM_POP: emit_pop_item(t, index); break;
	case ITEM_LEAVE: emit_leave_item(t, index); break;
	case ITEM_JUMP:
		emit_goto(t, item->offset, item_target(item), index, 0, item->live_after);
		break;
	case ITEM_JUMP_IF: emit_jump_if_item(t, index); break;
	case ITEM_CALL: emit_call(t, index); break;
	case ITEM_RETURN: emit_return(t, index); break;
	case ITEM_JUMP_INDIRECT:
	case ITEM_CALL_INDIRECT: emit_indirect(t, index); break;
	case ITEM_STRING: emit_string(t, index); break;
	case ITEM_FALLBACK: emit_fallback(t, index); break;
	default: emit_system(t, index); break;
	}
}

/* The instruction that begins with the last `size` bytes of the page ends the block: what follows
 * them is looked at each time. */
static void crossing_item(struct jit_item *item, unsigned size, bool keeps_all_flags)
{
	item->instruction = (ZydisDecodedInstruction){ .length = size };
	item->insn = (struct insn){ .execute = exec_crossing, .length = size, .ends_block = 1 };
	item->kind = ITEM_FALLBACK;
	item->changes_vector = true;
	item->locks = false;
	flags_of(item, keeps_all_flags);
}

/* A direct jump to an address that is not canonical is #GP, and a call before it has pushed: the
 * interpreter's business. */
static bool leads_out_of_canonical(const struct jit *jit, const struct jit_item *item)
{
	uint64_t page = jit->cpu->rip & ~(uint64_t)0xfff;

	switch (item->kind) {
	case ITEM_JUMP:
	case ITEM_JUMP_IF:
	case ITEM_CALL:
		return jit_mode_is_64(jit->cpu->mode) &&
		       !cpu_is_canonical(page + (uint64_t)item_target(item));
	default:
		return false;
	}
}

/* Decode the block's instructions into jit->items; the count. */
static unsigned decode_items(struct jit *jit, unsigned start)
{
	const ZydisDecoder *decoder = insn_decoder(jit->cpu->mode, &jit->cpu->rules);
	const uint8_t *bytes = (const uint8_t *)jit->snapshot;
	bool keeps_all_flags = jit->cache->options.keeps_all_flags;
	unsigned count = 0, offset = start;
	struct insn_effects effects;

	while (count < JIT_BLOCK_INSNS && offset < 0x1000) {
		struct jit_item *item = &jit->items[count];
		ZyanStatus status = ZydisDecoderDecodeFull(decoder, bytes + offset,
							   0x1000 - offset, &item->instruction,
							   item->operands);

		item->offset = offset;
		item->bytes = bytes + offset;
		item->info = (struct reencode_info){0};
		item->vector_levels = item->segments = 0;
		if (status == ZYDIS_STATUS_NO_MORE_DATA) {
			crossing_item(item, 0x1000 - offset, keeps_all_flags);
			return count + 1;
		}
		if (!ZYAN_SUCCESS(status))
			break;
		insn_describe(&item->insn,
		              &(struct decoded){&item->instruction, item->operands, item->bytes,
		                                jit->cpu->mode, &jit->cpu->rules},
		              &effects);
		item->kind = item_classify(item, jit->cpu->cpl == 3);
		if (item->insn.execute == insn_undefined)
			item->kind = ITEM_FALLBACK;
		if (leads_out_of_canonical(jit, item))
			item->kind = ITEM_FALLBACK;
		/* Each engine would read another time. */
		if (jit->lockstep && (item->kind == ITEM_RDTSC || item->kind == ITEM_RDTSCP))
			item->kind = ITEM_FALLBACK;
		item->changes_vector = item_changes_vector(item);
		item->locks = item_locks(item, jit->cpu->is_alone);
		flags_of(item, keeps_all_flags);
		count++;
		offset += item->instruction.length;
		if (item_ends_block(item))
			break;
	}
	return count;
}

/* Leave a loop that begins inside the block to a block of its own, so that all of its iterations are
 * there. Whether there is one. */
static bool cut_before_loop(struct translation *t)
{
	const struct jit_item *items = t->jit->items;

	for (unsigned start = 1; start < t->count; start++)
		for (unsigned i = start; i < t->count; i++)
			if (item_jumps_to(&items[i], items[start].offset) &&
			    loop_find(&t->loop, items + start, t->count - start,
				      items[start].offset)) {
				t->count = start;
				return true;
			}
	return false;
}

/* The items in order, with cold translations behind them. */
static void emit_items(struct translation *t)
{
	const struct jit_item *last = &t->jit->items[t->count - 1];
	unsigned next = 0;

	t->scratch[0] = HOST_R13;
	t->scratch[1] = HOST_R14;
	t->map = host_registers;
	t->item_position[0] = t->e.position;
	if (!t->is_32 && loop_find(&t->loop, t->jit->items, t->count, t->start) &&
	    !flags_use_memory(t, t->loop.end))
		emit_loop(t);
	else
		t->loop.end = 0;
	for (unsigned i = 0; i < t->count; i++)
		t->region_places[i].base = HOST_NONE;
	if (!t->is_32)
		t->region_count = regions_find(t->jit->items, t->loop.end, t->count, t->regions,
					       REGIONS_MAX, t->region_places);
	for (unsigned i = 0; i < t->count; i++) {
		t->entry_position[i] = t->e.position;
		if (next < t->region_count && t->regions[next].start == i) {
			i = t->regions[next].end - 1;
			emit_region(t, next++);
			continue;
		}
		if (i > 0)
			t->item_position[i] = t->e.position;
		emit_item(t, i);
		t->resume_position[i] = t->e.position;
	}
	t->entry_position[t->count] = t->e.position;
	t->item_position[t->count] = t->e.position;
	if (!item_ends_block(last))
		emit_goto(t, last->offset, last->offset + last->instruction.length, t->count, 0,
			  last->live_after);
	/* Also jump to cold regions. */
	emit_slot_misses(t);
	if (t->loop.end)
		emit_loop_exits(t);
	for (unsigned i = 0; i < t->region_count; i++)
		emit_region_cold(t, i);
}

/* The conditional jumps that go forward: what they need is behind the block. */
static void emit_side_exits(struct translation *t)
{
	size_t position[JIT_BLOCK_INSNS] = { 0 };

	for (unsigned i = 0; i < t->side_count; i++) {
		const struct side_exit *side = &t->sides[i];
		const struct jit_item *item = &t->jit->items[side->item];

		/* Within the page it is linked itself. Those out of loops may go back, and poll. */
		if (!(side->target & ~(int64_t)0xfff) && side->target > item->offset &&
		    (!t->is_shared || side->at % 4 == 0)) {
			t->link_jumps[t->link_count].target = side->target;
			t->link_jumps[t->link_count++].at = side->at;
			continue;
		}
		/* The item has a second translation. */
		if (position[side->item]) {
			emit_patch_to(&t->e, side->at, position[side->item]);
			continue;
		}
		position[side->item] = t->e.position;
		emit_patch(&t->e, side->at);
		t->flags_lost = false;
		emit_goto(t, item->offset, side->target, side->item, 0, item->live_after);
	}
}

/* Where translated code goes on after the interpreter has executed an item. */
static uint32_t resume_address(const struct translation *t, unsigned index)
{
	const struct jit_item *item = &t->jit->items[index];

	if (item_ends_block(item) || item->kind == ITEM_JUMP_IF)
		return 0;
	if (t->jit->lockstep && item->kind == ITEM_FALLBACK)
		return 0;
	return jit_code_at(t->jit->cache, t->e.code + t->resume_position[index]);
}

/* Bits of the items that have slow paths. */
static uint64_t slow_items(const struct translation *t)
{
	uint64_t items = 0;

	for (unsigned i = 0; i < t->slow_count; i++)
		if (t->slow[i].item < JIT_BLOCK_INSNS) /* no region's */
			items |= 1ull << t->slow[i].item;
	return items;
}

/* One stub, with its record, for each of them. */
static void emit_slow_paths(struct translation *t, uint64_t items, struct jit_record *record)
{
	for (; items; items &= items - 1, record++) {
		unsigned i = __builtin_ctzll(items);
		const struct jit_item *item = &t->jit->items[i];

		for (unsigned k = 0; k < t->slow_count; k++)
			if (t->slow[k].item == i)
				emit_patch(&t->e, t->slow[k].at);
		if (t->slow_flags_lost[i])
			emit_flags_again(t, i, 0, HOST_R13);
		emit_constant(&t->e, HOST_R13, (uintptr_t)record);
		emit_jump_to(&t->e, t->jit->cache->fallback);
		*record = (struct jit_record){
			.insn = item->insn,
			.resume = resume_address(t, i),
			.offset = item->offset,
			.vector_levels = item->vector_levels,
			.is_slow_path = item->kind != ITEM_FALLBACK,
			.changes_vector = item->changes_vector,
			.loads_segment = item_loads_segment(item),
			.segments = item->segments,
		};
	}
}

/* A stub for each jump that is to be linked. */
static void emit_links(struct translation *t, struct jit_block *block)
{
	const struct jit_cache *cache = t->jit->cache;
	struct emitter *e = &t->e;

	for (unsigned i = 0; i < t->link_count; i++) {
		struct jit_link *link = &block->links[i];
		size_t at = t->link_jumps[i].at;

		if (!(t->link_jumps[i].target >> 12))
			emit_patch(e, at);
		*link = (struct jit_link){
			.page_distance = t->link_jumps[i].target >> 12,
			.offset = t->link_jumps[i].target & 0xfff,
			.patch = jit_code_at(cache, e->code + at),
			.unlinked = jit_code_at(cache, e->code + e->position),
			.from = block,
		};
		emit_constant(e, HOST_R13, (uintptr_t)link);
		emit_jump_to(e, cache->exit_link);
	}
}

/* Give the jumps to other pages their entries in the tables. False: there are no more. */
static bool number_links(struct translation *t, struct jit_block *block)
{
	struct jit_cache *cache = t->jit->cache;

	for (unsigned i = 0; i < t->link_count; i++) {
		struct jit_link *link = &block->links[i];

		if (!link->page_distance)
			continue;
		if (!jit_link_number(cache, link)) {
			while (i-- > 0)
				if (block->links[i].page_distance)
					jit_number_return(&cache->crossings, block->links[i].crossing);
			return false;
		}
		emit_patch32(&t->e, t->link_jumps[i].at,
			  STATE(fast.crossings) + (int32_t)(link->crossing * sizeof(uint8_t *)));
	}
	return true;
}

/* What is kept about the block, and the cold end of its code. False: no room. */
static bool finish_block(struct translation *t, uint64_t gpa, uint32_t mode)
{
	uint64_t slow = slow_items(t);
	size_t size = sizeof(struct jit_block) + t->link_count * sizeof(struct jit_link) +
		      (size_t)__builtin_popcountll(slow) * sizeof(struct jit_record);
	struct jit_block *block = jit_chunk_room(t->jit, size);
	bool is_numbered;

	if (!block)
		return false;
	*block = (struct jit_block){
		.gpa = gpa,
		.mode = mode,
		.guest_size = t->guest_size,
		.granules = t->granules,
		.link_count = t->link_count,
		.entry = t->e.code,
		.code = t->e.code + t->item_position[0],
	};
	emit_slow_paths(t, slow, (struct jit_record *)&block->links[t->link_count]);
	emit_links(t, block);
	if (t->e.overflow)
		return false;
	jit_lock_take(&t->jit->cache->lock);
	is_numbered = number_links(t, block);
	if (is_numbered)
		jit_chunk_add(t->jit, block, size, t->e.position);
	jit_lock_release(&t->jit->cache->lock);
	t->block = block;
	return is_numbered;
}

struct translation *jit_translation_create(void)
{
	return calloc(1, sizeof(struct translation));
}

static struct jit_block *translate(struct jit *jit, uint64_t gpa, bool *full)
{
	struct translation *t = jit->translation;
	struct jit_item *last;
	uint32_t mode = jit_mode_of(jit->cpu);
	bool is_32 = !jit_mode_is_64(mode);
	unsigned count, start = gpa & 0xfff;

	*full = !jit->chunk;
	if (*full)
		return NULL;
	count = decode_items(jit, start);
	if (count == 0)
		return NULL;
	memset(t, 0, offsetof(struct translation, item_position));
	t->jit = jit;
	t->is_32 = is_32;
	t->width = is_32 ? 4 : 8;
	t->decoder = insn_decoder(mode, &jit->cpu->rules);
	t->count = count;
	t->is_user = mode & JIT_MODE_USER;
	t->is_shared = atomic_load(&jit->cache->is_shared);
	t->jumps = jump_table(jit_jump_set(mode));
	t->start = start;
	jit_chunk_emitter(jit, &t->e);
	flags_liveness(t, (const uint8_t *)jit->snapshot);
	if (!t->is_32 && cut_before_loop(t))
		flags_liveness(t, (const uint8_t *)jit->snapshot);
	flags_find_sources(t);
	count = t->count;
	last = &jit->items[count - 1];
	t->guest_size = last->offset + last->instruction.length - start;
	translation_look(t, start, t->guest_size);
	emit_entry(t);
	emit_items(t);
	emit_side_exits(t);
	emit_return_misses(t);
	emit_poll_exits(t);
	emit_slot_misses(t);
	if (t->failed)
		return NULL;
	*full = !finish_block(t, gpa, mode);
	if (*full)
		return NULL;
	if (jit->cache->options.dump_fd >= 0)
		jit_dump_block(t);
	if (jit->lockstep)
		t->block->script = jit_lockstep_script(jit, count);
	jit->statistics.blocks++;
	jit->statistics.guest_instructions += count;
	jit->statistics.guest_bytes += t->guest_size;
	jit->statistics.host_bytes += t->e.position;
	return t->block;
}

struct jit_block *jit_translate(struct jit *jit, uint64_t gpa, bool *full)
{
	uint32_t rights = code_memory_open();
	struct jit_block *block = translate(jit, gpa, full);

	code_memory_close(rights);
	return block;
}
