#include "engine/run/direct/program.h"

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/paging.h"
#include "engine/x86/system.h"

#define AT_NULL   0
#define AT_EXECFN 31
#define WORDS_MAX 2048u /* of arguments, environment and what follows */
#define PATH_MAX_ 256u  /* bytes of a path that are looked at */
#define SHOWN      12u

/* The page that was read last. */
struct page_reader {
	struct cpu *cpu;
	uint64_t gva;
	const uint8_t *page; /* NULL: nothing is there */
};

static const uint8_t *look(struct page_reader *reader, uint64_t gva)
{
	struct paging_result result;
	struct cpu_page page;

	if (!reader->page || reader->gva != gva >> 12) {
		reader->gva = gva >> 12;
		reader->page = NULL;
		if (cpu_is_canonical(gva) && paging_translate(reader->cpu, gva, &result) && result.user &&
		    memory_page(reader->cpu, result.gpa, &page) && page.hva)
			reader->page = page.hva;
	}
	return reader->page ? reader->page + (gva & 0xfff) : NULL;
}

/* An aligned word of the program's width; what is not there is 0. */
static uint64_t word_at(struct page_reader *reader, uint64_t gva)
{
	const uint8_t *bytes = look(reader, gva);

	if (!bytes)
		return 0;
	return cpu_is_64(reader->cpu) ? bytes_load64(bytes) : bytes_load32(bytes);
}

/* Where the path is, or 0: System V ABI, AMD64 supplement §3.4.1, and Intel386 supplement §2.3.1. */
static uint64_t find_path(struct page_reader *reader, uint64_t stack)
{
	const unsigned size = cpu_is_64(reader->cpu) ? 8 : 4;
	uint64_t argc = word_at(reader, stack), at = stack + size;
	unsigned left = WORDS_MAX;

	if ((stack & (size - 1)) || argc > WORDS_MAX)
		return 0;
	at += (argc + 1) * size;
	while (left-- && word_at(reader, at))
		at += size;
	for (at += size; left < WORDS_MAX && left--; at += 2 * size) {
		uint64_t type = word_at(reader, at);

		if (type == AT_EXECFN)
			return word_at(reader, at + size);
		if (type == AT_NULL)
			return 0;
	}
	return 0;
}

/* Its path's hash, never 0, and the path's end as `name`. */
static uint64_t read_path(struct page_reader *reader, uint64_t path, char name[PROGRAM_NAME])
{
	uint64_t hash = 0xcbf29ce484222325ull;
	unsigned length = 0, from;

	for (; length < PATH_MAX_; length++) {
		const uint8_t *byte = look(reader, path + length);

		if (!byte || !*byte)
			break;
		hash = (hash ^ *byte) * 0x100000001b3ull;
	}
	from = length < PROGRAM_NAME ? 0 : length - (PROGRAM_NAME - 1);
	for (unsigned i = from; i < length; i++) {
		const uint8_t *byte = look(reader, path + i);

		name[i - from] = byte && *byte > 0x20 && *byte < 0x7f ? (char)*byte : '?';
	}
	name[length - from] = 0;
	return hash | 1;
}

struct program *program_of(struct programs *programs, uint64_t hash)
{
	struct program *program = &programs->all[1 + (hash >> 8) % (PROGRAMS - 1)];

	return hash && program->hash == hash ? program : &programs->all[0];
}

struct program *program_find(struct programs *programs, struct cpu *cpu)
{
	struct page_reader reader = { .cpu = cpu };
	uint64_t path = find_path(&reader, cpu->gpr[CPU_RSP]), hash;
	struct program *program, *others = &programs->all[0];
	char name[PROGRAM_NAME] = "";

	if (!path)
		return others;
	hash = read_path(&reader, path, name);
	program = &programs->all[1 + (hash >> 8) % (PROGRAMS - 1)];
	if (program->hash != hash) {
		others->starts += program->starts;
		others->crossings += program->crossings;
		others->direct += program->direct;
		others->translated += program->translated;
		*program = (struct program){ .hash = hash };
		bytes_copy(program->name, name, sizeof(name));
	}
	program->starts++;
	return program;
}

/* -- for people -- */

static uint64_t cost_of(const struct program *program)
{
	return program->direct + program->translated;
}

/* The one that comes behind `before` (NULL: first) by its cost, or NULL. */
static const struct program *next_costly(const struct programs *programs, const struct program *before)
{
	const struct program *best = NULL;

	for (unsigned i = 0; i < PROGRAMS; i++) {
		const struct program *program = &programs->all[i];

		if (!cost_of(program) || (before && (cost_of(program) > cost_of(before) ||
						     (cost_of(program) == cost_of(before) && program <= before))))
			continue;
		if (!best || cost_of(program) > cost_of(best))
			best = program;
	}
	return best;
}

static void show(const struct program *program, const char *what, uint64_t value, tier_visitor *visit,
		 void *context)
{
	static const char begin[] = "program ", unknown[] = "(others)";
	char line[sizeof(begin) + PROGRAM_NAME + 48];
	const char *parts[] = { begin, program->name[0] ? program->name : unknown, ": ", what };
	unsigned length = 0;

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (const char *at = parts[i]; *at && length + 1 < sizeof(line); at++)
			line[length++] = *at;
	line[length] = 0;
	visit(context, line, value);
}

void programs_visit(const struct programs *programs, uint64_t ticks_of_ms, tier_visitor *visit, void *context)
{
	const struct program *program = NULL;

	for (unsigned i = 0; i < SHOWN; i++) {
		program = next_costly(programs, program);
		if (!program)
			return;
		show(program, "starts", program->starts, visit, context);
		show(program, "ms directly, with crossings", program->direct / ticks_of_ms, visit, context);
		show(program, "crossings", program->crossings, visit, context);
		show(program, "ms translated", program->translated / ticks_of_ms, visit, context);
	}
}
