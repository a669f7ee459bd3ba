#include "monitor/look/core.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>

#include "device/guest_memory.h"
#include "kvm/kvm.h"
#include "monitor/look/pages.h"
#include "util/file.h"
#include "util/x86_registers.h"

#define SEGMENTS_MAX 0xf000u /* below PN_XNUM */
#define NOTE_ALIGN   4u
#define DATA_ALIGN   4096u
#define VMCOREINFO_MAX (64u << 10)

/* One of the core's segments. */
struct core_segment {
	uint64_t gva, gpa, size_bytes;
};

/* A piece of RAM in the file. */
struct core_piece {
	uint64_t gpa, size_bytes, offset;
};

struct core_writer {
	const struct look *look;
	struct core_segment *segments; /* owned */
	unsigned segment_count, segment_room;
	bool is_out_of_memory;
	struct core_piece pieces[GUEST_MEMORY_MAX_REGIONS];
	unsigned piece_count;
	uint8_t *notes; /* owned */
	size_t notes_size, notes_room;
};

/* What QEMU's note has of a CPU; its layout is what crash reads. */
struct note_segment {
	uint32_t selector, limit, flags, pad;
	uint64_t base;
};
struct note_cpu {
	uint32_t version, size;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
	struct note_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
	uint64_t kernel_gs_base;
};
#define NOTE_CPU_VERSION   1

_Static_assert(sizeof(struct note_cpu) == 440, "as QEMU's");

/* --- notes --- */

static size_t aligned(size_t size)
{
	return (size + NOTE_ALIGN - 1) & ~(size_t)(NOTE_ALIGN - 1);
}

/* `size` bytes more, zeroed, or NULL. */
static uint8_t *add_bytes(struct core_writer *writer, size_t size)
{
	size_t room = 2 * (writer->notes_size + size);
	uint8_t *bytes;

	if (writer->notes_size + size > writer->notes_room) {
		bytes = realloc(writer->notes, room);
		if (!bytes) {
			writer->is_out_of_memory = true;
			return NULL;
		}
		writer->notes = bytes;
		writer->notes_room = room;
	}
	bytes = writer->notes + writer->notes_size;
	memset(bytes, 0, size);
	writer->notes_size += size;
	return bytes;
}

static void add_note(struct core_writer *writer, const char *name, uint32_t type, const void *data, size_t size)
{
	const Elf64_Nhdr header = {.n_namesz = strlen(name) + 1, .n_descsz = size, .n_type = type};
	uint8_t *bytes = add_bytes(writer, sizeof(header) + aligned(header.n_namesz) + aligned(size));

	if (!bytes)
		return;
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), name, header.n_namesz);
	memcpy(bytes + sizeof(header) + aligned(header.n_namesz), data, size);
}

static void add_status(struct core_writer *writer, unsigned cpu, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	struct user_regs_struct user = {
		.r15 = regs->r15, .r14 = regs->r14, .r13 = regs->r13, .r12 = regs->r12, .rbp = regs->rbp,
		.rbx = regs->rbx, .r11 = regs->r11, .r10 = regs->r10, .r9 = regs->r9, .r8 = regs->r8,
		.rax = regs->rax, .rcx = regs->rcx, .rdx = regs->rdx, .rsi = regs->rsi, .rdi = regs->rdi,
		.rip = regs->rip, .cs = sregs->cs.selector, .eflags = regs->rflags, .rsp = regs->rsp,
		.ss = sregs->ss.selector, .fs_base = sregs->fs.base, .gs_base = sregs->gs.base,
		.ds = sregs->ds.selector, .es = sregs->es.selector, .fs = sregs->fs.selector,
		.gs = sregs->gs.selector,
	};
	struct elf_prstatus status = {.pr_pid = cpu + 1};

	_Static_assert(sizeof(user) == sizeof(status.pr_reg), "the same registers");
	memcpy(&status.pr_reg, &user, sizeof(user));
	add_note(writer, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static struct note_segment note_of_segment(const struct kvm_segment *segment)
{
	return (struct note_segment){
		.selector = segment->selector,
		.limit = segment->limit,
		.flags = segment->type << 8 | segment->s << 12 | segment->dpl << 13 | segment->present << 15 |
			 segment->avl << 20 | segment->l << 21 | segment->db << 22 | (uint32_t)segment->g << 23,
		.base = segment->base,
	};
}

static void add_cpu(struct core_writer *writer, const struct kvm_vcpu *vcpu, const struct kvm_regs *regs,
		    const struct kvm_sregs *sregs)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {.head.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE};
	struct note_cpu cpu = {
		.version = NOTE_CPU_VERSION, .size = sizeof(cpu),
		.rax = regs->rax, .rbx = regs->rbx, .rcx = regs->rcx, .rdx = regs->rdx, .rsi = regs->rsi,
		.rdi = regs->rdi, .rsp = regs->rsp, .rbp = regs->rbp, .r8 = regs->r8, .r9 = regs->r9,
		.r10 = regs->r10, .r11 = regs->r11, .r12 = regs->r12, .r13 = regs->r13, .r14 = regs->r14,
		.r15 = regs->r15, .rip = regs->rip, .rflags = regs->rflags,
		.cs = note_of_segment(&sregs->cs), .ds = note_of_segment(&sregs->ds),
		.es = note_of_segment(&sregs->es), .fs = note_of_segment(&sregs->fs),
		.gs = note_of_segment(&sregs->gs), .ss = note_of_segment(&sregs->ss),
		.ldt = note_of_segment(&sregs->ldt), .tr = note_of_segment(&sregs->tr),
		.gdt = {.limit = sregs->gdt.limit, .base = sregs->gdt.base},
		.idt = {.limit = sregs->idt.limit, .base = sregs->idt.base},
		.cr = {sregs->cr0, 0, sregs->cr2, sregs->cr3, sregs->cr4},
	};

	if (kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, &msrs) == 1)
		cpu.kernel_gs_base = msrs.entry.data;
	add_note(writer, "QEMU", 0, &cpu, sizeof(cpu));
}

