/*
 * pci-exercise, a device of kvik's own: one of each thing that a PCI function can have, and registers
 * that make it do them. Vendor 1234, device 4b56, class ff0000. Guests of tests/machine use it.
 *
 * BAR 0, 32 I/O ports, and BAR 1 from offset 0, 32 bits of memory: the registers below, of 32 bits.
 * BAR 1 from 0x1000: the MSI-X table of 8 vectors; from 0x1800: their pending bits.
 * BAR 2, 64 bits, prefetchable: 64 KiB that can be read and written, and which DMA copies.
 * INTA#, MSI of 4 vectors, MSI-X of 8, and a capability of the vendor's.
 */
#include "device/pci_exercise.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_irqfd.h"
#include "device/locked_bytes.h"

#define VENDOR	  0x1234
#define DEVICE_ID 0x4b56
#define CLASS	  0xff0000

#define REG_ID	     0x00 /* reads as "KVIK" */
#define REG_SCRATCH  0x04 /* keeps what is written */
#define REG_NOTIFY   0x08 /* a write sends this vector by MSI-X or MSI; or does what follows */
#define REG_INTX     0x0c /* bit 0: the pin's level */
#define REG_DMA_LOW  0x10 /* guest-physical address */
#define REG_DMA_HIGH 0x14
#define REG_DMA_SIZE 0x18 /* bytes, at most those of BAR 2; from its start */
#define REG_DMA	     0x1c /* 1: guest to BAR 2; 2: BAR 2 to guest; reads as 0, or errno of the last */
#define REGISTERS    0x20

/* Of REG_NOTIFY: one of the function's eventfds. */
#define NOTIFY_BY_EVENTFD    0x80000000u
#define NOTIFY_SET_VECTOR    0x40000000u /* it sends this vector from now on; first its own number */
#define NOTIFY_EVENTFD(value) ((value) >> 16 & (MSIX_VECTORS - 1))
#define NOTIFY_VECTOR(value) ((value) & 0xffff)

#define ID	     0x4b49564b
#define INTX_LEVEL   0x1
#define DMA_FROM     1
#define DMA_TO	     2

#define MEMORY_BYTES   0x10000
#define REGISTER_BYTES 0x2000
#define TABLE_OFFSET   0x1000
#define PBA_OFFSET     0x1800
#define MSI_VECTORS    4
#define MSIX_VECTORS   8
#define VENDOR_BYTES   8 /* of the vendor's capability: its length, and "test" */

struct pci_exercise {
	struct pci_function function;
	pthread_mutex_t lock; /* guards what follows */
	uint32_t scratch, dma_low, dma_high, dma_size, dma_result;
	bool intx_level;
	uint16_t vectors[MSIX_VECTORS]; /* of the eventfds */
	uint8_t memory[MEMORY_BYTES];
	struct pci_irqfd irqfds[MSIX_VECTORS];
};

/* Have the eventfds send what `vectors` says. With the lock held. */
static void set_vectors(struct pci_exercise *device)
{
	unsigned i;

	for (i = 0; i < MSIX_VECTORS; i++)
		pci_irqfd_set_vector(&device->irqfds[i], device->vectors[i]);
}

static void notify(struct pci_exercise *device, uint32_t value)
{
	unsigned i = NOTIFY_EVENTFD(value);

	if (!(value & NOTIFY_BY_EVENTFD)) {
		pci_notify(&device->function, value);
	} else if (value & NOTIFY_SET_VECTOR) {
		pthread_mutex_lock(&device->lock);
		device->vectors[i] = NOTIFY_VECTOR(value);
		set_vectors(device);
		pthread_mutex_unlock(&device->lock);
	} else {
		pci_irqfd_signal(&device->irqfds[i]);
	}
}

