/* The kernel image parsers on whole and on damaged images, and where the loaders put things. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine/boot/boot.h"
#include "machine/boot/flat.h"
#include "machine/boot/image.h"
#include "machine/boot/linux.h"
#include "machine/boot/multiboot.h"
#include "machine/boot/pvh.h"

#define IMAGE_BYTES 4096

/* A 64-bit ELF with one segment of 16 bytes (32 in memory) at 1 MiB and a PVH note. */
static void make_elf(uint8_t image[IMAGE_BYTES])
{
	Elf64_Ehdr header = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = 0x100000,
		.e_phoff = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	Elf64_Phdr segments[2] = {
		{.p_type = PT_LOAD,
		 .p_offset = 0x400,
		 .p_paddr = 0x100000,
		 .p_filesz = 16,
		 .p_memsz = 32},
		{.p_type = PT_NOTE, .p_offset = 0x800, .p_filesz = 20, .p_align = 4},
	};
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint32_t entry;
	} note = {{4, 4, 18}, "Xen", 0x100040};

	memset(image, 0, IMAGE_BYTES);
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), segments, sizeof(segments));
	memset(image + 0x400, 0xcc, 16);
	memcpy(image + 0x800, &note, sizeof(note));
}

static void test_elf(void **state)
{
	uint8_t image[IMAGE_BYTES];
	struct elf_image elf;
	struct error error;

	(void)state;
	make_elf(image);
	assert_int_equal(elf_parse(image, sizeof(image), &elf, &error), 0);
	assert_int_equal(elf.segment_count, 1);
	assert_int_equal(elf.segments[0].gpa, 0x100000);
	assert_true(elf.has_pvh_entry);
	assert_int_equal(elf.pvh_entry, 0x100040);
	assert_int_equal(elf_parse(image, 15, &elf, &error), -ENOEXEC);
	assert_int_equal(elf_parse(image, 63, &elf, &error), -EINVAL);
	assert_int_equal(elf_parse((const uint8_t *)"#!/bin/sh\nexit 0\n", 17, &elf, &error),
			 -ENOEXEC);
}

static void test_elf_damaged(void **state)
{
	static const struct {
		size_t offset;
		uint64_t value;
		unsigned bytes;
	} damages[] = {
		{offsetof(Elf64_Ehdr, e_phoff), UINT64_MAX - 8, 8},
		{offsetof(Elf64_Ehdr, e_phoff), IMAGE_BYTES, 8},
		{offsetof(Elf64_Ehdr, e_phnum), 0xffff, 2},
		{offsetof(Elf64_Ehdr, e_phnum), 0, 2},
		{offsetof(Elf64_Ehdr, e_phentsize), 8, 2},
		{offsetof(Elf64_Ehdr, e_machine), EM_AARCH64, 2},
		{offsetof(Elf64_Ehdr, e_type), ET_REL, 2},
		{EI_DATA, ELFDATA2MSB, 1},
		{EI_CLASS, 9, 1},
		{64 + offsetof(Elf64_Phdr, p_offset), UINT64_MAX, 8},
		{64 + offsetof(Elf64_Phdr, p_filesz), UINT64_MAX, 8},
		{64 + offsetof(Elf64_Phdr, p_filesz), 33, 8},
		{64 + offsetof(Elf64_Phdr, p_paddr), UINT64_MAX - 4, 8},
		{64 + offsetof(Elf64_Phdr, p_type), PT_NULL, 4},
	};
	uint8_t image[IMAGE_BYTES];
	struct elf_image elf;
	struct error error;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		make_elf(image);
		memcpy(image + damages[i].offset, &damages[i].value, damages[i].bytes);
		assert_int_equal(elf_parse(image, sizeof(image), &elf, &error), -EINVAL);
	}
	/* A damaged note is no note, and no damage to the rest. */
	make_elf(image);
	memset(image + 0x800, 0xff, 8);
	assert_int_equal(elf_parse(image, sizeof(image), &elf, &error), 0);
	assert_false(elf.has_pvh_entry);
	/* Every shorter file parses to something that is inside of it, or not at all. */
	make_elf(image);
	for (i = 0; i < sizeof(image); i++)
		if (elf_parse(image, i, &elf, &error) == 0)
			assert_true(elf.segments[0].offset + elf.segments[0].file_bytes <= i);
}

