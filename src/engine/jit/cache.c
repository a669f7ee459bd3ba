/*
 * The code cache: blocks by address, links between them, and their removal.
 *
 * A removed block is unlinked from everything at once, but its code and records stay until the next
 * flush of the whole cache, because the CPU may be inside it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/jit/internal.h"

static uint64_t page_of(uint64_t gpa)
{
	return gpa >> 12;
}

/* What an empty jump entry holds: an address that is looked up elsewhere. */
static uint64_t jump_none(unsigned index)
{
	return -(uint64_t)(index ^ 1);
}

struct jit_block *jit_block_find(struct jit *jit, uint64_t gva, uint64_t gpa, uint32_t mode)
{
	struct jit_block *block = jit->by_address[jit_hash(gva ^ gpa << 20)];

	while (block && (block->gva != gva || block->gpa != gpa || block->mode != mode))
		block = block->next_hash;
	return block;
}

void jit_block_insert(struct jit *jit, struct jit_block *block)
{
	struct jit_block **bucket = &jit->by_address[jit_hash(block->gva ^ block->gpa << 20)];
	struct jit_block **page = &jit->by_page[jit_hash(page_of(block->gpa))];

	block->next_hash = *bucket;
	*bucket = block;
	block->next_page = *page;
	*page = block;
	block->next_all = jit->all;
	jit->all = block;
}

/* The displacement at link->patch, through the writable mapping. */
static void link_set(struct jit_link *link, const uint8_t *target)
{
	struct {
		int32_t displacement;
	} __attribute__((packed)) *jump = (void *)link->patch;

	/* Unlinking happens with the guest's vector state in the registers: no memcpy. */
	jump->displacement = (int32_t)(target - (link->patch_code + 4));
}

void jit_link_to(struct jit_link *link, struct jit_block *to)
{
	link->to = to;
	link->next = to->incoming;
	to->incoming = link;
	link_set(link, to->code);
}

static void unlink_incoming(struct jit_block *block)
{
	struct jit_link *link = block->incoming;

	while (link) {
		struct jit_link *next = link->next;

		link_set(link, link->unlinked);
		link->to = NULL;
		link = next;
	}
	block->incoming = NULL;
}

/* Take the block's own links out of their targets' lists. */
static void unlink_outgoing(struct jit_block *block)
{
	for (unsigned i = 0; i < block->link_count; i++) {
		struct jit_link *link = &block->links[i], **at;

		if (!link->to)
			continue;
		for (at = &link->to->incoming; *at != link; at = &(*at)->next)
			;
		*at = link->next;
		link_set(link, link->unlinked);
		link->to = NULL;
	}
}

void jit_block_kill(struct jit *jit, struct jit_block *block)
{
	struct jit_block **at = &jit->by_address[jit_hash(block->gva ^ block->gpa << 20)];

	while (*at != block)
		at = &(*at)->next_hash;
	*at = block->next_hash;
	at = &jit->by_page[jit_hash(page_of(block->gpa))];
	while (*at != block)
		at = &(*at)->next_page;
	*at = block->next_page;
	unlink_incoming(block);
	unlink_outgoing(block);
	block->dead = true;
	jit->statistics.invalidations++;
	/* What leads to it by address: the entry of its address, in any set. */
	for (unsigned set = 0; set < JIT_JUMP_SETS; set++) {
		unsigned index = block->gva % JIT_JUMP_ENTRIES;
		struct jit_jump *jump = &jit->cpu->fast.jumps[set][index];

		if (jump->code == block->code)
			jump->negated_gva = jump_none(index);
	}
}

void jit_block_free(struct jit_block *block)
{
	if (!block)
		return;
	free(block->records);
	free(block->links);
	free(block->source);
	free(block);
}

static struct jit_jump *jump_at(struct jit *jit, unsigned at)
{
	return &jit->cpu->fast.jumps[at / JIT_JUMP_ENTRIES][at % JIT_JUMP_ENTRIES];
}

void jit_init_jumps(struct jit *jit)
{
	for (unsigned i = 0; i < JIT_JUMP_SETS * JIT_JUMP_ENTRIES; i++)
		jump_at(jit, i)->negated_gva = jump_none(i % JIT_JUMP_ENTRIES);
	jit->jumps_used_count = 0;
}

void jit_clear_jumps(struct jit *jit)
{
	for (unsigned i = 0; i < jit->jumps_used_count; i++) {
		unsigned at = jit->jumps_used[i];

		jump_at(jit, at)->negated_gva = jump_none(at % JIT_JUMP_ENTRIES);
		jit->jump_is_used[at] = false;
	}
	jit->jumps_used_count = 0;
}

void jit_enter_jump(struct jit *jit, unsigned set, const struct jit_block *block)
{
	unsigned index = block->gva % JIT_JUMP_ENTRIES;
	struct jit_jump *jump = &jit->cpu->fast.jumps[set][index];

	if (!jit->jump_is_used[set * JIT_JUMP_ENTRIES + index]) {
		jit->jump_is_used[set * JIT_JUMP_ENTRIES + index] = true;
		jit->jumps_used[jit->jumps_used_count++] = set * JIT_JUMP_ENTRIES + index;
	}
	jump->negated_gva = -block->gva;
	jump->code = block->code;
}

void jit_flush(struct jit *jit)
{
	struct jit_block *block = jit->all;

	while (block) {
		struct jit_block *next = block->next_all;

		jit_block_free(block);
		block = next;
	}
	jit->all = NULL;
	memset(jit->by_address, 0, sizeof(jit->by_address));
	memset(jit->by_page, 0, sizeof(jit->by_page));
	jit_clear_jumps(jit);
	jit->used = jit->stubs_size;
	jit->statistics.flushes++;
}

void jit_invalidate(struct cpu *cpu, uint64_t gpa, uint64_t size)
{
	struct jit *jit = cpu->jit;
	bool any = false;

	for (uint64_t page = gpa & ~(uint64_t)0xfff; page < gpa + size; page += 0x1000) {
		struct jit_block *block = jit->by_page[jit_hash(page_of(page))];

		while (block) {
			struct jit_block *next = block->next_page;

			if (page_of(block->gpa) == page_of(page) &&
			    page + block->look_start < gpa + size && gpa < page + block->look_end) {
				jit_block_kill(jit, block);
				any = true;
			}
			block = next;
		}
	}
	/* One of them may be under way: it ends after its present instruction. */
	if (any)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

void jit_invalidate_all(struct cpu *cpu)
{
	struct jit *jit = cpu->jit;

	for (size_t i = 0; i < 1u << JIT_HASH_BITS; i++)
		while (jit->by_address[i])
			jit_block_kill(jit, jit->by_address[i]);
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}