static void run_dma(struct pci_exercise *device, uint32_t command)
{
	uint64_t gpa = (uint64_t)device->dma_high << 32 | device->dma_low;
	int result = -EINVAL;

	if (device->dma_size <= MEMORY_BYTES && command == DMA_FROM)
		result = pci_dma_read(&device->function, gpa, device->memory, device->dma_size);
	else if (device->dma_size <= MEMORY_BYTES && command == DMA_TO)
		result = pci_dma_write(&device->function, gpa, device->memory, device->dma_size);
	device->dma_result = -result;
}

static uint32_t read_register(struct pci_exercise *device, unsigned offset)
{
	uint32_t value = 0;

	pthread_mutex_lock(&device->lock);
	switch (offset & ~3u) {
	case REG_ID: value = ID; break;
	case REG_SCRATCH: value = device->scratch; break;
	case REG_INTX: value = device->intx_level ? INTX_LEVEL : 0; break;
	case REG_DMA_LOW: value = device->dma_low; break;
	case REG_DMA_HIGH: value = device->dma_high; break;
	case REG_DMA_SIZE: value = device->dma_size; break;
	case REG_DMA: value = device->dma_result; break;
	default: break;
	}
	pthread_mutex_unlock(&device->lock);
	return value >> (8 * (offset & 3));
}

/* Registers are written whole. */
static void write_register(struct pci_exercise *device, unsigned offset, unsigned size,
			   uint32_t value)
{
	if (size != 4 || (offset & 3))
		return;
	if (offset == REG_NOTIFY) {
		notify(device, value);
		return;
	}
	pthread_mutex_lock(&device->lock);
	switch (offset) {
	case REG_SCRATCH: device->scratch = value; break;
	case REG_INTX:
		device->intx_level = value & INTX_LEVEL;
		pci_set_intx(&device->function, device->intx_level);
		break;
	case REG_DMA_LOW: device->dma_low = value; break;
	case REG_DMA_HIGH: device->dma_high = value; break;
	case REG_DMA_SIZE: device->dma_size = value; break;
	case REG_DMA: run_dma(device, value); break;
	default: break;
	}
	pthread_mutex_unlock(&device->lock);
}

static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	(void)size;
	return read_register(device, offset);
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	write_register(device, offset, size, value);
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return offset < REGISTERS ? read_register(device, offset) : 0;
}

static void register_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset < REGISTERS)
		write_register(device, offset, size, value);
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_exercise *device = opaque;

	return locked_bytes_read(&device->lock, device->memory + offset, size);
}

static void memory_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_exercise *device = opaque;

	locked_bytes_write(&device->lock, device->memory + offset, size, value);
}

static const struct pio_ops port_ops = {port_read, port_write, 4};
static const struct mmio_ops register_ops = {register_read, register_write};
static const struct mmio_ops memory_ops = {memory_read, memory_write};

static void pci_exercise_reset(void *opaque)
{
	struct pci_exercise *device = opaque;
	unsigned i;

	pthread_mutex_lock(&device->lock);
	device->scratch = 0;
	device->dma_low = device->dma_high = device->dma_size = device->dma_result = 0;
	device->intx_level = false;
	for (i = 0; i < MSIX_VECTORS; i++)
		device->vectors[i] = i;
	set_vectors(device);
	memset(device->memory, 0, sizeof(device->memory));
	pthread_mutex_unlock(&device->lock);
}

static void transfer(struct state_stream *state, struct pci_exercise *device)
{
	unsigned i;

	state_u32(state, "scratch", &device->scratch);
	state_u32(state, "dma_low", &device->dma_low);
	state_u32(state, "dma_high", &device->dma_high);
	state_u32(state, "dma_size", &device->dma_size);
	state_u32(state, "dma_result", &device->dma_result);
	state_bool(state, "intx_level", &device->intx_level);
	for (i = 0; i < MSIX_VECTORS; i++)
		state_u16(state, "vectors", &device->vectors[i]);
	state_bytes(state, "memory", device->memory, sizeof(device->memory));
}

