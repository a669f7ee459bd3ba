/*
 * Linux/x86 boot protocol (Linux Documentation/arch/x86/boot.rst).
 *
 * The 64-bit entry is taken where the kernel has it, else the 32-bit one. The 16-bit entry runs the
 * kernel's own set-up code, which asks a BIOS for memory sizes: bios_stub.c answers it.
 */
#include "machine/boot/linux.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "machine/boot/bios_stub.h"
#include "machine/boot/linux_header.h"
#include "machine/e820.h"

#define ZERO_PAGE_BYTES	 4096
#define HIGH_START	 0x100000ull
#define MAX_ALT_MEM_K	 0xffffffffull
#define E820_ENTRY_BYTES 20

#define SETUP_RNG_SEED	9 /* setup_data type */
#define RNG_SEED_BYTES	32

/* Real-mode layout of boot.rst, "The Memory Layout": code, then stack and heap in one segment. */
#define REAL_MODE_HEAP_END  0xe000
#define REAL_MODE_STACK_TOP 0xfff0

struct setup_data_seed {
	uint64_t next;
	uint32_t type, size;
	uint8_t seed[RNG_SEED_BYTES];
};

static void put(uint8_t *page, unsigned offset, const void *value, unsigned bytes)
{
	memcpy(page + offset, value, bytes);
}

static void put32(uint8_t *page, unsigned offset, uint64_t value)
{
	uint32_t low = value;

	put(page, offset, &low, sizeof(low));
}

/* Where the protected-mode kernel goes: where it wants, or lower if it can and must. */
static int choose_address(const struct linux_image *kernel, const struct ram *ram, uint64_t *gpa,
			  struct error *error)
{
	*gpa = kernel->preferred_gpa;
	if (*gpa >= PLACE_BOOT_END && guest_memory_contains(&ram->memory, *gpa, kernel->init_bytes))
		return 0;
	if (kernel->is_relocatable) {
		*gpa = (HIGH_START + kernel->alignment - 1) & ~(uint64_t)(kernel->alignment - 1);
		if (guest_memory_contains(&ram->memory, *gpa, kernel->init_bytes))
			return 0;
	}
	return error_set(error, ENOSPC,
			 "the kernel needs %llu MiB of RAM from 0x%llx on: try a larger --memory",
			 (unsigned long long)(kernel->init_bytes >> 20) + 1,
			 (unsigned long long)*gpa);
}

static void fill_memory_map(uint8_t *zero_page, const struct ram *ram)
{
	struct e820_map map;
	uint64_t above = (ram->low_end - HIGH_START) >> 10;
	unsigned i;
	uint8_t *at;

	e820_build(ram, &map);
	for (i = 0; i < map.count; i++) {
		at = zero_page + ZERO_PAGE_E820_TABLE + i * E820_ENTRY_BYTES;
		put(at, 0, &map.entries[i].gpa, 8);
		put(at, 8, &map.entries[i].size_bytes, 8);
		put(at, 16, &map.entries[i].type, 4);
	}
	zero_page[ZERO_PAGE_E820_COUNT] = map.count;
	put32(zero_page, ZERO_PAGE_ALT_MEM_K, above < MAX_ALT_MEM_K ? above : MAX_ALT_MEM_K);
}

/* Entropy for a guest that has no device for it (setup_data, protocol 2.09). */
static uint64_t place_seed(const struct ram *ram)
{
	struct setup_data_seed data = {.type = SETUP_RNG_SEED, .size = RNG_SEED_BYTES};

	if (getrandom(data.seed, sizeof(data.seed), GRND_NONBLOCK) != sizeof(data.seed))
		return 0;
	guest_memory_write(&ram->memory, PLACE_SETUP_DATA, &data, sizeof(data));
	return PLACE_SETUP_DATA;
}

/* The fields that a boot loader fills in, at their places in header or zero page. */
static void fill_header(uint8_t *page, uint64_t kernel_gpa, uint64_t initrd_gpa,
			uint64_t initrd_bytes)
{
	page[LINUX_LOADER_TYPE] = LINUX_LOADER_UNDEFINED;
	put32(page, LINUX_CODE32_START, kernel_gpa);
	put32(page, LINUX_RAMDISK_IMAGE, initrd_gpa);
	put32(page, LINUX_RAMDISK_SIZE, initrd_bytes);
	put32(page, LINUX_COMMAND_LINE, PLACE_COMMAND_LINE);
}