static int add_cpus(struct core_writer *writer, struct error *error)
{
	struct machine *machine = writer->look->machine;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	unsigned round, i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < machine_cpus(machine); i++) {
			const struct kvm_vcpu *vcpu = machine_cpu(machine, i);

			if (!machine_has_cpu(machine, i))
				continue;
			if (kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, &regs) < 0 ||
			    kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
				return error_set(error, EIO, "the registers of CPU %u cannot be read", i);
			if (round == 0)
				add_status(writer, i, &regs, &sregs);
			else
				add_cpu(writer, vcpu, &regs, &sregs);
		}
	}
	return 0;
}

/* A note of the guest's own, if it is one: a header, and a name and data of those sizes. */
static void add_vmcoreinfo(struct core_writer *writer)
{
	uint64_t gpa;
	uint32_t size;
	Elf64_Nhdr header;
	uint8_t *note, *bytes;

	if (!machine_find_vmcoreinfo(writer->look->machine, &gpa, &size) || size < sizeof(header) ||
	    size > VMCOREINFO_MAX)
		return;
	note = malloc(size);
	if (note && guest_memory_read(machine_memory(writer->look->machine), gpa, note, size) == 0) {
		memcpy(&header, note, sizeof(header));
		if (sizeof(header) + aligned(header.n_namesz) + aligned(header.n_descsz) <= aligned(size) &&
		    (bytes = add_bytes(writer, aligned(size))))
			memcpy(bytes, note, size);
	}
	free(note);
}

/* --- segments --- */

static bool add_segment(struct core_writer *writer, uint64_t gva, uint64_t gpa, uint64_t size_bytes)
{
	struct core_segment *last = writer->segment_count ? &writer->segments[writer->segment_count - 1] : NULL, *larger;
	unsigned room = writer->segment_room ? 2 * writer->segment_room : 64;

	if (last && last->gva + last->size_bytes == gva && last->gpa + last->size_bytes == gpa) {
		last->size_bytes += size_bytes;
		return true;
	}
	if (writer->segment_count == SEGMENTS_MAX)
		return false;
	if (writer->segment_count == writer->segment_room) {
		larger = realloc(writer->segments, room * sizeof(*larger));
		if (!larger) {
			writer->is_out_of_memory = true;
			return false;
		}
		writer->segments = larger;
		writer->segment_room = room;
	}
	writer->segments[writer->segment_count++] = (struct core_segment){gva, gpa, size_bytes};
	return true;
}

/* Those parts of a page that are in the file. */
static bool add_page(void *context, const struct look_page *page)
{
	struct core_writer *writer = context;
	uint64_t begin, end;
	unsigned i;

	for (i = 0; i < writer->piece_count; i++) {
		const struct core_piece *piece = &writer->pieces[i];

		begin = page->gpa > piece->gpa ? page->gpa : piece->gpa;
		end = page->gpa + page->size_bytes;
		if (end > piece->gpa + piece->size_bytes)
			end = piece->gpa + piece->size_bytes;
		if (begin < end && !add_segment(writer, page->gva + (begin - page->gpa), begin, end - begin))
			return false;
	}
	return true;
}

