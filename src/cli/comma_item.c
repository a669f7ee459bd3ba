#include "cli/comma_item.h"

#include <stddef.h>

char *comma_item_take(char **text)
{
	char *item = *text, *from = item, *to = item;

	if (!item)
		return NULL;
	for (; *from; from++) {
		if (*from == ',') {
			if (from[1] != ',')
				break;
			from++;
		}
		*to++ = *from;
	}
	*text = *from ? from + 1 : NULL;
	*to = 0;
	return item;
}