static int enter_real_mode(const struct linux_image *kernel, const uint8_t *image,
			   uint64_t kernel_gpa, uint64_t initrd_gpa, uint64_t initrd_bytes,
			   const struct ram *ram, struct entry *entry, struct error *error)
{
	uint8_t header[ZERO_PAGE_BYTES];
	uint16_t heap_end = REAL_MODE_HEAP_END - 0x200;
	size_t head_bytes = kernel->setup_bytes < sizeof(header) ? kernel->setup_bytes
								 : sizeof(header);

	if (kernel->setup_bytes > REAL_MODE_HEAP_END)
		return error_set(error, EINVAL, "the kernel's set-up code is too big: %zu bytes",
				 kernel->setup_bytes);
	memcpy(header, image, head_bytes);
	fill_header(header, kernel_gpa, initrd_gpa, initrd_bytes);
	header[LINUX_LOAD_FLAGS] |= LINUX_CAN_USE_HEAP;
	put(header, LINUX_HEAP_END, &heap_end, sizeof(heap_end));
	if (guest_memory_write(&ram->memory, PLACE_REAL_MODE, image, kernel->setup_bytes) < 0 ||
	    guest_memory_write(&ram->memory, PLACE_REAL_MODE, header, head_bytes) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	*entry = (struct entry){
		.mode = ENTRY_REAL,
		.cs = (PLACE_REAL_MODE >> 4) + 0x20,
		.data_segment = PLACE_REAL_MODE >> 4,
		.rsp = REAL_MODE_STACK_TOP,
	};
	return bios_stub_install(ram, error);
}

static int enter_protected_mode(const struct linux_image *kernel, const uint8_t *image,
				uint64_t kernel_gpa, uint64_t initrd_gpa, uint64_t initrd_bytes,
				bool is_long, const struct ram *ram, uint64_t rsdp_gpa,
				struct entry *entry, struct error *error)
{
	uint8_t zero_page[ZERO_PAGE_BYTES] = {0};
	uint64_t seed_gpa;

	memcpy(zero_page + LINUX_SETUP_SECTORS, image + LINUX_SETUP_SECTORS, kernel->header_bytes);
	fill_header(zero_page, kernel_gpa, initrd_gpa, initrd_bytes);
	fill_memory_map(zero_page, ram);
	put(zero_page, ZERO_PAGE_RSDP, &rsdp_gpa, sizeof(rsdp_gpa));
	seed_gpa = kernel->version >= 0x209 ? place_seed(ram) : 0;
	if (kernel->version >= 0x209)
		put(zero_page, LINUX_SETUP_DATA, &seed_gpa, sizeof(seed_gpa));
	if (guest_memory_write(&ram->memory, PLACE_BOOT_DATA, zero_page, sizeof(zero_page)) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	*entry = (struct entry){
		.mode = is_long ? ENTRY_LONG : ENTRY_PROTECTED,
		.rip = kernel_gpa + (is_long ? LINUX_64_ENTRY_OFFSET : 0),
		.rsp = PLACE_REAL_MODE + REAL_MODE_STACK_TOP,
		.rsi = PLACE_BOOT_DATA,
	};
	return 0;
}

int linux_load(const struct linux_image *kernel, const uint8_t *image,
	       const struct boot_blob *code, const struct boot_blob *initrd, const char *command_line, enum linux_entry how,
	       const struct ram *ram, uint64_t rsdp_gpa, struct entry *entry, struct error *error)
{
	uint64_t kernel_gpa, command_line_gpa, initrd_gpa = 0;
	struct places places;
	int result;

	/* A zImage moves itself about below 640 KiB; no kernel has been one since 2.6. */
	if (!kernel->loads_high)
		return error_set(error, EINVAL, "a zImage kernel, which loads low: use a bzImage");
	if (how == LINUX_ENTRY_AUTO)
		how = kernel->has_64_entry ? LINUX_ENTRY_64 : LINUX_ENTRY_32;
	if (how == LINUX_ENTRY_64 && !kernel->has_64_entry)
		return error_set(error, EINVAL, "this kernel has no 64-bit entry");
	if (ram->low_end <= HIGH_START)
		return error_set(error, ENOSPC, "Linux needs more RAM: try a larger --memory");
	places_init(&places, ram);
	/* Nothing else is there: kernels load above PLACE_BOOT_END. */
	result = place_command_line(&places, command_line, kernel->command_line_max,
				    &command_line_gpa, error);
	if (result < 0)
		return result;
	assert(command_line_gpa == PLACE_COMMAND_LINE);
	result = choose_address(kernel, ram, &kernel_gpa, error);
	if (result < 0)
		return result;
	result = place_blob_at(ram, code, kernel_gpa, error);
	if (result < 0)
		return result;
	if (initrd->size) {
		result = place_blob_high(ram, initrd, kernel_gpa + kernel->init_bytes,
					 kernel->initrd_max + 1, &initrd_gpa, error);
		if (result < 0)
			return result;
	}
	if (how == LINUX_ENTRY_16)
		return enter_real_mode(kernel, image, kernel_gpa, initrd_gpa, initrd->size, ram,
				       entry, error);
	return enter_protected_mode(kernel, image, kernel_gpa, initrd_gpa, initrd->size,
				    how == LINUX_ENTRY_64, ram, rsdp_gpa, entry, error);
}
