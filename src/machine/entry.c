/*
 * What firmware does last: leaving the boot CPU in the mode that the loaded program expects.
 * Segment descriptors and control registers per Intel SDM vol. 3 §2.5, §3.4.5, §9.8; identity
 * paging with 2 MiB pages per §4.5.
 */
#include "machine/entry.h"

#include <errno.h>
#include <string.h>

#include "util/page.h"
#include "util/x86_registers.h"

#define PTE_PRESENT  0x1ull
#define PTE_WRITABLE 0x2ull
#define PTE_LARGE    0x80ull

#define IDENTITY_GIB	   4 /* what the page tables below map: ENTRY_PAGE_TABLE_BYTES of them */
#define GDT_ENTRIES	   5
#define LINUX_BOOT_CS	   0x10 /* boot.rst, "32-bit boot protocol" */
#define LINUX_BOOT_DS	   0x18
#define TYPE_CODE	   0xb /* execute, read, accessed */
#define TYPE_DATA	   0x3 /* read, write, accessed */
#define TYPE_TSS_BUSY	   0xb

/* A descriptor-table entry that means the same as the loaded segment (SDM vol. 3, figure 3-8). */
static uint64_t pack_descriptor(const struct kvm_segment *segment)
{
	uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;
	uint64_t attributes = segment->type | segment->s << 4 | segment->dpl << 5 |
			      segment->present << 7 | segment->avl << 12 | segment->l << 13 |
			      segment->db << 14 | segment->g << 15;

	return (limit & 0xffff) | (segment->base & 0xffffff) << 16 | attributes << 40 |
	       (limit >> 16 & 0xf) << 48 | (segment->base >> 24 & 0xff) << 56;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool is_long)
{
	bool is_code = type == TYPE_CODE;

	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !(is_code && is_long),
		.l = is_code && is_long,
	};
}

static struct kvm_segment real_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.base = (uint64_t)selector << 4,
		.limit = 0xffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
	};
}

static int write_gdt(const struct entry *entry, const struct guest_memory *memory,
		     struct kvm_sregs *sregs)
{
	uint64_t gdt[GDT_ENTRIES] = {0};
	struct kvm_segment task = {
		.limit = 0x67, .type = TYPE_TSS_BUSY, .present = 1, .selector = 0x20};

	sregs->cs = flat_segment(entry->flat_code ? entry->flat_code : LINUX_BOOT_CS, TYPE_CODE,
				 entry->mode == ENTRY_LONG);
	sregs->ds = flat_segment(entry->flat_data ? entry->flat_data : LINUX_BOOT_DS, TYPE_DATA,
				 entry->mode == ENTRY_LONG);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	gdt[sregs->cs.selector >> 3] = pack_descriptor(&sregs->cs);
	gdt[sregs->ds.selector >> 3] = pack_descriptor(&sregs->ds);
	gdt[task.selector >> 3] = pack_descriptor(&task);
	/* PVH wants a loaded task register with the least limit. */
	sregs->tr = task;
	sregs->gdt.base = entry->gdt_gpa ? entry->gdt_gpa : ENTRY_GDT_GPA;
	sregs->gdt.limit = sizeof(gdt) - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	_Static_assert(sizeof(gdt) == ENTRY_GDT_BYTES, "the loaders leave room for it");
	return guest_memory_write(memory, sregs->gdt.base, gdt, sizeof(gdt));
}

static int write_page_tables(const struct guest_memory *memory, uint64_t pml4,
			     struct kvm_sregs *sregs)
{
	uint64_t pdpt = pml4 + PAGE_SIZE;
	uint64_t directories = pdpt + PAGE_SIZE;
	uint64_t table[PAGE_SIZE / 8] = {0};
	unsigned gib, i;
	int result;

	table[0] = pdpt | PTE_PRESENT | PTE_WRITABLE;
	result = guest_memory_write(memory, pml4, table, sizeof(table));
	if (result < 0)
		return result;
	for (gib = 0; gib < IDENTITY_GIB; gib++)
		table[gib] = (directories + gib * PAGE_SIZE) | PTE_PRESENT | PTE_WRITABLE;
	result = guest_memory_write(memory, pdpt, table, sizeof(table));
	for (gib = 0; gib < IDENTITY_GIB && result == 0; gib++) {
		for (i = 0; i < PAGE_SIZE / 8; i++)
			table[i] = ((uint64_t)gib << 30 | (uint64_t)i << 21) | PTE_PRESENT |
				   PTE_WRITABLE | PTE_LARGE;
		result = guest_memory_write(memory, directories + gib * PAGE_SIZE, table,
					    sizeof(table));
	}
	sregs->cr3 = pml4;
	return result;
}

static int set_mode(const struct entry *entry, const struct guest_memory *memory,
		    struct kvm_sregs *sregs)
{
	int result;

	if (entry->mode == ENTRY_REAL) {
		sregs->cs = real_segment(entry->cs, TYPE_CODE);
		sregs->ds = real_segment(entry->data_segment, TYPE_DATA);
		sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
		return 0;
	}
	result = write_gdt(entry, memory, sregs);
	if (result < 0)
		return result;
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (entry->mode == ENTRY_LONG) {
		result = write_page_tables(
			memory, entry->page_table_gpa ? entry->page_table_gpa : ENTRY_PAGE_TABLE_GPA,
			sregs);
		sregs->cr0 |= CR0_PG;
		sregs->cr4 |= CR4_PAE;
		sregs->efer |= EFER_LME | EFER_LMA;
	}
	return result;
}

int entry_apply(const struct entry *entry, const struct guest_memory *memory,
		const struct kvm_vcpu *vcpu, struct error *error)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rcx = entry->rcx,
		.rdx = entry->rdx,
		.rsi = entry->rsi,
		.rdi = entry->rdi,
		.rbp = entry->rbp,
		.rflags = RFLAGS_ONE,
	};
	int result;

	result = kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs);
	if (result < 0)
		return error_set_errno(error, -result, "cannot read the boot CPU's registers");
	result = set_mode(entry, memory, &sregs);
	if (result < 0)
		return error_set(error, -result, "the guest's RAM is too small to boot");
	result = kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, &sregs);
	if (result < 0)
		return error_set_errno(error, -result,
				       "cannot set the boot CPU's system registers");
	result = kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, &regs);
	if (result < 0)
		return error_set_errno(error, -result, "cannot set the boot CPU's registers");
	return 0;
}
