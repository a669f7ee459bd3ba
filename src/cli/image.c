/* `kvik image`: finds the command. */
#include "cli/image.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "util/log.h"

static const char usage[] =
	"Usage: kvik image COMMAND [OPTION]... FILE...     (kvik-img: the same, as qemu-img)\n"
	"\n"
	"  create [-f FORMAT] [-o OPTIONS] [-b BACKING -F FORMAT] FILE [SIZE]\n"
	"  info [--output=json] [--backing-chain] FILE\n"
	"  check [-r leaks|all] [--output=json] FILE\n"
	"  convert [-O FORMAT] [-c] [-p] [-o OPTIONS] [-l SNAPSHOT] FILE... OUTPUT\n"
	"  resize [--shrink] [--preallocation=MODE] FILE [+-]SIZE\n"
	"  map [--output=json] FILE\n"
	"  compare [-s] [-p] FILE FILE\n"
	"  snapshot -l | -c NAME | -a NAME | -d NAME FILE\n"
	"  commit [-b BASE] [-d] [-p] FILE\n"
	"  rebase [-u] [-p] -b BACKING [-F FORMAT] FILE\n"
	"  measure -O FORMAT [-o OPTIONS] FILE | --size SIZE\n"
	"  bitmap --add | --remove | --clear | --enable | --disable | --merge NAME [-g SIZE] FILE NAME\n"
	"  amend -o OPTIONS FILE\n"
	"  dd [-O FORMAT] [bs=SIZE] [count=BLOCKS] [skip=BLOCKS] if=FILE of=FILE\n"
	"  bench [-w] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-o OFFSET] [--flush-interval=COUNT] FILE\n"
	"  serve [-k SOCKET | -p PORT] [-r] [-x NAME] FILE      (serve --help; kvik-nbd: as qemu-nbd)\n"
	"\n"
	"Formats: raw, qcow2. Sizes: bytes, or with k, M, G, T. Options of qcow2 (-o a=b,c=d):\n"
	"compat=0.10|1.1 cluster_size= refcount_bits= lazy_refcounts=on extended_l2=on\n"
	"compression_type=zlib|zstd preallocation=off|metadata|falloc|full data_file=\n"
	"data_file_raw=on backing_file= backing_fmt=. All else as in qemu-img's manual.\n";

int image_main(int count, char **arguments, bool is_humane)
{
	static const struct {
		const char *name;
		int (*run)(int count, char **arguments);
	} commands[] = {
		{"create", image_command_create},   {"info", image_command_info},
		{"check", image_command_check},	    {"convert", image_command_convert},
		{"resize", image_command_resize},   {"map", image_command_map},
		{"compare", image_command_compare}, {"snapshot", image_command_snapshot},
		{"commit", image_command_commit},   {"rebase", image_command_rebase},
		{"measure", image_command_measure}, {"serve", image_command_serve},
		{"bitmap", image_command_bitmap},   {"amend", image_command_amend},
		{"dd", image_command_dd},	    {"bench", image_command_bench},
	};
	unsigned i;

	image_set_humane(is_humane);
	if (count < 1)
		return image_usage("which command? create, info, check, convert, ...: see kvik image --help");
	opterr = 0;
	/* What qemu-img would trace goes nowhere. */
	while (count > 2 && (strcmp(arguments[0], "-T") == 0 || strcmp(arguments[0], "--trace") == 0)) {
		arguments += 2;
		count -= 2;
	}
	while (count > 1 && (strncmp(arguments[0], "--trace=", 8) == 0 ||
			     (strncmp(arguments[0], "-T", 2) == 0 && arguments[0][2]))) {
		arguments++;
		count--;
	}
	if (count == 2 && strcmp(arguments[1], "--help") == 0)
		arguments++;
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(arguments[0], commands[i].name) == 0)
			return commands[i].run(count, arguments);
	if (strcmp(arguments[0], "--help") == 0 || strcmp(arguments[0], "-h") == 0) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (strcmp(arguments[0], "--version") == 0 || strcmp(arguments[0], "-V") == 0) {
		puts("kvik-img " KVIK_VERSION);
		return EXIT_OK;
	}
	return image_usage("unknown image command '%.100s': see kvik image --help", arguments[0]);
}

int command_image(int count, char **arguments)
{
	return image_main(count, arguments, true);
}