static void make_bzimage(uint8_t image[IMAGE_BYTES])
{
	memset(image, 0, IMAGE_BYTES);
	image[0x1f1] = 1; /* 1 KiB of set-up code with the boot sector */
	image[0x1fe] = 0x55;
	image[0x1ff] = 0xaa;
	image[0x200] = 0xeb;
	image[0x201] = 0x6a; /* the header ends at 0x26c */
	memcpy(image + 0x202, "HdrS\x0f\x02", 6);
	image[0x211] = 1;
	memcpy(image + 0x22c, "\xff\xff\xff\x7f", 4);
	memcpy(image + 0x230, "\x00\x00\x20\x00", 4);
	image[0x234] = 1;
	image[0x236] = 1;
	memcpy(image + 0x238, "\xff\x07\x00\x00", 4);
	memcpy(image + 0x258, "\x00\x00\x00\x01\x00\x00\x00\x00", 8);
	memcpy(image + 0x260, "\x00\x00\x10\x00", 4);
	memset(image + 0x400, 0x90, IMAGE_BYTES - 0x400);
}

static void test_linux(void **state)
{
	uint8_t image[IMAGE_BYTES];
	struct linux_image kernel;
	struct error error;

	(void)state;
	make_bzimage(image);
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), 0);
	assert_int_equal(kernel.version, 0x20f);
	assert_int_equal(kernel.setup_bytes, 0x400);
	assert_int_equal(kernel.kernel_bytes, IMAGE_BYTES - 0x400);
	assert_int_equal(kernel.preferred_gpa, 0x1000000);
	assert_int_equal(kernel.init_bytes, 0x100000);
	assert_int_equal(kernel.command_line_max, 2047);
	assert_true(kernel.has_64_entry && kernel.is_relocatable && kernel.loads_high);
	assert_int_equal(linux_parse(image, 0x22b, &kernel, &error), -ENOEXEC);
	assert_int_equal(linux_parse(image, 0x400, &kernel, &error), -EINVAL);
	image[0x1f1] = 0xff;
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	make_bzimage(image);
	image[0x201] = 0xff;
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	make_bzimage(image);
	image[0x230] = 3; /* alignment */
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	make_bzimage(image);
	memset(image + 0x258, 0xff, 8);
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	make_bzimage(image);
	image[0x206] = 1; /* protocol 2.01 */
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), -EINVAL);
}

