/* The configuration space's registers, by name (PCI Local Bus 3.0 §6.1, §6.7, §6.8). */
#ifndef KVIK_DEVICE_BUS_PCI_REGISTERS_H
#define KVIK_DEVICE_BUS_PCI_REGISTERS_H

#define PCI_VENDOR	     0x00
#define PCI_DEVICE	     0x02
#define PCI_COMMAND	     0x04
#define PCI_STATUS	     0x06
#define PCI_REVISION	     0x08
#define PCI_CLASS	     0x09 /* 24 bits */
#define PCI_HEADER_TYPE	     0x0e
#define PCI_BAR(n)	     (0x10 + 4 * (n))
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM	     0x2e
#define PCI_ROM		     0x30 /* of a function that is no bridge */
#define PCI_CAPABILITIES     0x34
/* Of a bridge (PCI-to-PCI Bridge 1.2 §3.2). */
#define PCI_BRIDGE_PRIMARY	  0x18
#define PCI_BRIDGE_SECONDARY	  0x19
#define PCI_BRIDGE_SUBORDINATE	  0x1a
#define PCI_BRIDGE_IO_BASE	  0x1c
#define PCI_BRIDGE_IO_LIMIT	  0x1d
#define PCI_BRIDGE_MEMORY_BASE	  0x20
#define PCI_BRIDGE_MEMORY_LIMIT	  0x22
#define PCI_BRIDGE_PREFETCH_BASE  0x24
#define PCI_BRIDGE_PREFETCH_LIMIT 0x26
#define PCI_BRIDGE_PREFETCH_BASE_HIGH  0x28
#define PCI_BRIDGE_PREFETCH_LIMIT_HIGH 0x2c
#define PCI_BRIDGE_WINDOWS_END	  0x30
#define PCI_BRIDGE_CONTROL	  0x3e
#define PCI_INTERRUPT_LINE   0x3c
#define PCI_INTERRUPT_PIN    0x3d

#define PCI_COMMAND_IO		 0x0001
#define PCI_COMMAND_MEMORY	 0x0002
#define PCI_COMMAND_MASTER	 0x0004
#define PCI_COMMAND_PARITY	 0x0040
#define PCI_COMMAND_SERR	 0x0100
#define PCI_COMMAND_INTX_DISABLE 0x0400

#define PCI_STATUS_INTX		 0x0008
#define PCI_STATUS_CAPABILITIES	 0x0010
#define PCI_STATUS_DEVSEL_MEDIUM 0x0200

#define PCI_HEADER_MULTI_FUNCTION 0x80
#define PCI_HEADER_TYPE_MASK	  0x7f
#define PCI_HEADER_BRIDGE	  0x01
#define PCI_BRIDGE_BARS		  2

#define PCI_BAR_SPACE_IO	0x1
#define PCI_BAR_MEMORY_64	0x4
#define PCI_BAR_PREFETCHABLE	0x8
#define PCI_BAR_IO_FLAGS	0x3
#define PCI_BAR_MEMORY_FLAGS	0xf
#define PCI_ROM_ENABLE		0x1
#define PCI_ROM_FLAGS		0x7ff

#define PCI_CAPABILITY_MSI	0x05
#define PCI_CAPABILITY_VENDOR	0x09
#define PCI_CAPABILITY_EXPRESS	0x10
#define PCI_CAPABILITY_MSIX	0x11

/* MSI, with 64-bit addresses and a mask for each vector (§6.8.1). Offsets in the capability. */
#define PCI_MSI_CONTROL	   2
#define PCI_MSI_ADDRESS	   4
#define PCI_MSI_DATA	   12
#define PCI_MSI_MASK	   16
#define PCI_MSI_PENDING	   20
#define PCI_MSI_BYTES	   24
#define PCI_MSI_ENABLE	   0x0001
#define PCI_MSI_CAPABLE_SHIFT 1
#define PCI_MSI_ENABLED_SHIFT 4
#define PCI_MSI_ENABLED_MASK  0x0070
#define PCI_MSI_64	   0x0080
#define PCI_MSI_MASKS	   0x0100

/* MSI-X (§6.8.2). */
#define PCI_MSIX_CONTROL       2
#define PCI_MSIX_TABLE	       4
#define PCI_MSIX_PBA	       8
#define PCI_MSIX_BYTES	       12
#define PCI_MSIX_ENABLE	       0x8000
#define PCI_MSIX_FUNCTION_MASK 0x4000
#define PCI_MSIX_ENTRY_BYTES   16
#define PCI_MSIX_ENTRY_DATA    8
#define PCI_MSIX_ENTRY_CONTROL 12
#define PCI_MSIX_MASKED	       0x1

#endif
