/* `kvik image info`, check, map: what an image tells of itself. Output has qemu-img's form. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/image.h"
#include "cli/image_facts.h"
#include "util/log.h"
#include "util/snapshot_text.h"

/* qemu-img check's statuses. */
#define EXIT_CORRUPT	   2
#define EXIT_LEAKS	   3
#define EXIT_NOT_SUPPORTED 63

/* ---- info ---- */

void image_print_snapshots(struct node *image)
{
	struct image_description description;
	struct block_snapshot snapshot;
	unsigned i;

	image_describe(image, &description);
	if (description.snapshot_count == 0)
		return;
	printf("Snapshot list:\n" SNAPSHOT_TEXT_HEAD);
	for (i = 0; i < description.snapshot_count; i++) {
		struct snapshot_text columns;

		char icount[24] = "";

		image_snapshot_describe(image, i, &snapshot);
		if (snapshot.icount_plus_1)
			snprintf(icount, sizeof(icount), "%llu", (unsigned long long)(snapshot.icount_plus_1 - 1));
		snapshot_text_make(&columns, snapshot.state_bytes, snapshot.seconds, snapshot.clock_ns);
		printf(SNAPSHOT_TEXT_ROW, snapshot.id, snapshot.name, columns.size, columns.date, columns.clock, icount);
	}
}

static const char *yes(bool value)
{
	return value ? "true" : "false";
}

static void print_vmdk(const struct image_description *description)
{
	printf("Format specific information:\n    cid: %u\n    parent cid: %u\n    create type: %s\n    extents:\n"
	       "        [0]:\n%s            virtual size: %llu\n            filename: %s\n            cluster size: %llu\n"
	       "            format: \n",
	       description->cid, description->parent_cid, description->create_type,
	       description->is_compressed ? "            compressed: true\n" : "", (unsigned long long)description->size,
	       description->path, (unsigned long long)description->cluster_size);
}

static void info_print(struct node *image)
{
	struct image_description description;
	char size[32], space[32];
	unsigned i;

	image_describe(image, &description);
	size_text(size, sizeof(size), description.size);
	snprintf(space, sizeof(space), "unavailable");
	if (description.space != UINT64_MAX)
		size_text(space, sizeof(space), description.space);
	printf("image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n",
	       description.path, description.format, size, (unsigned long long)description.size,
	       space);
	if (description.is_dirty)
		printf("cleanly shut down: no\n");
	if (description.cluster_size)
		printf("cluster_size: %llu\n", (unsigned long long)description.cluster_size);
	if (description.backing) {
		char *full = image_resolve(description.path, description.backing);

		printf("backing file: %s", description.backing);
		if (full && strcmp(full, description.backing) != 0)
			printf(" (actual path: %s)", full);
		printf("\n");
		free(full);
		if (description.backing_format)
			printf("backing file format: %s\n", description.backing_format);
	}
	if (description.snapshot_count > 0)
		image_print_snapshots(image);
	if (description.create_type)
		print_vmdk(&description);
	if (!description.is_qcow2)
		return;
	printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
	       image_compat(&description), description.compression);
	if (description.version >= 3)
		printf("    lazy refcounts: %s\n", yes(description.is_lazy));
	for (i = 0; i < description.bitmap_count; i++) {
		struct image_bitmap bitmap;

		image_bitmap_describe(image, i, &bitmap);
		if (i == 0)
			printf("    bitmaps:\n");
		printf("        [%u]:\n            flags:\n", i);
		if (bitmap.is_in_use)
			printf("                [0]: in-use\n");
		if (bitmap.is_auto)
			printf("                [%u]: auto\n", bitmap.is_in_use);
		printf("            name: %s\n            granularity: %llu\n", bitmap.name,
		       (unsigned long long)bitmap.granularity);
	}
	printf("    refcount bits: %u\n", description.refcount_bits);
	if (description.version >= 3)
		printf("    corrupt: %s\n", yes(description.is_corrupt));
	if (description.data_file)
		printf("    data file: %s\n    data file raw: %s\n", description.data_file,
		       yes(description.is_data_raw));
	if (description.version >= 3)
		printf("    extended l2: %s\n", yes(description.is_extended));
}

