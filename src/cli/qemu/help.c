#include "cli/qemu/help.h"

#include <stdio.h>
#include <string.h>

#include "cli/qemu/devices.h"
#include "cli/qemu/line_state.h"
#include "cli/qemu/objects.h"
#include "cli/qemu/options.h"
#include "machine/cpu_spec.h"
#include "monitor/version.h"

static void print_version(void)
{
	printf("QEMU emulator version %d.%d.%d (kvik " KVIK_VERSION ")\n"
	       "This is kvik " KVIK_VERSION ", which takes QEMU's command line.\n",
	       VERSION_QEMU_MAJOR, VERSION_QEMU_MINOR, VERSION_QEMU_MICRO);
}

static void print_machines(void)
{
	unsigned i;

	puts("Supported machines are:");
	for (i = 0; i < machine_type_count; i++) {
		const struct machine_type *type = &machine_types[i];

		if (type->other_name)
			printf("%-20s %s (alias of %s)\n", type->other_name, type->help, type->name);
		printf("%-20s %s%s\n", type->name, type->help, type->is_default ? " (default)" : "");
	}
}

static bool asks(const char *value)
{
	return value && (strcmp(value, "help") == 0 || strcmp(value, "?") == 0);
}

static bool is_machine_option(const char *option)
{
	return strcmp(option, "-machine") == 0 || strcmp(option, "-M") == 0;
}

/* "DRIVER,help" */
static bool print_device(const char *value)
{
	char name[64];
	size_t length = strcspn(value, ",");
	const struct device_driver *driver;

	if (!asks(value[length] ? value + length + 1 : NULL) || length >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)length, value);
	driver = device_driver_find(name, NULL);
	if (driver)
		device_print_help(stdout, driver);
	return driver != NULL;
}

static void print_properties(const char *of, const struct property *properties)
{
	printf("%s options:\n", of);
	for (; properties->name; properties++)
		if (strcmp(properties->name, "type") != 0 && strcmp(properties->name, "qom-type") != 0)
			printf("  %s=<%s>%s%s\n", properties->name, property_type_name(properties),
			       properties->only ? " - only " : "", properties->only ? properties->only : "");
}

/* "q35,help", "iothread,help" */
static bool print_said(const char *option, const char *value)
{
	const char *comma = value ? strrchr(value, ',') : NULL;
	const struct property *properties = NULL;
	char name[64];

	if (!comma || !asks(comma + 1) || snprintf(name, sizeof(name), "%.*s", (int)strcspn(value, ","), value) >= (int)sizeof(name))
		return false;
	if (is_machine_option(option))
		properties = options_machine_properties();
	else if (strcmp(option, "-object") == 0)
		properties = object_properties(name);
	if (properties)
		print_properties(name, properties);
	return properties != NULL;
}

/* Lists that are one text. */
static const struct {
	const char *option, *text;
} lists[] = {
	{"-accel", "Accelerators supported in QEMU binary:\ntcg\nkvm\nengine\n"},
	{"-chardev", "Available chardev backend types:\n  null\n  stdio\n  file\n  pipe\n  pty\n  socket\n  serial\n  ringbuf\n  vc\n"},
	{"-netdev", "Available netdev backend types:\nuser\ntap\nbridge\nsocket\nstream\ndgram\n"},
	{"-nic", "Available netdev backend types:\nuser\ntap\nbridge\nsocket\nstream\ndgram\nnone\n"},
	{"-net", "Available netdev backend types:\nnone\nnic\nuser\ntap\nbridge\nsocket\n"},
	{"-display", "Available display backend types:\nnone\n"},
	{"-vga", "none                 no graphic card\nstd                  standard VGA (default)\n"},
	{"-audiodev", "Available audio drivers:\nnone\n"},
	{"-tpmdev", "Supported TPM types (choose only one):\n    emulator   TPM emulator backend driver\n"},
	{"-blockdev", "Drivers:\nfile\nhost_device\nnbd\nraw\nqcow2\ncopy-on-read\nvdi, vmdk, vhdx (to be read)\n"},
};

/* "nic,model=help", "user,model=help" */
static bool asks_for_models(const char *option, const char *value)
{
	const char *model = value ? strstr(value, "model=") : NULL;

	return model && (strcmp(option, "-net") == 0 || strcmp(option, "-nic") == 0) && asks(model + 6);
}

/* Whether an option asks for help, which is then printed. */
static bool print_help_on(const char *option, const char *value)
{
	unsigned i;

	option += option[0] == '-' && option[1] == '-';
	if (strcmp(option, "-device") == 0 && value && strchr(value, ','))
		return print_device(value);
	if (asks_for_models(option, value)) {
		puts("Available NIC models:\ne1000\ne1000e\nvirtio");
		return true;
	}
	if (!asks(value))
		return print_said(option, value);
	if (strcmp(option, "-device") == 0)
		devices_print_help(stdout);
	else if (is_machine_option(option))
		print_machines();
	else if (strcmp(option, "-cpu") == 0)
		cpu_spec_print_help(stdout);
	else if (strcmp(option, "-object") == 0)
		objects_print_help(stdout);
	else {
		for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
			if (strcmp(option, lists[i].option) == 0)
				break;
		if (i == sizeof(lists) / sizeof(lists[0]))
			return false;
		fputs(lists[i].text, stdout);
	}
	return true;
}

bool help_print(int count, char **arguments)
{
	const char *option;
	int i;

	for (i = 0; i < count; i++) {
		option = arguments[i] + (strncmp(arguments[i], "--", 2) == 0);
		if (strcmp(option, "-version") == 0) {
			print_version();
			return true;
		}
		if (strcmp(option, "-h") == 0 || strcmp(option, "-help") == 0) {
			options_print_help(stdout);
			return true;
		}
		if (i + 1 < count && print_help_on(arguments[i], arguments[i + 1]))
			return true;
	}
	return false;
}
