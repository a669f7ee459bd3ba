/*
 * What Intel's gigabit cards share: e1000_card.c has windows and life, e1000_rings.c sends and receives. e1000.c is the
 * 82540EM, whose manual's sections stand here; e1000e.c, e1000e_interrupt.c and e1000e_receive.c are the 82574L.
 */
#ifndef KVIK_DEVICE_E1000_PARTS_H
#define KVIK_DEVICE_E1000_PARTS_H

#include <pthread.h>

#include "device/bus/pci.h"
#include "device/bus/pci_rom.h"
#include "device/e1000_eeprom.h"
#include "device/e1000_transmit.h"
#include "net/link.h"
#include "util/event_signal.h"
#include "util/loop_thread.h"

/* Registers (§13). */
#define CTRL	 0x0000
#define STATUS	 0x0008
#define EECD	 0x0010
#define EERD	 0x0014
#define CTRL_EXT 0x0018
#define MDIC	 0x0020
#define VET	 0x0038
#define ICR	 0x00c0
#define ITR	 0x00c4
#define ICS	 0x00c8
#define IMS	 0x00d0
#define IMC	 0x00d8
#define RCTL	 0x0100
#define TCTL	 0x0400
#define RDBAL	 0x2800
#define RDBAH	 0x2804
#define RDLEN	 0x2808
#define RDH	 0x2810
#define RDT	 0x2818
#define TDBAL	 0x3800
#define TDBAH	 0x3804
#define TDLEN	 0x3808
#define TDH	 0x3810
#define TDT	 0x3818
#define STATS	 0x4000
#define STATS_END 0x4100
#define GPRC	 0x4074
#define BPRC	 0x4078
#define MPRC	 0x407c
#define GPTC	 0x4080
#define GORCL	 0x4088 /* and the higher half behind it */
#define GOTCL	 0x4090
#define TORL	 0x40c0
#define TOTL	 0x40c8
#define TPR	 0x40d0
#define TPT	 0x40d4
#define RXCSUM	 0x5000
#define MTA	 0x5200
#define RAL	 0x5400
#define VFTA	 0x5600
#define REGISTERS_MAX 0xb700
#define QUEUES_MAX    2
#define QUEUE_BYTES   0x100 /* from one queue's registers to the next one's */

#define E1000_WINDOW_BYTES (128 << 10)

#define CTRL_FD	       0x1
#define CTRL_RST       0x04000000
#define CTRL_VME       0x40000000
#define CTRL_PHY_RST   0x80000000
#define STATUS_UP      0x283 /* full duplex, link up, 1000 Mbit/s */
#define STATUS_LU      0x2
#define RCTL_EN	       0x2
#define RCTL_UPE       0x8
#define RCTL_MPE       0x10
#define RCTL_LPE       0x20
#define RCTL_BAM       0x8000
#define RCTL_VFE       0x40000
#define RCTL_BSEX      0x02000000
#define RCTL_SECRC     0x04000000
#define TCTL_EN	       0x2
#define RAH_VALID      0x80000000
#define ADDRESSES      16

/* Causes of interrupts (§13.4.17). */
#define ICR_TXDW   0x1
#define ICR_TXQE   0x2
#define ICR_LSC	   0x4
#define ICR_RXDMT0 0x10
#define ICR_RXT0   0x80
#define ICR_MDAC   0x200
#define ICR_ALL	   0x1ffff

#define PHY_REGISTERS 32
#define CRC_BYTES	 4
#define FRAME_MIN	 60
#define VLAN_BYTES	 4
#define PACKETS_AT_ONCE 64
#define HEADER_BYTES	12 /* of links with headers */

struct e1000;

/* Registers that software reads back as it wrote them, `count` of them, and with which bits. */
struct e1000_plain {
	uint16_t first, count;
	uint32_t mask;
};

/* What a card's registers are and do. Functions are called with the lock held. */
struct e1000_model {
	const char *name;
	unsigned registers_end; /* beyond, nothing is there; up to REGISTERS_MAX */
	unsigned queues;	/* that send, up to QUEUES_MAX */
	const struct e1000_plain *plain; /* up to one without a count */
	uint16_t phy[PHY_REGISTERS];	 /* at reset */
	bool has_phy_pages;
	bool has_messages;
	void (*reset)(struct e1000 *e1000); /* what isn't zero, beyond what is the same for all */
	uint32_t (*read)(struct e1000 *e1000, unsigned offset);
	void (*write)(struct e1000 *e1000, unsigned offset, uint32_t value);
	/* A queue has sent or received, or another cause has come: bits of ICR as the 82540EM has them. */
	void (*raise)(struct e1000 *e1000, uint32_t causes, unsigned queue);
	void (*update_interrupt)(struct e1000 *e1000);
	/* Hand the pending frame over. False: it waits for descriptors. */
	bool (*deliver)(struct e1000 *e1000);
};

