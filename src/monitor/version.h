/* Which version this is, in the form that those who talk to QEMU expect. */
#ifndef KVIK_MONITOR_VERSION_H
#define KVIK_MONITOR_VERSION_H

#include <jansson.h>

/* The QEMU whose command line and QMP these are: programs choose by it what they ask for. */
#define VERSION_QEMU_MAJOR 7
#define VERSION_QEMU_MINOR 2
#define VERSION_QEMU_MICRO 0

/* VersionInfo of schema.json. */
static inline json_t *version_describe(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", VERSION_QEMU_MAJOR, "minor",
			 VERSION_QEMU_MINOR, "micro", VERSION_QEMU_MICRO, "package",
			 "kvik " KVIK_VERSION);
}

#endif
