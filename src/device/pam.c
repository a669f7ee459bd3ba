#include "device/pam.h"

#include <string.h>

/* A register has two segments, the lower one in the low half; the first has the last segment alone. */
#define HIGH_SHIFT 4
#define ACCESS	   (PAM_READ | PAM_WRITE)
#define FIRST_BITS (ACCESS << HIGH_SHIFT)
#define BITS	   (ACCESS << HIGH_SHIFT | ACCESS)

void pam_describe(struct pci_function *host, unsigned first)
{
	host->writable[first] = FIRST_BITS;
	memset(host->writable + first + 1, BITS, PAM_REGISTERS - 1);
}

void pam_get(struct pci_function *host, unsigned first, uint8_t access[PAM_SEGMENTS])
{
	uint8_t value;
	unsigned i;

	for (i = 1; i < PAM_REGISTERS; i++) {
		value = pci_config_get(host, first + i, 1);
		access[2 * i - 2] = value & ACCESS;
		access[2 * i - 1] = value >> HIGH_SHIFT & ACCESS;
	}
	access[PAM_SEGMENTS - 1] = pci_config_get(host, first, 1) >> HIGH_SHIFT & ACCESS;
}

void pam_open(struct pci_function *host, unsigned first)
{
	unsigned i;

	for (i = 0; i < PAM_REGISTERS; i++)
		pci_config_set(host, first + i, 1, i ? BITS : FIRST_BITS);
}