static void test_linux_load(void **state)
{
	static const uint8_t initrd_bytes[5000] = "initrd";
	struct boot_blob initrd = {.what = "initrd", .data = initrd_bytes, .size = sizeof(initrd_bytes)}, code;
	const uint8_t *zero_page;
	uint8_t image[IMAGE_BYTES];
	struct linux_image kernel;
	struct entry entry;
	struct error error;
	struct ram ram;
	uint32_t at;

	(void)state;
	make_bzimage(image);
	assert_int_equal(linux_parse(image, sizeof(image), &kernel, &error), 0);
	code = (struct boot_blob){
		.what = "kernel", .data = image + kernel.setup_bytes, .size = kernel.kernel_bytes};
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 64 << 20, NULL, NULL, &error), 0);
	assert_int_equal(linux_load(&kernel, image, &code, &initrd, "quiet", LINUX_ENTRY_AUTO, &ram,
				    0xe0000, &entry, &error),
			 0);
	assert_int_equal(entry.mode, ENTRY_LONG);
	assert_int_equal(entry.rip, 0x1000200);
	zero_page = guest_memory_at(&ram.memory, entry.rsi, 4096);
	memcpy(&at, zero_page + 0x218, 4);
	assert_int_equal(at, (64 << 20) - 8192); /* page-aligned, as high as it goes */
	assert_memory_equal(guest_memory_at(&ram.memory, at, 6), "initrd", 6);
	memcpy(&at, zero_page + 0x228, 4);
	assert_string_equal((char *)guest_memory_at(&ram.memory, at, 6), "quiet");
	assert_memory_equal(zero_page + 0x70, "\x00\x00\x0e\x00", 4);
	assert_in_range(zero_page[0x1e8], 4, 8);
	ram_destroy(&ram);

	/* A kernel that can move does when its favourite place isn't there. */
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 8 << 20, NULL, NULL, &error), 0);
	initrd.size = 0;
	assert_int_equal(linux_load(&kernel, image, &code, &initrd, "", LINUX_ENTRY_32, &ram, 0, &entry,
				    &error), 0);
	assert_int_equal(entry.mode, ENTRY_PROTECTED);
	assert_int_equal(entry.rip, 0x200000);
	kernel.is_relocatable = false;
	assert_true(linux_load(&kernel, image, &code, &initrd, "", LINUX_ENTRY_AUTO, &ram, 0, &entry,
			       &error) < 0);
	kernel.is_relocatable = true;
	initrd.size = sizeof(initrd_bytes);
	kernel.initrd_max = 0x300000;
	assert_true(linux_load(&kernel, image, &code, &initrd, "", LINUX_ENTRY_AUTO, &ram, 0, &entry,
			       &error) < 0);
	kernel.command_line_max = 3;
	assert_true(linux_load(&kernel, image, &code, &initrd, "long", LINUX_ENTRY_AUTO, &ram, 0, &entry,
			       &error) < 0);
	ram_destroy(&ram);
}

