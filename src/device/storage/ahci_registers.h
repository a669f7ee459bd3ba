/* AHCI's registers and structures in memory, by name (AHCI 1.3.1 §3, §4; Serial ATA 3 §10.5). */
#ifndef KVIK_DEVICE_STORAGE_AHCI_REGISTERS_H
#define KVIK_DEVICE_STORAGE_AHCI_REGISTERS_H

#define HBA_CAP	 0x00
#define HBA_GHC	 0x04
#define HBA_IS	 0x08
#define HBA_PI	 0x0c
#define HBA_VS	 0x10
#define HBA_PORT 0x100
#define PORT_REGISTERS 0x80

#define CAP_SLOTS(n)  ((uint32_t)((n) - 1) << 8)
#define CAP_AHCI_ONLY (1u << 18)
#define CAP_GEN_1     (1u << 20)
#define CAP_OVERRIDE  (1u << 24)
#define CAP_QUEUES    (1u << 30)
#define CAP_64	      (1u << 31)

#define GHC_RESET	0x00000001u
#define GHC_INTERRUPTS	0x00000002u
#define GHC_ENABLED	0x80000000u

#define PORT_CLB  0x00
#define PORT_CLBU 0x04
#define PORT_FB	  0x08
#define PORT_FBU  0x0c
#define PORT_IS	  0x10
#define PORT_IE	  0x14
#define PORT_CMD  0x18
#define PORT_TFD  0x20
#define PORT_SIG  0x24
#define PORT_SSTS 0x28
#define PORT_SCTL 0x2c
#define PORT_SERR 0x30
#define PORT_SACT 0x34
#define PORT_CI	  0x38

#define CMD_START	 0x00000001u
#define CMD_SPIN_UP	 0x00000002u
#define CMD_POWER	 0x00000004u
#define CMD_OVERRIDE	 0x00000008u
#define CMD_FIS_RECEIVE	 0x00000010u
#define CMD_FIS_RUNNING	 0x00004000u
#define CMD_RUNNING	 0x00008000u
#define CMD_ATAPI	 0x01000000u
#define CMD_KEPT	 (CMD_START | CMD_SPIN_UP | CMD_POWER | CMD_FIS_RECEIVE | CMD_ATAPI)

#define IS_REGISTERS   (1u << 0)
#define IS_PIO_SETUP   (1u << 1)
#define IS_DEVICE_BITS (1u << 3)
#define IS_BUS_FATAL   (1u << 29)
#define IS_TASK_FILE   (1u << 30)
#define IS_READABLE    0xfdc000ffu
#define IS_ALL	       0x7dc000afu /* those that a write clears */

#define SSTS_PRESENT 0x113u /* a device, communication, generation 1, active */
#define SCTL_DETECT  0x00fu
#define SERR_EXCHANGED (1u << 26)

#define SIGNATURE_DISK	0x00000101u
#define SIGNATURE_CDROM 0xeb140101u

#define SLOTS 32

/* A command's header. */
#define HEADER_BYTES 32
#define HEADER_FIS_DWORDS 0x1fu
#define TABLE_PACKET 0x40
#define TABLE_LIST   0x80
#define LIST_ENTRY   16
#define LIST_COUNT   0x3fffffu

/* Frames. */
#define FIS_REGISTERS	0x27 /* to the device */
#define FIS_COMMAND	0x80 /* in its byte 1: not the control register */
#define FIS_FROM_DEVICE 0x34
#define FIS_PIO_SETUP	0x5f
#define FIS_DEVICE_BITS 0xa1
#define FIS_INTERRUPTS	0x40
#define FIS_TO_HOST	0x20
#define RECEIVED_PIO	0x20 /* where they go */
#define RECEIVED_REGISTERS 0x40
#define RECEIVED_BITS	0x58
#define CONTROL_RESET	0x04

#endif
