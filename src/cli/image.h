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
/* The same of the option at which getopt stopped. */
int image_wrong_option(char **arguments);
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
