/*
 * Segments: descriptors, the checks of an access, and loading of segment registers (Intel SDM
 * vol. 3 §3.4, §5).
 */
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

#define DESCRIPTOR_ACCESSED 0x01 /* in byte 5 */
#define DESCRIPTOR_BUSY     0x02

bool segment_allows(const struct kvm_segment *segment, uint64_t offset, unsigned size,
		    bool is_write)
{
	uint64_t last = offset + size - 1;

	if (segment->unusable || !segment->present)
		return false;
	if (segment->type & 8) { /* code: never writable */
		if (is_write || !(segment->type & 2))
			return false;
	} else {
		if (is_write && !(segment->type & 2))
			return false;
		if (segment->type & 4) /* expand-down: the limit is what lies below */
			return offset > segment->limit &&
			       last <= (segment->db ? 0xffffffffu : 0xffffu);
	}
	/* At the end of a 4 GiB segment, accesses wrap around: there is no limit to be beyond. */
	return last <= segment->limit || segment->limit == 0xffffffff;
}

uint64_t segment_linear_checked(struct cpu *cpu, enum cpu_segment segment, uint64_t offset,
				unsigned size, bool is_write)
{
	const struct kvm_segment *s = &cpu->segment[segment];
	bool is_allowed;

	if (cpu_is_64(cpu))
		return segment >= CPU_FS ? offset + s->base : offset;
	if (cpu->mode & CPU_MODE_FLAT && segment < CPU_FS && segment != CPU_CS &&
	    offset + size <= 1ull << 32)
		return offset;
	/* Outside protected mode rights do not count, and CS may be written. */
	if (cpu->mode & CPU_MODE_PROTECTED)
		is_allowed = segment_allows(s, offset, size, is_write);
	else
		is_allowed = offset + size - 1 <= s->limit || s->limit == 0xffffffff;
	if (!is_allowed)
		cpu_raise_error(cpu, segment == CPU_SS ? EXCEPTION_SS : EXCEPTION_GP, 0);
	return (uint32_t)(s->base + offset);
}

/* The linear address of selector's descriptor; false when `size` bytes are not in its table. */
static bool descriptor_address(struct cpu *cpu, uint16_t selector, unsigned size, uint64_t *address)
{
	uint64_t base = cpu->gdt.base;
	uint32_t limit = cpu->gdt.limit;

	if (selector & 4) {
		if (cpu->ldt.unusable || !cpu->ldt.present)
			return false;
		base = cpu->ldt.base;
		limit = cpu->ldt.limit;
	}
	if ((selector & ~7u) + size - 1 > limit)
		return false;
	*address = base + (selector & ~7u);
	if (!cpu_is_long(cpu))
		*address = (uint32_t)*address;
	return true;
}

bool descriptor_read(struct cpu *cpu, uint16_t selector, uint64_t *descriptor)
{
	uint64_t address;

	if (segment_is_null(selector) || !descriptor_address(cpu, selector, 8, &address))
		return false;
	*descriptor = sys_read(cpu, address, 8);
	return true;
}

uint64_t descriptor_read_high(struct cpu *cpu, uint16_t selector)
{
	uint64_t address;

	if (!descriptor_address(cpu, selector, 16, &address))
		cpu_raise_error(cpu, EXCEPTION_GP, selector & 0xfffc);
	return sys_read(cpu, address + 8, 8);
}

void descriptor_unpack(struct kvm_segment *segment, uint16_t selector, uint64_t descriptor)
{
	uint32_t limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);

	*segment = (struct kvm_segment){
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000),
		.selector = selector,
		.type = descriptor >> 40 & 0xf,
		.s = descriptor >> 44 & 1,
		.dpl = descriptor >> 45 & 3,
		.present = descriptor >> 47 & 1,
		.avl = descriptor >> 52 & 1,
		.l = descriptor >> 53 & 1,
		.db = descriptor >> 54 & 1,
		.g = descriptor >> 55 & 1,
	};
	segment->limit = segment->g ? limit << 12 | 0xfff : limit;
	if (segment->s)
		segment->type |= 1; /* accessed: descriptor_set_accessed keeps the table in step */
}

void descriptor_set_accessed(struct cpu *cpu, uint16_t selector, uint64_t descriptor)
{
	uint8_t byte = descriptor >> 40;
	uint64_t address;

	if ((byte & DESCRIPTOR_ACCESSED) || !descriptor_address(cpu, selector, 8, &address))
		return;
	sys_write(cpu, address + 5, byte | DESCRIPTOR_ACCESSED, 1);
}

