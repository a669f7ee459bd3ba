#include "cli/mac.h"

#include <errno.h>
#include <stdio.h>

int mac_parse(const char *text, uint8_t mac[MAC_BYTES], struct error *error)
{
	unsigned bytes[MAC_BYTES], i;
	char end;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
		   &bytes[5], &end) != MAC_BYTES ||
	    (bytes[0] & 1))
		return error_set(error, EINVAL,
				 "mac=%.60s: use an address of one device, as 52:54:00:12:34:56", text);
	for (i = 0; i < MAC_BYTES; i++)
		mac[i] = bytes[i];
	return 0;
}
