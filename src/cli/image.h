/*
 * `kvik image` and `kvik-img`: the commands on disk images, with qemu-img's options. Each takes the
 * arguments from its own name on, and returns the exit status.
 */
#ifndef KVIK_CLI_IMAGE_H
#define KVIK_CLI_IMAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/image.h"
#include "cli/image_name.h"
#include "util/error.h"

int image_command_create(int count, char **arguments);
int image_command_info(int count, char **arguments);
int image_command_check(int count, char **arguments);
int image_command_convert(int count, char **arguments);
int image_command_resize(int count, char **arguments);
int image_command_map(int count, char **arguments);
int image_command_compare(int count, char **arguments);
int image_command_snapshot(int count, char **arguments);
int image_command_commit(int count, char **arguments);
int image_command_rebase(int count, char **arguments);
int image_command_measure(int count, char **arguments);
int image_command_bitmap(int count, char **arguments);
int image_command_amend(int count, char **arguments);
int image_command_bench(int count, char **arguments);
int image_command_dd(int count, char **arguments);
int image_command_serve(int count, char **arguments);

/* The command named by arguments[0]; `is_humane`: as `kvik image`, not as qemu-img. */
int image_main(int count, char **arguments, bool is_humane);
/* Whether what qemu-img leaves open is guessed for people: a format by the file's name. */
bool image_is_humane(void);
void image_set_humane(bool is_humane);

/* ---- What they share ---- */

/* A size: bytes, or with k, M, G, T, P, E (powers of 1024), fractions too. 0 or -EINVAL, -ERANGE. */
int image_size_parse(const char *text, uint64_t *bytes);
/* Tell of an error or of wrong usage; the exit status. */
int image_fail(const struct error *error);
int image_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What commands have in common, in their tables of long options, and what getopt returns for them. */
enum { IMAGE_OPTION_OBJECT = 512, IMAGE_OPTION_OPTS };
#define IMAGE_COMMON_OPTIONS                                                                                               \
	{"object", required_argument, NULL, IMAGE_OPTION_OBJECT}, {"image-opts", no_argument, NULL, IMAGE_OPTION_OPTS},    \
		{"force-share", no_argument, NULL, 'U'}, {"format", required_argument, NULL, 'f'}
/* Take one of these. True: it is wrong, as is any other option, which was told; image_usage_status is what the command ends with. */
bool image_common_option(int option, char **arguments, struct image_names *names);
int image_usage_status(void);
/* Whether -o asks what there is. */
bool image_is_help(const char *list);
/* -o help: the options of a format; `is_amend`: those that can be changed. The exit status. */
int image_print_options(const char *format, bool is_amend);
/* `text` is "json" (1), "human" (0) or neither (-1). */
int image_output_parse(const char *text);
void image_print_json(json_t *value); /* takes it over */
/*
 * Read -o's list, which is cut up for that, into what is to be made: strings in it are the list's.
 * 0, or -EINVAL and `error`.
 */
int image_options_parse(char *list, struct image_creation *creation, struct error *error);
/* The defaults of a format, by which image_options_parse starts. */
void image_creation_init(struct image_creation *creation, const char *format);
int image_preallocation_parse(const char *text, enum image_preallocation *preallocation);

/* What -l names: "snapshot.name=x", "snapshot.id=x", or the name alone. */
const char *image_snapshot_name(const char *text);
/* The list of snapshots, if there are any. */
void image_print_snapshots(struct node *image);

/* Progress on standard output, as qemu-img's -p. */
struct image_progress {
	bool is_wanted;
	unsigned shown; /* hundredths of a percent, and one */
};
void image_progress(struct image_progress *progress, uint64_t done, uint64_t total);
void image_progress_end(struct image_progress *progress);

#endif