/* A file of these bytes that has a path. */
static int make_file(char path[32], const void *bytes, size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* Where the initrd is, which begins so. */
static const uint8_t *loaded(const struct boot *boot, struct ram *ram, uint32_t size)
{
	const uint8_t *zero_page;
	struct entry entry = {0};
	struct error error;
	uint32_t at, loaded_size;

	assert_int_equal(boot_load(boot, ram, 0, &entry, &error), 0);
	zero_page = guest_memory_at(&ram->memory, entry.rsi, 4096);
	memcpy(&at, zero_page + 0x218, 4);
	memcpy(&loaded_size, zero_page + 0x21c, 4);
	assert_int_equal(loaded_size, size);
	return guest_memory_at(&ram->memory, at, size);
}

/* An initrd stays in its file, and each boot has what is there by then. */
static void test_initrd_file(void **state)
{
	static uint8_t bytes[3 << 20];
	struct entry entry = {0};
	struct boot_config config = {0};
	char kernel_path[32], initrd_path[32];
	uint8_t image[IMAGE_BYTES];
	int kernel_fd, initrd_fd, pipe_fds[2];
	struct boot *boot;
	struct error error;
	struct ram ram;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (i * 2654435761u) >> 24;
	make_bzimage(image);
	kernel_fd = make_file(kernel_path, image, sizeof(image));
	initrd_fd = make_file(initrd_path, bytes, sizeof(bytes) - 5);
	config.kernel = kernel_path;
	config.initrd = initrd_path;
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 64 << 20, NULL, NULL, &error), 0);
	boot = boot_open(&config, 64 << 20, &error);
	assert_non_null(boot);
	assert_memory_equal(loaded(boot, &ram, sizeof(bytes) - 5), bytes, sizeof(bytes) - 5);
	bytes[0] ^= 1;
	assert_int_equal(pwrite(initrd_fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_memory_equal(loaded(boot, &ram, sizeof(bytes)), bytes, sizeof(bytes));
	assert_int_equal(ftruncate(initrd_fd, 128 << 20), 0);
	assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), -ENOSPC);
	assert_int_equal(ftruncate(initrd_fd, 0), 0);
	assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), -EINVAL);
	boot_close(boot);
	assert_null(boot_open(&config, 64 << 20, &error)); /* empty */
	assert_int_equal(pwrite(initrd_fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_null(boot_open(&config, sizeof(bytes) - 1, &error)); /* too big */

	/* What can be read once is kept. */
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(write(pipe_fds[1], bytes, 5000), 5000);
	close(pipe_fds[1]);
	snprintf(initrd_path, sizeof(initrd_path), "/proc/self/fd/%d", pipe_fds[0]);
	boot = boot_open(&config, 64 << 20, &error);
	assert_non_null(boot);
	for (i = 0; i < 2; i++)
		assert_memory_equal(loaded(boot, &ram, 5000), bytes, 5000);
	boot_close(boot);
	close(pipe_fds[0]);
	close(initrd_fd);
	close(kernel_fd);
	ram_destroy(&ram);
}

/* So does a Linux kernel: its code, its set-up code and its header are those of one time. */
static void test_kernel_file(void **state)
{
	static uint8_t image[LINUX_SETUP_BYTES_MAX + 100000];
	const size_t code_at = 0x400;
	struct entry entry = {0};
	struct boot_config config = {0};
	char path[32];
	int fd, pipe_fds[2];
	struct boot *boot;
	struct error error;
	struct ram ram;
	size_t i;

	(void)state;
	make_bzimage(image);
	for (i = code_at; i < sizeof(image); i++)
		image[i] = (i * 2654435761u) >> 24;
	fd = make_file(path, image, sizeof(image));
	config.kernel = path;
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 64 << 20, NULL, NULL, &error), 0);
	boot = boot_open(&config, 64 << 20, &error);
	assert_non_null(boot);
	assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), 0);
	assert_memory_equal(guest_memory_at(&ram.memory, entry.rip - 0x200, sizeof(image) - code_at),
			    image + code_at, sizeof(image) - code_at);
	image[0x1f1]++; /* a sector more of set-up code */
	assert_int_equal(pwrite(fd, image, sizeof(image) - 7, 0), sizeof(image) - 7);
	assert_int_equal(ftruncate(fd, sizeof(image) - 7), 0);
	assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), 0);
	assert_memory_equal(guest_memory_at(&ram.memory, entry.rip - 0x200, sizeof(image) - code_at - 512 - 7),
			    image + code_at + 512, sizeof(image) - code_at - 512 - 7);
	assert_int_equal(ftruncate(fd, 0x100), 0);
	assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), -ENOEXEC);
	boot_close(boot);
	assert_null(boot_open(&config, 64 << 20, &error));
	close(fd);

	/* What can be read once is kept. */
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(write(pipe_fds[1], image, 50000), 50000);
	close(pipe_fds[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_fds[0]);
	boot = boot_open(&config, 64 << 20, &error);
	assert_non_null(boot);
	for (i = 0; i < 2; i++) {
		assert_int_equal(boot_load(boot, &ram, 0, &entry, &error), 0);
		assert_memory_equal(guest_memory_at(&ram.memory, entry.rip - 0x200, 50000 - code_at - 512),
				    image + code_at + 512, 50000 - code_at - 512);
	}
	boot_close(boot);
	close(pipe_fds[0]);
	ram_destroy(&ram);
}

static void make_multiboot(uint8_t image[IMAGE_BYTES], const uint32_t header[8])
{
	memset(image, 0x11, IMAGE_BYTES);
	memcpy(image + 64, header, 8 * sizeof(header[0]));
}

