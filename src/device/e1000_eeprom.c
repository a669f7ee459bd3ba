/* A 93C46: 64 words by Microwire. Commands that write are taken and do nothing. */
#include "device/e1000_eeprom.h"

#define EECD_CLOCK   0x01
#define EECD_SELECT  0x02
#define EECD_IN	     0x04
#define EECD_OUT     0x08
#define EECD_REQUEST 0x40
#define EECD_GRANT   0x80
#define EECD_PRESENT 0x100
#define EECD_WIRES   (EECD_CLOCK | EECD_SELECT | EECD_IN | EECD_REQUEST)

#define EERD_START	0x01
#define EERD_DONE	0x10
#define EERD_ADDRESS_AT 8
#define EERD_WIDE_DONE	0x02
#define EERD_WIDE_ADDRESS_AT 2
#define EERD_WIDE_ADDRESS    0x3fff
#define EERD_DATA_AT	16

#define COMMAND_BITS 9 /* a one, two of the operation, six of the address */
#define READ	     0x6 /* with the one before it */
#define WORD_BITS    16
#define CHECKSUM     0xbaba /* of all words (§5.6.35) */

#define WORD_SUBSYSTEM	      0x0b
#define WORD_SUBSYSTEM_VENDOR 0x0c
#define WORD_DEVICE	      0x0d
#define WORD_VENDOR	      0x0e
#define INTEL		      0x8086

void e1000_eeprom_init(struct e1000_eeprom *eeprom, const uint8_t mac[E1000_MAC_BYTES], uint16_t device_id,
		       uint16_t subsystem)
{
	uint16_t sum = 0;
	unsigned i;

	*eeprom = (struct e1000_eeprom){.wires = 0};
	for (i = 0; i < 3; i++)
		eeprom->words[i] = mac[2 * i] | mac[2 * i + 1] << 8;
	eeprom->words[WORD_SUBSYSTEM] = subsystem;
	eeprom->words[WORD_SUBSYSTEM_VENDOR] = INTEL;
	eeprom->words[WORD_DEVICE] = device_id;
	eeprom->words[WORD_VENDOR] = INTEL;
	for (i = 0; i < E1000_EEPROM_WORDS - 1; i++)
		sum += eeprom->words[i];
	eeprom->words[E1000_EEPROM_WORDS - 1] = CHECKSUM - sum;
}

static bool is_reading(const struct e1000_eeprom *eeprom)
{
	return eeprom->taken == COMMAND_BITS && eeprom->command >> 6 == READ;
}

/* The bit on the output: of a word its highest first; an idle one is high. */
static bool output(const struct e1000_eeprom *eeprom)
{
	if (!is_reading(eeprom))
		return true;
	if (!eeprom->given || eeprom->given > WORD_BITS)
		return false;
	return eeprom->words[eeprom->command % E1000_EEPROM_WORDS] >> (WORD_BITS - eeprom->given) & 1;
}

uint32_t e1000_eeprom_read_eecd(const struct e1000_eeprom *eeprom)
{
	return EECD_PRESENT | eeprom->wires | (eeprom->wires & EECD_REQUEST ? EECD_GRANT : 0) |
	       (output(eeprom) ? EECD_OUT : 0);
}

void e1000_eeprom_write_eecd(struct e1000_eeprom *eeprom, uint32_t value)
{
	uint8_t before = eeprom->wires;

	eeprom->wires = value & EECD_WIRES;
	if (!(eeprom->wires & EECD_SELECT) || !(before & EECD_SELECT)) {
		eeprom->taken = eeprom->given = 0;
		eeprom->command = 0;
	}
	if (!(eeprom->wires & EECD_SELECT) || (before & EECD_CLOCK) || !(eeprom->wires & EECD_CLOCK))
		return;
	/* The clock rises: a bit goes in, or comes out. */
	if (eeprom->taken < COMMAND_BITS) {
		/* Zeroes before the first one are none. */
		if (!eeprom->taken && !(value & EECD_IN))
			return;
		eeprom->command = eeprom->command << 1 | (value & EECD_IN ? 1 : 0);
		eeprom->taken++;
	} else if (eeprom->given < WORD_BITS) {
		eeprom->given++;
	} else {
		/* It goes on with the next word. */
		eeprom->command = (eeprom->command & ~(E1000_EEPROM_WORDS - 1)) |
				  ((eeprom->command + 1) & (E1000_EEPROM_WORDS - 1));
		eeprom->given = 1;
	}
}

uint32_t e1000_eeprom_eerd(const struct e1000_eeprom *eeprom, uint32_t value, bool is_wide)
{
	unsigned at = is_wide ? EERD_WIDE_ADDRESS_AT : EERD_ADDRESS_AT;
	unsigned word = value >> at & (is_wide ? EERD_WIDE_ADDRESS : 0xff);

	if (!(value & EERD_START))
		return value & 0xffff;
	return (word << at) | (is_wide ? EERD_WIDE_DONE : EERD_DONE) |
	       (uint32_t)(word < E1000_EEPROM_WORDS ? eeprom->words[word] : 0xffff) << EERD_DATA_AT;
}
