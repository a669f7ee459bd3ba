/*
 * Programmable attribute map (82441FX data sheet, "PAM"; Intel 3 Series Express Chipset Family data sheet §5.1.16 on):
 * seven registers of a host bridge that open the RAM from 768 KiB to 1 MiB for reads and for writes, a segment
 * each half of a register. An i440FX and a Q35 have the same, at different offsets.
 */
#ifndef KVIK_DEVICE_PAM_H
#define KVIK_DEVICE_PAM_H

#include "device/bus/pci.h"

#define PAM_REGISTERS 7

/* Segments by rising address from 0xc0000: twelve of 16 KiB, then one of 64 KiB. */
#define PAM_SEGMENTS 13
#define PAM_READ     0x1 /* reads see RAM, not ROM */
#define PAM_WRITE    0x2 /* writes reach RAM */

/* The host bridge has the registers from `first` on, all closed at each reset. Before it is on its bus. */
void pam_describe(struct pci_function *host, unsigned first);
/* What they say: PAM_... of each segment. */
void pam_get(struct pci_function *host, unsigned first, uint8_t access[PAM_SEGMENTS]);
/* Open all segments for all, as firmware does; the host bridge is not told. */
void pam_open(struct pci_function *host, unsigned first);

#endif
