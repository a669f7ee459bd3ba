/*
 * ELF executables for x86 (System V ABI, "Object Files" and "Program Loading"; <elf.h>) and the
 * note by which a kernel names its PVH entry (Xen's public/elfnote.h).
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "machine/boot/image.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTE_ALIGNMENT		 4

/* What both classes' program headers say, in the wider type. */
struct program_header {
	uint32_t type;
	uint64_t offset, gpa, file_bytes, memory_bytes, alignment;
};

/* Whether [offset, offset + bytes) is inside of `size` bytes. */
static bool is_inside(uint64_t offset, uint64_t bytes, size_t size)
{
	return offset <= size && bytes <= size - offset;
}

static void read_program_header(const uint8_t *at, bool is_64, struct program_header *header)
{
	Elf32_Phdr narrow;
	Elf64_Phdr wide;

	if (is_64) {
		memcpy(&wide, at, sizeof(wide));
		*header = (struct program_header){wide.p_type,	 wide.p_offset, wide.p_paddr,
						  wide.p_filesz, wide.p_memsz,	wide.p_align};
	} else {
		memcpy(&narrow, at, sizeof(narrow));
		*header = (struct program_header){narrow.p_type,   narrow.p_offset, narrow.p_paddr,
						  narrow.p_filesz, narrow.p_memsz,  narrow.p_align};
	}
}

static int add_segment(struct elf_image *elf, const struct program_header *header, unsigned index,
		       size_t size, struct error *error)
{
	if (header->memory_bytes == 0)
		return 0;
	if (!is_inside(header->offset, header->file_bytes, size))
		return error_set(error, EINVAL,
				 "damaged ELF file: segment %u (0x%llx bytes at offset 0x%llx) "
				 "reaches beyond its end",
				 index, (unsigned long long)header->file_bytes,
				 (unsigned long long)header->offset);
	if (header->file_bytes > header->memory_bytes)
		return error_set(error, EINVAL,
				 "damaged ELF file: segment %u has more bytes than memory", index);
	if (header->gpa + header->memory_bytes < header->gpa)
		return error_set(error, EINVAL,
				 "damaged ELF file: segment %u wraps around the address space",
				 index);
	if (elf->segment_count == IMAGE_MAX_SEGMENTS)
		return error_set(error, EINVAL, "ELF file with more than %u segments",
				 IMAGE_MAX_SEGMENTS);
	elf->segments[elf->segment_count++] = (struct image_segment){
		header->gpa, header->memory_bytes, header->offset, header->file_bytes};
	return 0;
}

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

/* Look for the PVH entry among the notes; a note segment that is damaged just has none. */
static void read_notes(struct elf_image *elf, const uint8_t *image, size_t size,
		       const struct program_header *header)
{
	uint64_t at = header->offset, end = header->offset + header->file_bytes;
	uint64_t name, descriptor;
	Elf32_Nhdr note; /* the same in both classes */
	/* Segments aligned to 8 are the ABI's 64-bit notes, which pad names and data so. */
	unsigned alignment = header->alignment == 8 ? 8 : NOTE_ALIGNMENT;

	if (!is_inside(header->offset, header->file_bytes, size))
		return;
	while (end - at >= sizeof(note)) {
		memcpy(&note, image + at, sizeof(note));
		name = at + sizeof(note);
		descriptor = align_up(name + note.n_namesz, alignment);
		/* 32-bit sizes in 64-bit sums: nothing above can wrap. */
		if (descriptor + note.n_descsz > end)
			return;
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == sizeof("Xen") &&
		    memcmp(image + name, "Xen", sizeof("Xen")) == 0 && note.n_descsz >= 4) {
			memcpy(&elf->pvh_entry, image + descriptor, 4);
			elf->has_pvh_entry = true;
			return;
		}
		at = align_up(descriptor + note.n_descsz, alignment);
		if (at > end)
			return;
	}
}

int elf_parse(const uint8_t *image, size_t size, struct elf_image *elf, struct error *error)
{
	struct program_header header;
	Elf32_Ehdr narrow;
	Elf64_Ehdr wide;
	uint64_t table, at;
	unsigned count, entry_bytes, least, machine, type, i;
	int result;

	memset(elf, 0, sizeof(*elf));
	if (size < EI_NIDENT || memcmp(image, ELFMAG, SELFMAG) != 0)
		return error_set(error, ENOEXEC, "not an ELF file");
	elf->is_64 = image[EI_CLASS] == ELFCLASS64;
	if (image[EI_CLASS] != ELFCLASS32 && !elf->is_64)
		return error_set(error, EINVAL, "damaged ELF file: neither 32 nor 64 bit");
	if (image[EI_DATA] != ELFDATA2LSB)
		return error_set(error, EINVAL, "an ELF file of another architecture (big-endian)");
	if (size < (elf->is_64 ? sizeof(wide) : sizeof(narrow)))
		return error_set(error, EINVAL, "damaged ELF file: it ends inside its header");
	if (elf->is_64) {
		memcpy(&wide, image, sizeof(wide));
		type = wide.e_type;
		machine = wide.e_machine;
		table = wide.e_phoff;
		count = wide.e_phnum;
		entry_bytes = wide.e_phentsize;
		elf->entry = wide.e_entry;
		least = sizeof(Elf64_Phdr);
	} else {
		memcpy(&narrow, image, sizeof(narrow));
		type = narrow.e_type;
		machine = narrow.e_machine;
		table = narrow.e_phoff;
		count = narrow.e_phnum;
		entry_bytes = narrow.e_phentsize;
		elf->entry = narrow.e_entry;
		least = sizeof(Elf32_Phdr);
	}
	if (machine != EM_386 && machine != EM_X86_64)
		return error_set(error, EINVAL, "an ELF file of another architecture (machine %u)",
				 machine);
	if (type != ET_EXEC && type != ET_DYN)
		return error_set(error, EINVAL, "an ELF file that isn't an executable (type %u)",
				 type);
	if (count == 0)
		return error_set(error, EINVAL, "an ELF file without program headers");
	if (entry_bytes < least || !is_inside(table, (uint64_t)count * entry_bytes, size))
		return error_set(error, EINVAL,
				 "damaged ELF file: its program headers reach beyond its end");
	for (i = 0; i < count; i++) {
		at = table + (uint64_t)i * entry_bytes;
		read_program_header(image + at, elf->is_64, &header);
		if (header.type == PT_LOAD) {
			result = add_segment(elf, &header, i, size, error);
			if (result < 0)
				return result;
		} else if (header.type == PT_NOTE && !elf->has_pvh_entry) {
			read_notes(elf, image, size, &header);
		}
	}
	if (elf->segment_count == 0)
		return error_set(error, EINVAL, "an ELF file with nothing to load");
	return 0;
}