static void test_multiboot(void **state)
{
	uint32_t header[8] = {0x1badb002, 0x10003, -(0x1badb002 + 0x10003), 0x100040, 0x100000,
			      0, 0x102000, 0x100060};
	struct boot_blob none = {.what = "initrd"};
	uint8_t image[IMAGE_BYTES];
	struct multiboot_image kernel;
	struct entry entry;
	struct error error;
	struct ram ram;

	(void)state;
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), 0);
	assert_int_equal(kernel.entry, 0x100060);
	assert_int_equal(kernel.segments[0].offset, 0);
	assert_int_equal(kernel.segments[0].file_bytes, IMAGE_BYTES);
	assert_int_equal(kernel.segments[0].memory_bytes, 0x2000);
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 4 << 20, NULL, NULL, &error), 0);
	assert_int_equal(multiboot_load(&kernel, image, &none, "k", "", &ram, &entry, &error), 0);
	assert_int_equal(entry.rax, 0x2badb002);
	assert_memory_equal(guest_memory_at(&ram.memory, 0x100000, IMAGE_BYTES), image,
			    IMAGE_BYTES);
	kernel.segments[0].gpa = 0x3ff000;
	assert_true(multiboot_load(&kernel, image, &none, "k", "", &ram, &entry, &error) < 0);
	ram_destroy(&ram);

	header[4] = 0x100100; /* loads above its own header */
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	header[4] = 0xfff00; /* more before the header than there is */
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	header[4] = 0x100000;
	header[5] = 0x110000; /* ends beyond the file */
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	header[5] = 0;
	header[6] = 0x100010; /* zeroed part ends inside the data */
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), -EINVAL);
	assert_int_equal(multiboot_parse(image, 80, &kernel, &error), -EINVAL);
	assert_int_equal(multiboot_parse(image, 70, &kernel, &error), -ENOEXEC);
	header[1] = 0x10;
	header[2] = -(0x1badb002 + 0x10); /* a feature that must be understood */
	make_multiboot(image, header);
	assert_int_equal(multiboot_parse(image, sizeof(image), &kernel, &error), -EINVAL);
}

/* Whether [gpa, gpa + size) touches none of the segment's bytes and is RAM. */
static bool is_beside(const struct ram *ram, const struct image_segment *segment, uint64_t gpa,
		      uint64_t size)
{
	return guest_memory_contains(&ram->memory, gpa, size) &&
	       (gpa + size <= segment->gpa || gpa >= segment->gpa + segment->memory_bytes);
}

static uint32_t read32(const struct ram *ram, uint64_t gpa)
{
	uint32_t value;

	assert_int_equal(guest_memory_read(&ram->memory, gpa, &value, sizeof(value)), 0);
	return value;
}

/* Kernels that load where the boot data usually is; the last leaves no conventional memory. */
static const struct image_segment low_segments[] = {
	{0x8000, 0x2000, 0, IMAGE_BYTES},  {0x7000, 0x1000, 0, IMAGE_BYTES},
	{0x20000, 0x2000, 0, IMAGE_BYTES}, {0x500, 0x1b00, 0, IMAGE_BYTES},
	{0, 0x2000, 0, IMAGE_BYTES},	   {0x6000, 0x50000, 0, IMAGE_BYTES},
	{0x1000, 0x9f000, 0, IMAGE_BYTES}, {0, 0xa0000, 0, IMAGE_BYTES},
};
#define LOW_SEGMENTS (sizeof(low_segments) / sizeof(low_segments[0]))

static void check_entry(const struct ram *ram, const struct image_segment *segment,
			const struct entry *entry)
{
	assert_true(is_beside(ram, segment, entry->gdt_gpa, ENTRY_GDT_BYTES));
	assert_true(is_beside(ram, segment, entry->rsp - 4096, 4096));
	assert_true(entry->rsp - 4096 > entry->gdt_gpa || entry->rsp <= entry->gdt_gpa);
	if (entry->mode == ENTRY_LONG) {
		assert_int_equal(entry->page_table_gpa % 4096, 0);
		assert_true(is_beside(ram, segment, entry->page_table_gpa, ENTRY_PAGE_TABLE_BYTES));
		assert_true(entry->page_table_gpa + ENTRY_PAGE_TABLE_BYTES <= RAM_HIGH_START);
	}
}

