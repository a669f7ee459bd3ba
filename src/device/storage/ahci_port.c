/*
 * Ports of the AHCI controller: what they tell software, by frames in memory and interrupts, and what resets
 * do to them.
 */
#include "device/storage/ahci_parts.h"

#include <string.h>

/* --- interrupts --- */

void ahci_update_irq(struct ahci *ahci)
{
	pci_set_intx(&ahci->function, (ahci->ghc & GHC_INTERRUPTS) && ahci->is);
}

void ahci_raise(struct ahci_port *port, uint32_t bits)
{
	struct ahci *ahci = port->ahci;

	port->is |= bits;
	if (!(port->is & port->ie))
		return;
	ahci->is |= 1u << port->index;
	if ((ahci->ghc & GHC_INTERRUPTS) && pci_has_messages(&ahci->function))
		pci_notify(&ahci->function, 0);
	ahci_update_irq(ahci);
}

/* --- frames for software --- */

static void receive(struct ahci_port *port, unsigned offset, const uint8_t *frame, size_t size)
{
	if (port->cmd & CMD_FIS_RECEIVE)
		pci_dma_write(&port->ahci->function, ((uint64_t)port->fbu << 32 | port->fb) + offset, frame,
			      size);
}

static void fill_frame(uint8_t frame[20], const struct ata_registers *registers)
{
	memset(frame, 0, 20);
	frame[2] = registers->status;
	frame[3] = registers->error;
	frame[4] = registers->low;
	frame[5] = registers->mid;
	frame[6] = registers->high;
	frame[7] = registers->device;
	frame[8] = registers->low_2;
	frame[9] = registers->mid_2;
	frame[10] = registers->high_2;
	frame[12] = registers->count;
	frame[13] = registers->count_2;
}

static void set_task_file(struct ahci_port *port)
{
	port->tfd = port->drive.registers.status | port->drive.registers.error << 8;
}

void ahci_send_registers(struct ahci_port *port, bool interrupts)
{
	uint8_t frame[20];

	fill_frame(frame, &port->drive.registers);
	frame[0] = FIS_FROM_DEVICE;
	frame[1] = interrupts ? FIS_INTERRUPTS : 0;
	receive(port, RECEIVED_REGISTERS, frame, sizeof(frame));
	set_task_file(port);
	ahci_raise(port, (interrupts ? IS_REGISTERS : 0) |
			    (port->drive.registers.status & ATA_ERR ? IS_TASK_FILE : 0));
}

void ahci_send_pio_setup(struct ahci_port *port, uint32_t size)
{
	uint8_t frame[20];

	fill_frame(frame, &port->drive.registers);
	frame[0] = FIS_PIO_SETUP;
	frame[1] = FIS_INTERRUPTS | FIS_TO_HOST;
	frame[2] = ATA_READY | ATA_SEEK | ATA_DRQ;
	frame[15] = port->drive.registers.status;
	frame[16] = size;
	frame[17] = size >> 8;
	receive(port, RECEIVED_PIO, frame, sizeof(frame));
	set_task_file(port);
	ahci_raise(port, IS_PIO_SETUP);
}

/* Its bits in PxSACT go. */
void ahci_send_device_bits(struct ahci_port *port, uint32_t bits)
{
	const struct ata_registers *registers = &port->drive.registers;
	uint8_t frame[8] = {FIS_DEVICE_BITS, FIS_INTERRUPTS, registers->status & 0x77, registers->error};

	memcpy(frame + 4, &bits, sizeof(bits));
	receive(port, RECEIVED_BITS, frame, sizeof(frame));
	set_task_file(port);
	port->sact &= ~bits;
	ahci_raise(port, IS_DEVICE_BITS | (registers->status & ATA_ERR ? IS_TASK_FILE : 0));
}

/* --- resets --- */

bool ahci_port_is_present(const struct ahci_port *port)
{
	return port->drive.drive.is_present;
}

void ahci_port_greet(struct ahci_port *port)
{
	if (!ahci_port_is_present(port))
		return;
	port->sig = port->drive.drive.is_cdrom ? SIGNATURE_CDROM : SIGNATURE_DISK;
	ahci_send_registers(port, false);
}

void ahci_port_reset_drive(struct ahci_port *port, bool is_hard)
{
	ata_drive_reset(&port->drive, is_hard);
	port->is_resetting = false;
	/* A packet device is not ready; of a place with nothing all bits are as COMRESET leaves them. */
	set_task_file(port);
	if (!ahci_port_is_present(port))
		port->tfd = 0x7f;
}

void ahci_port_drop_commands(struct ahci_port *port)
{
	port->epoch++;
	port->begun = 0;
	port->has_unqueued = false;
	port->ci = port->sact = 0;
}

/* Software holds PxSCTL.DET at 1 and lets it go. */
void ahci_port_reset_link(struct ahci_port *port)
{
	ahci_port_drop_commands(port);
	ahci_port_reset_drive(port, true);
	port->ssts = ahci_port_is_present(port) ? SSTS_PRESENT : 0;
	port->serr = ahci_port_is_present(port) ? SERR_EXCHANGED : 0;
	ahci_port_greet(port);
}

static void reset_port(struct ahci_port *port)
{
	ahci_port_drop_commands(port);
	port->clb = port->clbu = port->fb = port->fbu = 0;
	port->is = port->ie = port->sctl = port->serr = 0;
	port->cmd = CMD_SPIN_UP | CMD_POWER;
	port->sig = AHCI_NO_SIGNATURE;
	ahci_port_reset_drive(port, true);
	port->ssts = ahci_port_is_present(port) ? SSTS_PRESENT : 0;
}

void ahci_reset_controller(struct ahci *ahci)
{
	unsigned i;

	ahci->ghc = GHC_ENABLED;
	ahci->is = 0;
	for (i = 0; i < AHCI_PORTS; i++)
		reset_port(&ahci->ports[i]);
	ahci_update_irq(ahci);
}
