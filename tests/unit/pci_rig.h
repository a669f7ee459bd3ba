/* What tests of PCI functions share: a PCI bus with 1 MiB of guest memory, disks in memory files, waiting. */
#ifndef KVIK_TESTS_UNIT_PCI_RIG_H
#define KVIK_TESTS_UNIT_PCI_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/bus/pci.h"
#include "device/storage/drive.h"

#define MEMORY_BYTES (1u << 20)

struct pci_rig {
	struct guest_memory memory;
	struct pci_bus *bus;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct irq_line irq;
	unsigned rises; /* of any line */
	bool levels[24];
	unsigned messages;
	uint32_t last_message; /* its data */
};

static inline void pci_rig_line(void *context, unsigned gsi, bool level)
{
	struct pci_rig *rig = context;

	if (level && !rig->levels[gsi])
		__atomic_add_fetch(&rig->rises, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rig->levels[gsi], level, __ATOMIC_SEQ_CST);
}

static inline void pci_rig_send(void *context, uint64_t address, uint32_t data)
{
	struct pci_rig *rig = context;

	(void)address;
	__atomic_store_n(&rig->last_message, data, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&rig->messages, 1, __ATOMIC_SEQ_CST);
}

static inline void pci_rig_init(struct pci_rig *rig)
{
	struct pci_bus_config config = {.pio = NULL};
	struct error error;
	unsigned link;

	*rig = (struct pci_rig){.pio = pio_bus_create(), .mmio = mmio_bus_create()};
	rig->memory.regions[0] = (struct guest_region){
		.size_bytes = MEMORY_BYTES,
		.hva = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
	rig->memory.region_count = 1;
	rig->irq = (struct irq_line){pci_rig_line, rig, 0};
	config.pio = rig->pio;
	config.mmio = rig->mmio;
	config.memory = &rig->memory;
	config.irq = rig->irq;
	config.msi = (struct msi_target){.send = pci_rig_send, .context = rig};
	rig->bus = pci_bus_create(&config, &error);
	assert_non_null(rig->bus);
	for (link = 0; link < PCI_PINS; link++)
		pci_bus_route(rig->bus, link, 10);
}

static inline void pci_rig_end(struct pci_rig *rig)
{
	pci_bus_device_ops.destroy(rig->bus);
	mmio_bus_destroy(rig->mmio);
	pio_bus_destroy(rig->pio);
	munmap(rig->memory.regions[0].hva, MEMORY_BYTES);
}

/* A register of 32 bits. */
static inline uint32_t pci_rig_get(struct pci_rig *rig, uint64_t address)
{
	uint32_t value;

	mmio_bus_read(rig->mmio, address, (uint8_t *)&value, sizeof(value));
	return value;
}

static inline void pci_rig_set(struct pci_rig *rig, uint64_t address, uint32_t value)
{
	mmio_bus_write(rig->mmio, address, (const uint8_t *)&value, sizeof(value));
}

static inline void *pci_rig_at(struct pci_rig *rig, uint64_t gpa)
{
	return rig->memory.regions[0].hva + gpa;
}

/* An image whose each `block` bytes begin with their number; `fd` is the caller's. */
static inline struct block *pci_rig_image(unsigned blocks, unsigned block_bytes, bool is_readonly, int *fd)
{
	struct block_options options = {.format = "raw", .readonly = is_readonly, .discard = true,
					.serial = "serial7", .unlocked = true, .aio = BLOCK_AIO_THREADS};
	struct block *block;
	struct error error;
	unsigned i;

	*fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(*fd, (off_t)blocks * block_bytes), 0);
	for (i = 0; i < blocks; i++)
		assert_int_equal(pwrite(*fd, &i, sizeof(i), (off_t)i * block_bytes), sizeof(i));
	assert_int_equal(block_open_fd(*fd, "test", &options, &block, &error), 0);
	return block;
}

/* Until `holds` does, which must be soon. */
#define wait_for(holds)                                                                            \
	do {                                                                                       \
		unsigned turns_;                                                                   \
		for (turns_ = 0; !(holds) && turns_ < 100000; turns_++)                            \
			usleep(100);                                                               \
		assert_true(holds);                                                                \
	} while (0)

/* Save and load into another device of the same kind: what is saved from that is the same. */
static inline void pci_rig_check_state(const struct device_ops *ops, void *from, void *to)
{
	const void *first_bytes, *second_bytes;
	struct state_stream first, second, loading;
	size_t first_size, second_size;
	struct error error;

	state_save_begin(&first);
	state_section_begin(&first, "device", ops->version);
	ops->save(from, &first);
	state_section_end(&first);
	assert_int_equal(state_saved(&first, &first_bytes, &first_size, &error), 0);
	state_load_begin(&loading, first_bytes, first_size);
	state_section_begin(&loading, "device", ops->version);
	ops->load(to, &loading);
	state_section_end(&loading);
	if (state_loaded(&loading, &error) < 0)
		fail_msg("%s", error.message);
	state_save_begin(&second);
	state_section_begin(&second, "device", ops->version);
	ops->save(to, &second);
	state_section_end(&second);
	assert_int_equal(state_saved(&second, &second_bytes, &second_size, &error), 0);
	assert_int_equal(first_size, second_size);
	assert_memory_equal(first_bytes, second_bytes, first_size);
	state_end(&first);
	state_end(&loading);
	state_end(&second);
}

#endif
