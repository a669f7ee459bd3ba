#include "monitor/hmp_look.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/look/chips.h"
#include "monitor/look/expression.h"
#include "monitor/look/memory.h"
#include "monitor/look/pages.h"
#include "monitor/look/registers.h"

/* Have the machine stand still for a look at the session's CPU. False: it was printed why not. */
static bool begin(struct hmp_line *line, struct look *look)
{
	struct machine *machine = line->monitor->machine;
	struct error error;

	if (!machine) {
		hmp_print(line->text, "No CPU available\n");
		return false;
	}
	if (machine_look_begin(machine, &error) < 0) {
		hmp_print(line->text, "Error: %s\n", error.message);
		return false;
	}
	*look = (struct look){.machine = machine, .cpu = *line->cpu, .text = line->text};
	return true;
}

static void end(const struct look *look)
{
	machine_look_end(look->machine);
}

/* A CPU's number, or the session's when there is none. False: there is no such CPU. */
static bool parse_cpu(struct hmp_line *line, struct look *look)
{
	unsigned long number;
	char *behind;

	if (!*line->rest)
		return true;
	number = strtoul(line->rest, &behind, 0);
	if (behind == line->rest || number >= machine_cpus(look->machine) || !machine_has_cpu(look->machine, number)) {
		hmp_print(line->text, "CPU#%.20s not available\n", line->rest);
		return false;
	}
	look->cpu = number;
	return true;
}

void hmp_info_registers(struct hmp_line *line)
{
	bool is_all = strncmp(line->rest, "-a", 2) == 0;
	struct look look;

	if (!begin(line, &look))
		return;
	if (is_all)
		for (look.cpu = 0; look.cpu < machine_cpus(look.machine); look.cpu++) {
			if (machine_has_cpu(look.machine, look.cpu))
				look_registers(&look, true);
		}
	else if (parse_cpu(line, &look))
		look_registers(&look, true);
	end(&look);
}

/* What needs no more words than its name. */
static void show(struct hmp_line *line, void (*what)(const struct look *look))
{
	struct look look;

	if (!begin(line, &look))
		return;
	what(&look);
	end(&look);
}

void hmp_info_mem(struct hmp_line *line)
{
	show(line, look_ranges);
}

void hmp_info_tlb(struct hmp_line *line)
{
	show(line, look_tlb);
}

void hmp_info_pic(struct hmp_line *line)
{
	show(line, look_pic);
}

void hmp_info_lapic(struct hmp_line *line)
{
	struct look look;

	if (!begin(line, &look))
		return;
	if (parse_cpu(line, &look))
		look_lapic(&look);
	end(&look);
}

static void print_counter(void *context, const char *name, uint64_t value)
{
	const struct look *look = context;

	hmp_print(look->text, "CPU %u: %s %" PRIu64 "\n", look->cpu, name, value);
}

void hmp_info_jit(struct hmp_line *line)
{
	struct look look;

	if (!begin(line, &look))
		return;
	if (line->monitor->facts.uses_kvm)
		hmp_print(line->text, "JIT information is only available with accel=tcg\n");
	else
		for (look.cpu = 0; look.cpu < machine_cpus(look.machine); look.cpu++)
			machine_visit_counters(look.machine, look.cpu, print_counter, &look);
	end(&look);
}

void hmp_cpu(struct hmp_line *line)
{
	struct look look;

	if (!begin(line, &look))
		return;
	if (!*line->rest)
		hmp_print(line->text, "cpu: which one? 'info cpus' lists them\n");
	else if (parse_cpu(line, &look))
		*line->cpu = look.cpu;
	end(&look);
}

/* The next number, and what is behind it; NULL: it was printed what is wrong. */
static const char *take_number(const struct look *look, const char *text, uint64_t *value)
{
	struct error error;
	const char *behind = look_expression(look, text, value, &error);

	if (!behind)
		hmp_print(look->text, "%s\n", error.message);
	return behind;
}

/* The same when nothing follows. */
static bool take_last(const struct look *look, const char *text, uint64_t *value)
{
	const char *behind = take_number(look, text, value);

	if (behind && *behind)
		hmp_print(look->text, "unexpected: '%.40s'\n", behind);
	return behind && !*behind;
}

/* "/FORMAT" at the beginning of the rest. NULL: it was printed what is wrong. */
static const char *take_format(struct hmp_line *line, struct look_format *format)
{
	struct error error;
	const char *behind = look_format_parse(line->rest, format, &error);

	if (!behind)
		hmp_print(line->text, "%s\n", error.message);
	return behind;
}

static void show_memory(struct hmp_line *line, bool is_physical)
{
	struct look_format format = {.count = 1, .form = 'x', .size = 4};
	const char *rest = take_format(line, &format);
	struct look look;
	uint64_t address;

	if (!rest || !begin(line, &look))
		return;
	if (take_last(&look, rest, &address))
		look_memory(&look, &format, is_physical, address);
	end(&look);
}

void hmp_x(struct hmp_line *line)
{
	show_memory(line, false);
}

