#include "sandbox/layers.h"

#include <stdarg.h>
#include <stdio.h>

const char *sandbox_layer_name(enum sandbox_layer layer)
{
	static const char *const names[SANDBOX_LAYERS] = {
		[SANDBOX_LIMITS] = "limits",
		[SANDBOX_NAMESPACES] = "namespaces",
		[SANDBOX_NETWORK] = "network",
		[SANDBOX_EMPTY_ROOT] = "empty root",
		[SANDBOX_CAPABILITIES] = "capabilities",
		[SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
		[SANDBOX_NOT_DUMPABLE] = "not dumpable",
		[SANDBOX_FILTER] = "system calls",
	};

	return names[layer];
}

void sandbox_note(struct sandbox_report *report, enum sandbox_layer layer, bool holds,
		  const char *format, ...)
{
	va_list arguments;

	report->layers[layer].holds = holds;
	va_start(arguments, format);
	vsnprintf(report->layers[layer].how, sizeof(report->layers[layer].how), format, arguments);
	va_end(arguments);
}
