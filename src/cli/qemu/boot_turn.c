#include "cli/qemu/boot_turn.h"

#include <errno.h>
#include <string.h>

#include "cli/qemu/keyval.h"

/* Turns by -boot order= come behind those of bootindex=. */
#define ORDER_TURN 0x1000
#define ORDER_STEP 0x100

/* By letters of kinds, the first ones first; 0: the kind is not among them. */
static unsigned turn_by_order(const char *order, char kind, unsigned number)
{
	const char *letter = order ? strchr(order, kind) : NULL;

	return letter ? ORDER_TURN + (unsigned)(letter - order) * ORDER_STEP + number + 1 : 0;
}

int boot_turn_of(const struct line *line, const json_t *device, char letter, unsigned number, struct boot_turn *turn,
		 struct error *error)
{
	const json_t *boot = json_object_get(line->said, "boot");
	const char *once = keyval_text(boot, "once"), *order = keyval_text(boot, "order");
	uint64_t index = UINT64_MAX;

	if (keyval_number(device, "bootindex", ORDER_TURN - 1, &index, error) < 0)
		return -EINVAL;
	turn->later_plus_1 = index != UINT64_MAX ? (unsigned)index + 1 : turn_by_order(order, letter, number);
	turn->plus_1 = index != UINT64_MAX || !once ? turn->later_plus_1 : turn_by_order(once, letter, number);
	return 0;
}