void descriptor_set_busy(struct cpu *cpu, uint16_t selector, bool busy)
{
	uint64_t address;
	uint8_t byte;

	if (!descriptor_address(cpu, selector, 8, &address))
		return;
	byte = sys_read(cpu, address + 5, 1);
	sys_write(cpu, address + 5, busy ? byte | DESCRIPTOR_BUSY : byte & ~DESCRIPTOR_BUSY, 1);
}

void segment_load_real(struct kvm_segment *segment, uint16_t selector)
{
	/* Real mode changes selector and base and keeps the rest ("unreal" limits included), but a
	 * register that protected mode left null has nothing to keep. */
	if (segment->unusable || !segment->present)
		*segment = (struct kvm_segment){.limit = 0xffff, .type = 3, .present = 1, .s = 1};
	segment->selector = selector;
	segment->base = selector << 4;
	segment->dpl = 0;
}

void segment_load_vm86(struct kvm_segment *segment, uint16_t selector)
{
	*segment = (struct kvm_segment){
		.base = selector << 4,
		.limit = 0xffff,
		.selector = selector,
		.type = 3,
		.present = 1,
		.dpl = 3,
		.s = 1,
	};
}

void segment_make_null(struct kvm_segment *segment, uint16_t selector)
{
	*segment = (struct kvm_segment){
		.selector = selector,
		.type = 1,
		.s = 1,
		.unusable = 1,
	};
}

void segment_resolve_data(struct cpu *cpu, uint16_t selector, unsigned cpl, enum exception vector,
			  uint32_t external, struct kvm_segment *segment)
{
	uint32_t error = (selector & 0xfffc) | external;
	unsigned rpl = selector & 3;
	uint64_t descriptor;
	bool is_code, is_conforming;

	if (segment_is_null(selector)) {
		segment_make_null(segment, selector);
		return;
	}
	if (!descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, vector, error);
	descriptor_unpack(segment, selector, descriptor);
	is_code = segment->type & 8;
	is_conforming = is_code && (segment->type & 4);
	if (!segment->s || (is_code && !(segment->type & 2)))
		cpu_raise_error(cpu, vector, error);
	if (!is_conforming && (rpl > segment->dpl || cpl > segment->dpl))
		cpu_raise_error(cpu, vector, error);
	if (!segment->present)
		cpu_raise_error(cpu, EXCEPTION_NP, error);
	descriptor_set_accessed(cpu, selector, descriptor);
}

void segment_resolve_stack(struct cpu *cpu, uint16_t selector, unsigned cpl, enum exception vector,
			   uint32_t external, struct kvm_segment *segment)
{
	uint32_t error = (selector & 0xfffc) | external;
	uint64_t descriptor;

	if (segment_is_null(selector))
		cpu_raise_error(cpu, vector, external);
	if (!descriptor_read(cpu, selector, &descriptor))
		cpu_raise_error(cpu, vector, error);
	descriptor_unpack(segment, selector, descriptor);
	if ((selector & 3) != cpl || segment->dpl != cpl || !segment->s ||
	    (segment->type & 0xa) != 2) /* writable data */
		cpu_raise_error(cpu, vector, error);
	if (!segment->present)
		cpu_raise_error(cpu, EXCEPTION_SS, error);
	descriptor_set_accessed(cpu, selector, descriptor);
}

void segment_load(struct cpu *cpu, enum cpu_segment segment, uint16_t selector)
{
	struct kvm_segment loaded;

	if (cpu->mode & CPU_MODE_VM86) {
		segment_load_vm86(&cpu->segment[segment], selector);
	} else if (!(cpu->mode & CPU_MODE_PROTECTED)) {
		segment_load_real(&cpu->segment[segment], selector);
	} else {
		if (segment != CPU_SS) {
			segment_resolve_data(cpu, selector, cpu->cpl, EXCEPTION_GP, 0, &loaded);
		} else if (cpu_is_64(cpu) && segment_is_null(selector) && cpu->cpl != 3 &&
			   (selector & 3) == cpu->cpl) {
			segment_make_null(&loaded, selector);
			loaded.dpl = cpu->cpl;
		} else {
			segment_resolve_stack(cpu, selector, cpu->cpl, EXCEPTION_GP, 0, &loaded);
		}
		cpu->segment[segment] = loaded;
	}
	cpu_update_mode(cpu);
}
