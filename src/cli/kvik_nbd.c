/* kvik-nbd: `kvik image serve` under qemu-nbd's calling convention. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/image.h"
#include "util/log.h"

int main(int count, char **arguments)
{
	log_open();
	opterr = 0;
	image_set_humane(false);
	if (count == 2 && (strcmp(arguments[1], "-V") == 0 || strcmp(arguments[1], "--version") == 0)) {
		puts("kvik-nbd " KVIK_VERSION);
		return 0;
	}
	return image_command_serve(count, arguments);
}
