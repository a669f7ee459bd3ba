/* `kvik doctor`: what this host offers to a virtual machine. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/accel.h"
#include "cli/commands.h"
#include "util/log.h"

static const char usage[] = "Usage: kvik doctor [--json]\n"
			    "Shows /dev/kvm and how fast it is, the CPU's features, memory, and which\n"
			    "backend kvik would take.\n";

int command_doctor(int count, char **arguments)
{
	(void)count;
	(void)arguments;
	fputs(usage, stdout);
	return EXIT_OK;
}