static int add_segments(struct core_writer *writer, bool is_virtual, struct error *error)
{
	bool is_whole = true;
	unsigned i;

	/* A CPU without paging has no others. */
	if (is_virtual && look_visit_pages(writer->look, add_page, writer, &is_whole)) {
		if (!is_whole)
			return error_set(error, E2BIG, "the guest's page tables have too much in them: dump it "
						       "without paging");
		return 0;
	}
	for (i = 0; i < writer->piece_count; i++)
		add_segment(writer, writer->pieces[i].gpa, writer->pieces[i].gpa, writer->pieces[i].size_bytes);
	return 0;
}

static int choose_pieces(struct core_writer *writer, const struct look_core *core, struct error *error)
{
	const struct guest_memory *memory = machine_memory(writer->look->machine);
	uint64_t begin, end, last = core->begin + core->size_bytes;
	unsigned i;

	if (last < core->begin)
		return error_set(error, EINVAL, "no memory has these addresses");
	for (i = 0; i < memory->region_count; i++) {
		begin = memory->regions[i].gpa;
		end = begin + memory->regions[i].size_bytes;
		if (core->size_bytes) {
			begin = begin > core->begin ? begin : core->begin;
			end = end < last ? end : last;
		}
		if (begin < end)
			writer->pieces[writer->piece_count++] = (struct core_piece){begin, end - begin, 0};
	}
	return writer->piece_count ? 0 : error_set(error, EINVAL, "there is no memory at these addresses");
}

/* --- the file --- */

static uint64_t offset_of(const struct core_writer *writer, uint64_t gpa)
{
	const struct core_piece *piece = writer->pieces;

	while (gpa - piece->gpa >= piece->size_bytes)
		piece++;
	return piece->offset + (gpa - piece->gpa);
}

static int write_headers(struct core_writer *writer, int fd)
{
	uint64_t notes = sizeof(Elf64_Ehdr) + (writer->segment_count + 1) * sizeof(Elf64_Phdr);
	uint64_t data = (notes + writer->notes_size + DATA_ALIGN - 1) & ~(uint64_t)(DATA_ALIGN - 1), at = data;
	const Elf64_Ehdr head = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(head),
		.e_ehsize = sizeof(head),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = writer->segment_count + 1,
	};
	Elf64_Phdr program = {.p_type = PT_NOTE, .p_offset = notes, .p_filesz = writer->notes_size,
			      .p_memsz = writer->notes_size};
	uint8_t *bytes = calloc(1, data);
	unsigned i;
	int result;

	if (!bytes)
		return -ENOMEM;
	for (i = 0; i < writer->piece_count; i++) {
		writer->pieces[i].offset = at;
		at += writer->pieces[i].size_bytes;
	}
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &program, sizeof(program));
	for (i = 0; i < writer->segment_count; i++) {
		const struct core_segment *segment = &writer->segments[i];

		program = (Elf64_Phdr){
			.p_type = PT_LOAD,
			.p_offset = offset_of(writer, segment->gpa),
			.p_vaddr = segment->gva,
			.p_paddr = segment->gpa,
			.p_filesz = segment->size_bytes,
			.p_memsz = segment->size_bytes,
		};
		memcpy(bytes + sizeof(head) + (i + 1) * sizeof(program), &program, sizeof(program));
	}
	memcpy(bytes + notes, writer->notes, writer->notes_size);
	result = file_write_all(fd, bytes, data);
	free(bytes);
	return result;
}

static int write_memory(const struct core_writer *writer, int fd)
{
	const struct guest_memory *memory = machine_memory(writer->look->machine);
	unsigned i;
	int result = 0;

	for (i = 0; i < writer->piece_count && result == 0; i++)
		result = file_write_all(fd, guest_memory_at(memory, writer->pieces[i].gpa, writer->pieces[i].size_bytes),
					writer->pieces[i].size_bytes);
	return result;
}

int look_write_core(const struct look *look, const struct look_core *core, int fd, struct error *error)
{
	struct core_writer writer = {.look = look};
	int result = choose_pieces(&writer, core, error);

	if (result == 0)
		result = add_cpus(&writer, error);
	if (result == 0)
		result = add_segments(&writer, core->is_virtual, error);
	if (result == 0) {
		add_vmcoreinfo(&writer);
		result = writer.is_out_of_memory ? -ENOMEM : write_headers(&writer, fd);
		if (result == 0)
			result = write_memory(&writer, fd);
		if (result < 0)
			error_set_errno(error, -result, "cannot write the core file");
	}
	free(writer.segments);
	free(writer.notes);
	return result;
}