static void test_low_multiboot(void **state)
{
	static const uint8_t module[5000] = "module";
	uint8_t image[IMAGE_BYTES];
	struct boot_blob initrd = {.what = "initrd", .data = module, .size = sizeof(module)};
	struct multiboot_image kernel = {.segment_count = 1};
	struct image_segment *segment = &kernel.segments[0];
	struct entry entry;
	struct error error;
	struct ram ram;
	uint32_t at, start;
	unsigned i;

	(void)state;
	memset(image, 0x5a, sizeof(image));
	for (i = 0; i < LOW_SEGMENTS; i++) {
		*segment = low_segments[i];
		kernel.entry = segment->gpa;
		assert_int_equal(ram_create(&ram, &ram_layout_pc, 4 << 20, NULL, NULL, &error), 0);
		assert_int_equal(multiboot_load(&kernel, image, &initrd, "k", "quiet", &ram, &entry,
						&error),
				 0);
		check_entry(&ram, segment, &entry);
		assert_memory_equal(guest_memory_at(&ram.memory, segment->gpa, IMAGE_BYTES), image,
				    IMAGE_BYTES);
		/* The information, its strings and its module are whole, and beside the kernel. */
		assert_true(is_beside(&ram, segment, entry.rbx, 88));
		assert_int_equal(read32(&ram, entry.rbx) & 0x24d, 0x24d);
		at = read32(&ram, entry.rbx + 16);
		assert_true(is_beside(&ram, segment, at, 8));
		assert_string_equal((char *)guest_memory_at(&ram.memory, at, 8), "k quiet");
		at = read32(&ram, entry.rbx + 24);
		assert_true(is_beside(&ram, segment, at, 16));
		start = read32(&ram, at);
		assert_int_equal(start % 4096, 0);
		assert_int_equal(read32(&ram, at + 4) - start, sizeof(module));
		assert_true(is_beside(&ram, segment, start, sizeof(module)));
		assert_memory_equal(guest_memory_at(&ram.memory, start, sizeof(module)), module,
				    sizeof(module));
		at = read32(&ram, entry.rbx + 48);
		assert_true(is_beside(&ram, segment, at, read32(&ram, entry.rbx + 44)));
		at = read32(&ram, entry.rbx + 64);
		assert_string_equal((char *)guest_memory_at(&ram.memory, at, 5), "kvik");
		ram_destroy(&ram);
	}
	/* All RAM is the kernel's: one line says that it doesn't fit. */
	kernel.segment_count = 2;
	kernel.segments[0] = (struct image_segment){0, 0xa0000, 0, 16};
	kernel.segments[1] = (struct image_segment){0xc0000, (4 << 20) - 0xc0000, 0, 16};
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 4 << 20, NULL, NULL, &error), 0);
	assert_true(multiboot_load(&kernel, image, &initrd, "k", "", &ram, &entry, &error) < 0);
	ram_destroy(&ram);
}

