/*
 * Devices that a user adds to a board: "NAME[,PROPERTY=VALUE]...", as --device takes them. Here is
 * which there are and what may be said of them; board_options.c puts them on the board.
 */
#ifndef KVIK_MACHINE_DEVICE_OPTIONS_H
#define KVIK_MACHINE_DEVICE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

#define DEVICE_OPTIONS_MAX 32 /* on one board */
#define DEVICE_PROPERTIES  7

enum device_kind {
	DEVICE_DEBUG_EXIT,
	DEVICE_PC_TESTDEV,
	DEVICE_PCI_TESTDEV,
	DEVICE_PCI_EXERCISE,
	DEVICE_I6300ESB,
	DEVICE_PVPANIC,
	DEVICE_PVPANIC_PCI,
	DEVICE_VMCOREINFO,
	DEVICE_VIRTIO_RNG,
	DEVICE_VIRTIO_BALLOON,
};

/* Properties, by their place in `values`. */
enum { DEBUG_EXIT_IOBASE, DEBUG_EXIT_IOSIZE };
enum { PVPANIC_IOPORT };
enum { PCI_SLOT, PCI_TESTDEV_MEMBAR };
/* Beside PCI_SLOT: */
enum {
	VIRTIO_PACKED_RING = PCI_SLOT + 1,
	VIRTIO_EVENT_INDEX,
	VIRTIO_INDIRECT,
	VIRTIO_BALLOON_TARGET,
	VIRTIO_BALLOON_DEFLATE_ON_OOM,
	VIRTIO_BALLOON_REPORTING,
};
#define PCI_ANY_SLOT UINT64_MAX

struct device_option {
	enum device_kind kind;
	const char *name;
	bool is_pci, is_virtio;
	uint64_t values[DEVICE_PROPERTIES];
	unsigned place; /* of a PCI device (board_config.h), in the place of its property; 0: that counts */
	unsigned interface; /* of a virtio device on PCI: enum board_interface */
};

/* 0, or -EINVAL with what is wrong and what would be right. */
int device_option_parse(struct device_option *option, const char *text, struct error *error);

#endif