int image_command_info(int count, char **arguments)
{
	enum { OUTPUT = 256, CHAIN };
	static const struct option options[] = {{"output", required_argument, NULL, OUTPUT},
						{"backing-chain", no_argument, NULL, CHAIN},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	struct block_options open = {.readonly = true};
	struct image_names names = {false};
	unsigned flags = IMAGE_ALONE | IMAGE_FOR_CHECK;
	bool is_chain = false;
	struct node *image, *each;
	struct error error;
	json_t *list;
	int option, output = 0;

	while ((option = getopt_long(count, arguments, "f:U", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case OUTPUT: output = image_output_parse(optarg); break;
		case CHAIN:
			is_chain = true;
			flags &= ~IMAGE_ALONE;
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (output < 0)
		return image_usage("--output= is human or json");
	if (count - optind != 1)
		return image_usage("image info wants a file");
	if (image_open_named(arguments[optind], &names, &open, flags, &image, &error) < 0)
		return image_fail(&error);
	if (output && is_chain) {
		list = json_array();
		for (each = image; each; each = image_below(each))
			json_array_append_new(list, image_facts(each));
		image_print_json(list);
	} else if (output) {
		image_print_json(image_facts(image));
	} else {
		for (each = image; each; each = is_chain ? image_below(each) : NULL) {
			if (each != image)
				putchar('\n');
			info_print(each);
		}
	}
	image_close(image);
	return EXIT_OK;
}

/* ---- check ---- */

static void say(void *context, const char *line)
{
	(void)context;
	fprintf(stderr, "%s\n", line);
}

static void set_number(json_t *object, const char *name, uint64_t value)
{
	if (value > 0)
		json_object_set_new(object, name, json_integer(value));
}

static void check_json(const struct image_check *check, const char *path, const char *format)
{
	json_t *object = json_pack("{s:i, s:s, s:s}", "check-errors", 0, "filename", path, "format", format);

	set_number(object, "image-end-offset", check->end);
	set_number(object, "total-clusters", check->total_clusters);
	set_number(object, "allocated-clusters", check->allocated_clusters);
	set_number(object, "fragmented-clusters", check->fragmented_clusters);
	set_number(object, "compressed-clusters", check->compressed_clusters);
	set_number(object, "corruptions", check->corruptions);
	set_number(object, "leaks", check->leaks);
	set_number(object, "corruptions-fixed", check->corruptions_fixed);
	set_number(object, "leaks-fixed", check->leaks_fixed);
	image_print_json(object);
}

static void check_print(const struct image_check *check)
{
	double allocated = check->allocated_clusters ? check->allocated_clusters : 1;
	double total = check->total_clusters ? check->total_clusters : 1;

	if (check->corruptions_fixed > 0 || check->leaks_fixed > 0)
		printf("The following inconsistencies were found and repaired:\n\n"
		       "    %llu leaked clusters\n    %llu corruptions\n\n",
		       (unsigned long long)check->leaks_fixed,
		       (unsigned long long)check->corruptions_fixed);
	if (check->corruptions > 0)
		printf("\n%llu errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image may corrupt it.\n",
		       (unsigned long long)check->corruptions);
	if (check->leaks > 0)
		printf("\n%llu leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to data.\n",
		       (unsigned long long)check->leaks);
	if (check->corruptions == 0 && check->leaks == 0)
		printf("No errors were found on the image.\n");
	if (check->total_clusters > 0 && check->allocated_clusters > 0)
		printf("%llu/%llu = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters\n",
		       (unsigned long long)check->allocated_clusters,
		       (unsigned long long)check->total_clusters,
		       check->allocated_clusters * 100.0 / total,
		       check->fragmented_clusters * 100.0 / allocated,
		       check->compressed_clusters * 100.0 / allocated);
	if (check->end > 0)
		printf("Image end offset: %llu\n", (unsigned long long)check->end);
}

int image_command_check(int count, char **arguments)
{
	enum { OUTPUT = 256 };
	static const struct option options[] = {{"output", required_argument, NULL, OUTPUT},
						{"repair", required_argument, NULL, 'r'},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	enum image_repair repair = IMAGE_REPAIR_NONE;
	struct block_options open = {.readonly = true};
	struct image_names names = {false};
	unsigned flags = IMAGE_FOR_CHECK | IMAGE_ALONE;
	struct image_description description;
	bool is_quiet = false;
	struct image_check check;
	struct node *image;
	struct error error;
	int option, output = 0, result, closed;

	while ((option = getopt_long(count, arguments, "f:qr:T:U", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case 'q': is_quiet = true; break;
		case 'T': break; /* a cache mode, of no consequence here */
		case OUTPUT: output = image_output_parse(optarg); break;
		case 'r':
			repair = strcmp(optarg, "leaks") == 0 ? IMAGE_REPAIR_LEAKS
				 : strcmp(optarg, "all") == 0 ? IMAGE_REPAIR_ALL
							      : IMAGE_REPAIR_NONE;
			if (repair == IMAGE_REPAIR_NONE)
				return image_usage("-r %s: leaks or all", optarg);
			open.readonly = false;
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (output < 0)
		return image_usage("--output= is human or json");
	if (count - optind != 1)
		return image_usage("image check wants a file");
	if (image_open_named(arguments[optind], &names, &open, flags, &image, &error) < 0)
		return image_fail(&error);
	image_describe(image, &description);
	result = image_check(image, repair, &check, is_quiet || output ? NULL : say, NULL, &error);
	if (result == 0 && output)
		check_json(&check, arguments[optind], description.format);
	else if (result == 0 && !is_quiet)
		check_print(&check);
	closed = image_close(image);
	if (result == -ENOTSUP) {
		image_fail(&error);
		return EXIT_NOT_SUPPORTED;
	}
	if (result == 0 && closed < 0)
		result = error_set_errno(&error, -closed, "cannot write %s", arguments[optind]);
	if (result < 0)
		return image_fail(&error);
	return check.corruptions > 0 ? EXIT_CORRUPT : check.leaks > 0 ? EXIT_LEAKS : EXIT_OK;
}

/* ---- map ---- */

static bool is_next(const struct image_extent *one, const struct image_extent *two)
{
	return one->is_present == two->is_present && one->is_zero == two->is_zero &&
	       one->is_data == two->is_data && one->is_compressed == two->is_compressed &&
	       one->depth == two->depth && one->path == two->path &&
	       (!one->path || one->at + one->size == two->at);
}

static void print_extent(uint64_t start, const struct image_extent *extent, bool is_json,
			 bool is_first)
{
	if (is_json) {
		printf("%s{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, "
		       "\"zero\": %s, \"data\": %s",
		       is_first ? "[" : ",\n", (unsigned long long)start,
		       (unsigned long long)extent->size, extent->depth, yes(extent->is_present),
		       yes(extent->is_zero), yes(extent->is_data));
		if (extent->path)
			printf(", \"offset\": %llu", (unsigned long long)extent->at);
		printf("}");
		return;
	}
	if (is_first)
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
	if (extent->is_data && !extent->is_zero && extent->path)
		printf("%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)start,
		       (unsigned long long)extent->size, (unsigned long long)extent->at,
		       extent->path);
}

static int map(struct node *image, uint64_t from, uint64_t to, bool is_json, struct error *error)
{
	struct image_extent extent, run = {0};
	uint64_t at, start = from;
	bool is_first = true;
	int result;

	for (at = from; at < to; at += extent.size) {
		result = image_extent(image, at, to - at, 0, &extent);
		if (result < 0)
			return error_set_errno(error, -result, "cannot read %s", image_path(image));
		if (extent.is_compressed && !is_json)
			return error_set(error, ENOTSUP,
					 "%s has compressed clusters, which are nowhere as they are",
					 image_path(image));
		if (run.size > 0 && is_next(&run, &extent)) {
			run.size += extent.size;
			continue;
		}
		if (run.size > 0) {
			print_extent(start, &run, is_json, is_first);
			is_first = false;
		}
		start = at;
		run = extent;
	}
	if (run.size > 0)
		print_extent(start, &run, is_json, is_first);
	if (is_json)
		printf("%s]\n", run.size > 0 ? "" : "[");
	return 0;
}

int image_command_map(int count, char **arguments)
{
	enum { OUTPUT = 256 };
	static const struct option options[] = {{"output", required_argument, NULL, OUTPUT},
						{"start-offset", required_argument, NULL, 's'},
						{"max-length", required_argument, NULL, 'l'},
						IMAGE_COMMON_OPTIONS,
						{NULL}};
	struct block_options open = {.readonly = true};
	struct image_names names = {false};
	uint64_t start = 0, length = UINT64_MAX, end;
	int option, output = 0, result;
	struct node *image;
	struct error error;

	while ((option = getopt_long(count, arguments, "f:l:s:U", options, NULL)) != -1)
		switch (option) {
		case 'f': open.format = optarg; break;
		case OUTPUT: output = image_output_parse(optarg); break;
		case 's':
		case 'l':
			if (image_size_parse(optarg, option == 's' ? &start : &length) < 0)
				return image_usage("-%c %s: that is no size", option, optarg);
			break;
		default:
			if (image_common_option(option, arguments, &names))
				return image_usage_status();
		}
	if (output < 0)
		return image_usage("--output= is human or json");
	if (count - optind != 1)
		return image_usage("image map wants a file");
	if (image_open_named(arguments[optind], &names, &open, 0, &image, &error) < 0)
		return image_fail(&error);
	end = image_size(image);
	if (start > end)
		start = end;
	if (length < end - start)
		end = start + length;
	result = map(image, start, end, output, &error);
	image_close(image);
	return result < 0 ? image_fail(&error) : EXIT_OK;
}