static void test_low_pvh(void **state)
{
	static const uint8_t module[5000] = "module";
	uint8_t image[IMAGE_BYTES];
	struct boot_blob initrd = {.what = "initrd", .data = module, .size = sizeof(module)};
	struct elf_image elf = {.has_pvh_entry = true, .segment_count = 1};
	struct image_segment *segment = &elf.segments[0];
	struct entry entry;
	struct error error;
	struct ram ram;
	uint32_t at;
	unsigned i;

	(void)state;
	memset(image, 0x5a, sizeof(image));
	for (i = 0; i < LOW_SEGMENTS; i++) {
		*segment = low_segments[i];
		elf.pvh_entry = segment->gpa;
		assert_int_equal(ram_create(&ram, &ram_layout_pc, 4 << 20, NULL, NULL, &error), 0);
		assert_int_equal(pvh_load(&elf, image, &initrd, "quiet", &ram, 0xe0000, &entry,
					  &error),
				 0);
		check_entry(&ram, segment, &entry);
		assert_memory_equal(guest_memory_at(&ram.memory, segment->gpa, IMAGE_BYTES), image,
				    IMAGE_BYTES);
		assert_true(is_beside(&ram, segment, entry.rbx, 56));
		assert_int_equal(read32(&ram, entry.rbx), 0x336ec578);
		at = read32(&ram, entry.rbx + 24);
		assert_true(is_beside(&ram, segment, at, 6));
		assert_string_equal((char *)guest_memory_at(&ram.memory, at, 6), "quiet");
		assert_int_equal(read32(&ram, entry.rbx + 32), 0xe0000);
		at = read32(&ram, entry.rbx + 40);
		assert_true(is_beside(&ram, segment, at, 24 * read32(&ram, entry.rbx + 48)));
		at = read32(&ram, entry.rbx + 16);
		at = read32(&ram, at);
		assert_true(is_beside(&ram, segment, at, sizeof(module)));
		assert_memory_equal(guest_memory_at(&ram.memory, at, sizeof(module)), module,
				    sizeof(module));
		ram_destroy(&ram);
	}
}

static void test_low_flat(void **state)
{
	static uint8_t code[0x20000];
	static const uint64_t addresses[] = {0, 0x400, 0x500, 0x1000, 0x8000, 0x9000, 0xe000};
	struct image_segment segment;
	struct entry entry;
	struct error error;
	struct ram ram;
	unsigned i;

	(void)state;
	memset(code, 0xf4, sizeof(code));
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 2 << 20, NULL, NULL, &error), 0);
	for (i = 0; i < 2 * sizeof(addresses) / sizeof(addresses[0]); i++) {
		segment = (struct image_segment){addresses[i / 2], sizeof(code), 0, sizeof(code)};
		assert_int_equal(flat_load(code, sizeof(code), segment.gpa,
					   i % 2 ? FLAT_LONG : FLAT_PROTECTED, &ram, &entry,
					   &error),
				 0);
		check_entry(&ram, &segment, &entry);
	}
	ram_destroy(&ram);
}

static void test_flat(void **state)
{
	static const uint8_t code[] = {0xf4, 0xf4};
	struct entry entry;
	struct error error;
	struct ram ram;

	(void)state;
	assert_int_equal(ram_create(&ram, &ram_layout_pc, 2 << 20, NULL, NULL, &error), 0);
	assert_int_equal(flat_load(code, 2, 0x7c00, FLAT_REAL, &ram, &entry, &error), 0);
	assert_int_equal(entry.cs, 0);
	assert_int_equal(entry.rip, 0x7c00);
	assert_int_equal(flat_load(code, 2, 0x12345, FLAT_REAL, &ram, &entry, &error), 0);
	assert_int_equal(entry.cs * 16 + entry.rip, 0x12345);
	assert_true(flat_load(code, 2, 0x100000, FLAT_REAL, &ram, &entry, &error) < 0);
	assert_int_equal(flat_load(code, 2, 0x100000, FLAT_LONG, &ram, &entry, &error), 0);
	assert_true(flat_load(code, 2, 0x9ffff, FLAT_PROTECTED, &ram, &entry, &error) < 0);
	assert_true(flat_load(code, 2, UINT64_MAX, FLAT_LONG, &ram, &entry, &error) < 0);
	assert_true(flat_load(code, 2, 0x1fffff, FLAT_LONG, &ram, &entry, &error) < 0);
	ram_destroy(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf),	   cmocka_unit_test(test_elf_damaged),
		cmocka_unit_test(test_linux),	   cmocka_unit_test(test_linux_load),
		cmocka_unit_test(test_initrd_file), cmocka_unit_test(test_kernel_file),
		cmocka_unit_test(test_multiboot),  cmocka_unit_test(test_flat),
		cmocka_unit_test(test_low_multiboot), cmocka_unit_test(test_low_pvh),
		cmocka_unit_test(test_low_flat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
