/*
 * Numbers for what has a place in every CPU's tables: pages, and jumps to other pages.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/run/jit/cache/numbers.h"

int jit_numbers_create(struct jit_numbers *numbers, unsigned limit)
{
	numbers->free = calloc(limit, sizeof(*numbers->free));
	numbers->limit = limit;
	return numbers->free ? 0 : -ENOMEM;
}

void jit_numbers_destroy(struct jit_numbers *numbers)
{
	free(numbers->free);
}

bool jit_number_take(struct jit_numbers *numbers, uint32_t *number)
{
	if (numbers->free_count)
		*number = numbers->free[--numbers->free_count];
	else if (numbers->used < numbers->limit)
		*number = numbers->used++;
	else
		return false;
	return true;
}

void jit_number_return(struct jit_numbers *numbers, uint32_t number)
{
	numbers->free[numbers->free_count++] = number;
}
