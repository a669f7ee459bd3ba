/*
 * A board: which devices a machine has, at which ports, on which interrupt lines.
 *
 * `pc` looks like the PC that software of any age expects (PCI host bridge, keyboard controller,
 * ACPI with an SCI); `microvm` has only what a kernel of today needs to run on a serial line, and a PCI
 * bus when a device wants one: configured by memory alone, with the I/O APIC's pins from 16 on.
 */
#ifndef KVIK_MACHINE_BOARD_H
#define KVIK_MACHINE_BOARD_H

#include <stdint.h>

#include "block/block.h"
#include "device/bus/mmio.h"
#include "device/bus/pio.h"
#include "device/bus/pci.h"
#include "device/char/char.h"
#include "device/device.h"
#include "device/irq_line.h"
#include "device/power.h"
#include "kvm/kvm.h"
#include "machine/device_options.h"
#include "machine/ram.h"

enum board_kind { BOARD_PC, BOARD_MICROVM };

struct board_streams {
	struct char_stream *serial; /* the first serial port */
	struct char_stream *debug_console; /* ports 0xe9 and 0x402; NULL: no such ports */
	struct char_stream *print; /* the print port */
};

#define BOARD_DISKS_MAX 16

/* A disk for the board. */
struct board_disk {
	struct block *block; /* open; NULL: there is none any more */
	unsigned queues;     /* 0: as many as there are CPUs, up to what the device can have */
	bool is_packed;
};

struct board_config {
	enum board_kind kind;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct event_loop *loop;
	const struct ram *ram;
	unsigned cpus;
	unsigned physical_bits; /* of the CPUs' addresses; 0: nothing is put above 4 GiB */
	struct irq_line irq; /* `gsi` is filled in for each device */
	struct msi_target msi;
	struct power power;
	struct board_streams streams;
	int print_port;
	int debug_exit_port; /* -1: none; nor when the options have one */
	const struct kvm_vm *vm; /* for devices that have the backend take accesses; NULL: none do */
	struct device_option options[DEVICE_OPTIONS_MAX];
	unsigned option_count;
	struct board_disk *disks; /* those that are put on the board are its own, and NULL here */
	unsigned disk_count;
};

struct board;

struct board *board_create(const struct board_config *config, struct error *error);
void board_destroy(struct board *board);
/* All devices to their power-on state, and PCI as firmware leaves it; the vCPUs are parked. */
void board_reset(struct board *board);
/* A new board's devices are held: until they are released they do nothing by themselves. They are
 * saved and loaded while they are held, and the vCPUs parked. */
void board_hold(struct board *board);
void board_release(struct board *board);

/*
 * All devices' state, a section each in the board's order; the vCPUs are parked. A board of another
 * shape is refused by the first device that differs. Where loading fails, the board is in its
 * power-on state: nothing of the stream is in it.
 */
void board_save(const struct board *board, struct state_stream *state);
void board_load(struct board *board, struct state_stream *state);

/*
 * Write what firmware leaves for the guest: ACPI and SMBIOS tables. `rsdp_gpa` is where the ACPI
 * tables begin.
 */
int board_write_tables(const struct board *board, uint64_t *rsdp_gpa, struct error *error);

#endif
