#include <stdio.h>

#define EACH(call) call(01) call(02) call(03) call(04) call(05) call(06) \
	call(07) call(08) call(09) call(10) call(11) call(12)
#define DECLARE(number) unsigned long part_##number(unsigned long);
#define CALL(number) seed = part_##number(seed), printf(#number " %lu\n", seed);

EACH(DECLARE)

int main(void)
{
	unsigned long seed = 1;
	EACH(CALL)
	return 0;
}
