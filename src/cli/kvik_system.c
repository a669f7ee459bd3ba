/* kvik-system-x86_64: kvik under QEMU's calling convention. */
#include "cli/qemu/system.h"
#include "util/log.h"

int main(int count, char **arguments)
{
	log_open();
	return system_main(count - 1, arguments + 1);
}