static void pci_exercise_save(void *opaque, struct state_stream *state)
{
	struct pci_exercise *device = opaque;

	pci_function_save(&device->function, state);
	pthread_mutex_lock(&device->lock);
	transfer(state, device);
	pthread_mutex_unlock(&device->lock);
}

static void pci_exercise_load(void *opaque, struct state_stream *state)
{
	struct pci_exercise *device = opaque, *loaded = calloc(1, sizeof(*loaded));
	struct pci_function_state saved;

	pci_function_transfer(&device->function, &saved, state);
	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		goto out;
	}
	transfer(state, loaded);
	state_check(state, "intx_level", loaded->intx_level == saved.intx_level);
	if (!state_complete(state))
		goto out;
	pci_function_restore(&device->function, &saved);
	pthread_mutex_lock(&device->lock);
	device->scratch = loaded->scratch;
	device->dma_low = loaded->dma_low;
	device->dma_high = loaded->dma_high;
	device->dma_size = loaded->dma_size;
	device->dma_result = loaded->dma_result;
	device->intx_level = loaded->intx_level;
	memcpy(device->vectors, loaded->vectors, sizeof(device->vectors));
	set_vectors(device);
	memcpy(device->memory, loaded->memory, sizeof(device->memory));
	pthread_mutex_unlock(&device->lock);
out:
	pci_function_state_free(&saved);
	free(loaded);
}

static void pci_exercise_destroy(void *opaque)
{
	struct pci_exercise *device = opaque;
	unsigned i;

	for (i = 0; i < MSIX_VECTORS; i++)
		pci_irqfd_destroy(&device->irqfds[i]);
	pci_function_destroy(&device->function);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

const struct device_ops pci_exercise_device_ops = {
	.version = 2,
	.reset = pci_exercise_reset,
	.save = pci_exercise_save,
	.load = pci_exercise_load,
	.destroy = pci_exercise_destroy,
};

struct pci_exercise *pci_exercise_create(struct pci_bus *bus, unsigned slot_function,
					 struct error *error)
{
	struct pci_exercise *device = calloc(1, sizeof(*device));
	struct pci_function *function;
	unsigned i;
	uint8_t at;

	if (!device) {
		error_set_errno(error, ENOMEM, "cannot create a PCI device");
		return NULL;
	}
	function = &device->function;
	pthread_mutex_init(&device->lock, NULL);
	pci_function_init(function, VENDOR, DEVICE_ID, CLASS, 1);
	pci_function_set_pin(function, 1);
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_IO, .size_bytes = REGISTERS,
					     .name = "pci-exercise ports", .pio = &port_ops,
					     .device = device};
	function->bars[1] = (struct pci_bar){.kind = PCI_BAR_MEMORY32, .size_bytes = REGISTER_BYTES,
					     .name = "pci-exercise registers",
					     .mmio = &register_ops, .device = device};
	function->bars[2] = (struct pci_bar){.kind = PCI_BAR_MEMORY64, .is_prefetchable = true,
					     .size_bytes = MEMORY_BYTES,
					     .name = "pci-exercise memory", .mmio = &memory_ops,
					     .device = device};
	at = pci_add_capability(function, PCI_CAPABILITY_VENDOR, VENDOR_BYTES);
	function->config[at + 2] = VENDOR_BYTES;
	memcpy(function->config + at + 4, "test", 4);
	pci_add_msi(function, MSI_VECTORS);
	if (pci_add_msix(function, MSIX_VECTORS, 1, TABLE_OFFSET, PBA_OFFSET, error) < 0) {
		pci_exercise_destroy(device);
		return NULL;
	}
	pci_bus_add(bus, slot_function, function);
	for (i = 0; i < MSIX_VECTORS; i++) {
		if (pci_irqfd_init(&device->irqfds[i], function, error) < 0) {
			pci_exercise_destroy(device);
			return NULL;
		}
		device->vectors[i] = i;
	}
	set_vectors(device);
	return device;
}