void hmp_xp(struct hmp_line *line)
{
	show_memory(line, true);
}

void hmp_print_value(struct hmp_line *line)
{
	struct look_format format = {.count = 1, .form = 'd', .size = 8};
	const char *rest = take_format(line, &format);
	struct look look;
	uint64_t value;

	if (!rest || !begin(line, &look))
		return;
	if (take_last(&look, rest, &value)) {
		look_print_number(&look, format.form, value);
		hmp_print(line->text, "\n");
	}
	end(&look);
}

void hmp_gva2gpa(struct hmp_line *line)
{
	struct look look;
	uint64_t gva, gpa;

	if (!begin(line, &look))
		return;
	if (take_last(&look, line->rest, &gva)) {
		if (look_translate(&look, gva, &gpa))
			hmp_print(line->text, "gpa: %#" PRIx64 "\n", gpa);
		else
			hmp_print(line->text, "Unmapped\n");
	}
	end(&look);
}

/* A port, and where one is written, its value. False: it was printed what is wrong. */
static bool take_port(struct hmp_line *line, struct look_format *format, uint64_t *port, uint64_t *value)
{
	const char *rest = take_format(line, format);
	struct look look;
	bool is_right;

	if (!rest || !begin(line, &look))
		return false;
	if (!value) {
		is_right = take_last(&look, rest, port);
	} else {
		/* "o 0x80 1": the port ends where a blank does. */
		size_t length = strcspn(rest, " \t");
		char *first = strndup(rest, length);

		is_right = first && take_last(&look, first, port) && take_last(&look, rest + length, value);
		free(first);
	}
	end(&look);
	if (is_right && (*port > 0xffff || format->size == 8)) {
		hmp_print(line->text, "ports are 0 to 0xffff, of 1, 2 or 4 bytes\n");
		return false;
	}
	return is_right;
}

void hmp_in(struct hmp_line *line)
{
	struct look_format format = {.count = 1, .form = 'x', .size = 1};
	uint64_t port;
	uint32_t value;

	if (!take_port(line, &format, &port, NULL))
		return;
	value = machine_read_port(line->monitor->machine, port, format.size);
	hmp_print(line->text, "port%c[0x%04x] = 0x%0*x\n", format.size == 1 ? 'b' : format.size == 2 ? 'w' : 'l',
		  (unsigned)port, (int)format.size * 2, (unsigned)(value & (UINT32_MAX >> (32 - 8 * format.size))));
}

void hmp_out(struct hmp_line *line)
{
	struct look_format format = {.count = 1, .form = 'x', .size = 1};
	uint64_t port, value;

	if (take_port(line, &format, &port, &value))
		machine_write_port(line->monitor->machine, port, format.size, value);
}

void hmp_nmi(struct hmp_line *line)
{
	json_decref(hmp_ask(line, "inject-nmi"));
}

static void save(struct hmp_line *line, const char *command)
{
	char *address = hmp_word(&line->rest), *size = hmp_word(&line->rest), *name = hmp_word(&line->rest);
	uint64_t from = 0, bytes = 0;
	struct look look;
	bool is_right;

	if (!name) {
		hmp_print(line->text, "%s: ADDRESS SIZE FILE\n", command);
	} else if (begin(line, &look)) {
		is_right = take_last(&look, address, &from) && take_last(&look, size, &bytes);
		end(&look);
		if (is_right)
			hmp_tell(line, command,
				 json_pack("{s:I,s:I,s:s}", "val", (json_int_t)from, "size", (json_int_t)bytes,
					   "filename", name));
	}
}

void hmp_memsave(struct hmp_line *line)
{
	save(line, "memsave");
}

void hmp_pmemsave(struct hmp_line *line)
{
	save(line, "pmemsave");
}

/* [-p] [-d] FILE [BEGIN LENGTH] */
void hmp_dump(struct hmp_line *line)
{
	char *word, *words[3] = {NULL};
	bool is_virtual = false;
	unsigned count = 0;
	json_t *arguments;

	while ((word = hmp_word(&line->rest))) {
		if (strcmp(word, "-p") == 0) {
			is_virtual = true;
		} else if (*word == '-' && strcmp(word, "-d") != 0) {
			hmp_print(line->text, "dump-guest-memory: there is no %s: a dump is an ELF core\n", word);
			return;
		} else if (*word != '-' && count < 3) {
			words[count++] = word;
		}
	}
	if (count != 1 && count != 3) {
		hmp_print(line->text, "dump-guest-memory: [-p] FILE [BEGIN LENGTH]\n");
		return;
	}
	arguments = json_pack("{s:b,s:o}", "paging", is_virtual, "protocol", json_sprintf("file:%s", words[0]));
	if (count == 3) {
		json_object_set_new(arguments, "begin", json_integer(strtoull(words[1], NULL, 0)));
		json_object_set_new(arguments, "length", json_integer(strtoull(words[2], NULL, 0)));
	}
	hmp_tell(line, "dump-guest-memory", arguments);
}
