/* What the files of the AHCI controller share: its state, and what ports and commands do. The controller's lock
 * is held around all of it. */
#ifndef KVIK_DEVICE_STORAGE_AHCI_PARTS_H
#define KVIK_DEVICE_STORAGE_AHCI_PARTS_H

#include <pthread.h>

#include "device/storage/ahci.h"
#include "device/storage/ahci_registers.h"
#include "device/storage/ata.h"

#define AHCI_NO_SIGNATURE 0xffffffffu

struct ahci_port {
	struct ahci *ahci;
	unsigned index;
	struct ata_drive drive;
	uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
	bool is_resetting; /* by a control frame */
	uint8_t failed_tag, failed_status, failed_error; /* of a queued command */
	unsigned under_way; /* commands */
	uint32_t begun;	    /* their slots, of this epoch's */
	bool has_unqueued;  /* one of them, alone */
	bool is_issuing;
	unsigned epoch;	    /* counted when they are not to tell anybody any more */
};

struct ahci {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	unsigned under_way;
	struct block_held held; /* of these: those that have failed, and wait for better times */
	bool is_held;
	uint32_t ghc, is;
	struct ahci_port ports[AHCI_PORTS];
	struct pci_function function;
};

/* -- ahci_port.c -- */

void ahci_update_irq(struct ahci *ahci); /* the line, after a change of what drives it */
void ahci_raise(struct ahci_port *port, uint32_t bits); /* bits of PxIS; 0 when PxIE has changed */

/* Frames that tell of the drive's registers, which PxTFD shows then. */
void ahci_send_registers(struct ahci_port *port, bool interrupts);
void ahci_send_pio_setup(struct ahci_port *port, uint32_t size);
void ahci_send_device_bits(struct ahci_port *port, uint32_t bits); /* the end of queued commands */

bool ahci_port_is_present(const struct ahci_port *port);
void ahci_port_greet(struct ahci_port *port); /* what a device sends when it is there */
void ahci_port_reset_drive(struct ahci_port *port, bool is_hard);
void ahci_port_drop_commands(struct ahci_port *port); /* those under way tell nobody of their end */
void ahci_port_reset_link(struct ahci_port *port); /* COMRESET (AHCI 10.4.2) */
void ahci_reset_controller(struct ahci *ahci); /* no command is under way */

/* -- ahci_command.c -- */

/* Begin what may begin: after each change of what it waits for. */
void ahci_issue(struct ahci_port *port);

#endif
