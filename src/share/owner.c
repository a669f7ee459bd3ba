#include "share/owner.h"

#define NOBODY 65534 /* whom a user namespace does not know */

uint32_t owner_to_guest(uint32_t id, uint32_t own)
{
	return id == own || (own && id == NOBODY) ? 0 : id;
}

uint32_t owner_to_host(uint32_t wanted, uint32_t now, uint32_t own)
{
	if (wanted == owner_to_guest(now, own))
		return ~0u;
	return wanted ? wanted : own;
}