struct e1000 {
	const struct e1000_model *model;
	struct pci_function function;
	struct net_link link; /* owned */
	struct loop_thread thread;
	struct event_source source; /* the link, enabled while there may be descriptors */
	struct event_signal kick;   /* packets to be sent, or room */
	uint8_t mac[E1000_MAC_BYTES];
	pthread_mutex_t lock; /* guards what follows */
	bool is_held;
	bool is_down; /* the cable is out */
	uint32_t registers[REGISTERS_MAX / 4];
	uint16_t phy[PHY_REGISTERS];
	struct e1000_eeprom eeprom;
	uint32_t port_address; /* IOADDR */
	struct e1000_tx_descriptor contexts[QUEUES_MAX]; /* the queues' */
	uint32_t told; /* causes that a message has gone for */
	/* Headers of links come before frames. */
	uint8_t received[HEADER_BYTES + NET_FRAME_MAX + FRAME_MIN + CRC_BYTES];
	size_t pending; /* bytes of a frame that waits; 0: none does */
	uint8_t sent[HEADER_BYTES + E1000_TX_MAX + VLAN_BYTES];
};

/* A register, by its offset. */
static inline uint32_t *e1000_at(struct e1000 *e1000, unsigned offset)
{
	return &e1000->registers[offset / 4];
}

/* What e1000_card.c and e1000_rings.c have for the models. With the lock held, but for the operations of devices. */
extern const struct mmio_ops e1000_window_ops; /* E1000_WINDOW_BYTES */
extern const struct pio_ops e1000_port_ops;
void e1000_destroy(void *device);

/* Make one, whose function is to be described next, and complete it. As e1000_create. */
struct e1000 *e1000_begin(const struct e1000_model *model, const struct net_link *link, const uint8_t mac[E1000_MAC_BYTES],
			  struct event_loop *loop, struct error *error);
struct e1000 *e1000_complete(struct e1000 *e1000, struct pci_bus *bus, unsigned slot_function,
			     const struct pci_rom *rom, struct event_loop *loop, struct error *error);

void e1000_reset_registers(struct e1000 *e1000);
void e1000_phy_reset(struct e1000 *e1000);
void e1000_write_plain(struct e1000 *e1000, unsigned offset, uint32_t value);
void e1000_write_mdic(struct e1000 *e1000, uint32_t value);

/* Have the device's thread look at the rings. */
void e1000_kick(struct e1000 *e1000);
/* Send what is there. Whether there may be more. */
bool e1000_transmit(struct e1000 *e1000);
bool e1000_is_receiving(struct e1000 *e1000);
/* Read a frame from the link, into `received` behind a link's header. False: there is none. */
bool e1000_read_frame(struct e1000 *e1000);
/* Take what comes. Whether the link is to be looked at again: else a frame waits for descriptors. */
bool e1000_receive(struct e1000 *e1000);

/* A ring by its first register (RDBAL, TDBAL): entries of 16 bytes from the head to the tail, 0 of a ring that is none; and
 * of one that has some, the address of one behind the head, and moving the head. */
uint32_t e1000_ring_filled(struct e1000 *e1000, unsigned base);
uint64_t e1000_ring_entry(struct e1000 *e1000, unsigned base, uint32_t number);
void e1000_ring_advance(struct e1000 *e1000, unsigned base, uint32_t by);

/* Receive descriptors (§3.2.3). */
#define RXD_DONE 0x01
#define RXD_EOP	 0x02
#define RXD_IXSM 0x04
#define RXD_VP	 0x08

/* A frame on its way to the driver: without its tag if the driver wants that, and with its CRC. */
struct e1000_frame {
	uint8_t *bytes;
	size_t size;
	uint8_t status; /* RXD_VP */
	uint16_t tag;
};

/* The pending frame, which is counted; and how many bytes it has at most. */
struct e1000_frame e1000_take_frame(struct e1000 *e1000);
size_t e1000_frame_room(const struct e1000 *e1000);
/* By legacy descriptors. */
bool e1000_deliver(struct e1000 *e1000);
uint32_t e1000_buffer_bytes(struct e1000 *e1000);

#endif
