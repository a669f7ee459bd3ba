/* What the files of an 82574L share, beyond what it has of the family. Sections are of the 82574 datasheet (317694). */
#ifndef KVIK_DEVICE_E1000E_PARTS_H
#define KVIK_DEVICE_E1000E_PARTS_H

#include "device/e1000_parts.h"

/* Registers (§10.1.1). */
#define CTRL_AGAIN 0x0004
#define EIAC	   0x00dc
#define IAM	   0x00e0
#define IVAR	   0x00e4
#define EITR	   0x00e8
#define EXTCNF_CTRL 0x0f00
#define EEWR	   0x102c
#define PSRCTL	   0x2170
#define RFCTL	   0x5008
#define SWSM	   0x5b50

#define CTRL_EXT_EIAME 0x01000000
#define CTRL_EXT_IAME  0x08000000
#define RFCTL_EXTEN    0x00008000
#define RXCSUM_IPOFL   0x00000100
#define RXCSUM_TUOFL   0x00000200

#define E1000E_VECTORS 5

/* ICR (§10.2.4.1): what the queues and everything else add to the causes, for MSI-X. */
#define ICR_RXSEQ    0x8
#define ICR_RXO	     0x40
#define ICR_TXD_LOW  0x8000
#define ICR_SRPD     0x10000
#define ICR_ACK	     0x20000
#define ICR_MNG	     0x40000
#define ICR_RXQ0     0x100000
#define ICR_TXQ0     0x400000
#define ICR_OTHER    0x1000000
#define ICR_ASSERTED 0x80000000

/* All with the lock held. */
uint32_t e1000e_read_icr(struct e1000 *e1000);
void e1000e_write_icr(struct e1000 *e1000, uint32_t value);
/* ICS, IMS, IMC. */
void e1000e_set_causes(struct e1000 *e1000, uint32_t value);
void e1000e_set_mask(struct e1000 *e1000, uint32_t value);
void e1000e_clear_mask(struct e1000 *e1000, uint32_t value);
void e1000e_raise(struct e1000 *e1000, uint32_t causes, unsigned queue);
void e1000e_update_interrupt(struct e1000 *e1000);

bool e1000e_deliver(struct e1000 *e1000);

#endif
