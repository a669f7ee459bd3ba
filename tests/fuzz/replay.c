/*
 * Runs a fuzz target over files: the regression test of its corpus, with any compiler.
 *
 * usage: fuzz_TARGET FILE-OR-DIRECTORY...
 *
 * Built in place of libFuzzer's own main, which does the same when it is given files.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

/* Inputs larger than this are cut, as libFuzzer's -max_len would. */
#define INPUT_MAX (1u << 20)

static unsigned inputs;

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	size_t size;

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	data = malloc(INPUT_MAX);
	if (!data) {
		fclose(file);
		return -ENOMEM;
	}
	size = fread(data, 1, INPUT_MAX, file);
	fclose(file);
	/* An exact allocation lets the address sanitizer see a read past the input's end. */
	data = realloc(data, size ? size : 1);
	printf("%s: %zu bytes\n", path, size);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	inputs++;
	return 0;
}

static int replay(const char *path)
{
	struct stat status;
	struct dirent **entries;
	char name[PATH_MAX];
	int result = 0, count;

	if (stat(path, &status) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	if (!S_ISDIR(status.st_mode))
		return replay_file(path);
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.' && result == 0) {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			result = replay(name);
		}
		free(entries[i]);
	}
	free(entries);
	return result;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (replay(argv[i]) < 0)
			return 1;
	}
	printf("%u inputs\n", inputs);
	return inputs == 0;
}
