/* kvik's own command line: finds the command, answers --help and --version. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "util/log.h"

static const char usage[] =
	"kvik runs virtual machines, with or without /dev/kvm.\n"
	"\n"
	"Usage:\n"
	"  kvik run [OPTION]...     boot a guest on this terminal; ^A x quits\n"
	"  kvik kvm COMMAND...      run a program that wants /dev/kvm on kvik's engine\n"
	"  kvik image COMMAND...    make, look at, convert disk images\n"
	"  kvik doctor [--json]     what this host offers, what kvik would use\n"
	"  kvik COMMAND --help      a command's options\n"
	"  kvik --help | --version\n"
	"\n"
	"Examples:\n"
	"  kvik run debian.qcow2    an installed system, with a network of its own\n"
	"  kvik run -- make check   a command in a machine of its own, on the files here\n"
	"  kvik run --share .:rw -- ./build.sh   and what it writes here stays\n"
	"  kvik run --kernel vmlinuz --initrd initrd.cpio --append console=ttyS0\n"
	"  kvik kvm -- qemu-system-x86_64 -accel kvm -nographic debian.qcow2\n"
	"  kvik-system-x86_64 -m 2G -nographic debian.qcow2   with QEMU's own options\n"
	"\n"
	"The guest's console is on standard output, and nothing else; kvik's own words\n"
	"go to standard error. Exit status: 0 the guest powered off, 1 error, 2 wrong\n"
	"usage, 3 the guest crashed, or the guest's own through its debug-exit port.\n";

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		int (*run)(int count, char **arguments);
	} commands[] = {
		{"run", command_run},
		{"doctor", command_doctor},
		{"kvm", command_kvm},
		{"image", command_image},
	};
	unsigned i;

	log_open();
	if (count < 2) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(arguments[1], commands[i].name) == 0)
			return commands[i].run(count - 2, arguments + 2);
	if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0 ||
	    strcmp(arguments[1], "help") == 0) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (strcmp(arguments[1], "--version") == 0) {
		puts("kvik " KVIK_VERSION);
		return EXIT_OK;
	}
	log_error("unknown %s '%s': see kvik --help", arguments[1][0] == '-' ? "option" : "command",
		  arguments[1]);
	return EXIT_USAGE;
}
