/* The 64 words that an 82540EM reads its address and identification from, by EERD or bit by bit (manual §5.3, §5.6). */
#ifndef KVIK_DEVICE_E1000_EEPROM_H
#define KVIK_DEVICE_E1000_EEPROM_H

#include <stdbool.h>
#include <stdint.h>

#define E1000_MAC_BYTES	   6
#define E1000_EEPROM_WORDS 64

struct e1000_eeprom {
	uint16_t words[E1000_EEPROM_WORDS];
	/* The four wires, as EECD shows them, and where the command is. */
	uint8_t wires;
	uint8_t taken; /* bits since it was selected, up to a whole command's */
	uint16_t command;
	uint8_t given; /* bits of the word that have come out; 0: a zero comes first */
};

/* Fill it in for this address, with its checksum; and the four wires that software moves by EECD. */
void e1000_eeprom_init(struct e1000_eeprom *eeprom, const uint8_t mac[E1000_MAC_BYTES], uint16_t device_id,
		       uint16_t subsystem);
uint32_t e1000_eeprom_read_eecd(const struct e1000_eeprom *eeprom);
void e1000_eeprom_write_eecd(struct e1000_eeprom *eeprom, uint32_t value);
/* What EERD shows when this was written to it; `is_wide`: with addresses of 14 bits, as the controllers on PCI Express have it
 * (82574 datasheet §10.2.2.5). */
uint32_t e1000_eeprom_eerd(const struct e1000_eeprom *eeprom, uint32_t value, bool is_wide);

#endif
