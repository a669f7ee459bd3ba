#include "monitor/look/memory.h"

#include <Zydis/Zydis.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/kvm.h"
#include "util/file.h"
#include "util/x86_registers.h"

#define PAGE	     4096u
#define COUNT_MAX    65536u
#define CODE_MAX     15 /* bytes of an instruction */
#define SAVE_PART    (64u << 10)

const char *look_format_parse(const char *text, struct look_format *format, struct error *error)
{
	static const char letters[] = "bhwg";
	unsigned long count;
	const char *size;
	char *end;

	text += strspn(text, " \t");
	if (*text != '/')
		return text;
	text++;
	if (isdigit((unsigned char)*text)) {
		count = strtoul(text, &end, 10);
		if (!count || count > COUNT_MAX) {
			error_set(error, EINVAL, "a format is of 1 to %u", COUNT_MAX);
			return NULL;
		}
		format->count = count;
		text = end;
	}
	for (; *text && !isspace((unsigned char)*text); text++) {
		size = strchr(letters, *text);
		if (size) {
			format->size = 1u << (size - letters);
		} else if (strchr("xduoci", *text)) {
			format->form = *text;
		} else {
			error_set(error, EINVAL, "invalid char in format: '%c'", *text);
			return NULL;
		}
	}
	return text + strspn(text, " \t");
}

bool look_translate(const struct look *look, uint64_t gva, uint64_t *gpa)
{
	struct kvm_translation translation = {.linear_address = gva};

	if (kvm_vcpu_ioctl(machine_cpu(look->machine, look->cpu), KVM_TRANSLATE, &translation) < 0 ||
	    !translation.valid)
		return false;
	*gpa = translation.physical_address;
	return true;
}

/* How many bytes from an address on can be read, up to `size`, and these. */
static size_t read_memory(const struct look *look, bool is_physical, uint64_t address, void *bytes, size_t size)
{
	const struct kvm_vm *vm = machine_vm(look->machine);
	const uint8_t *from;
	size_t done, part;
	uint64_t gpa, left;

	for (done = 0; done < size; done += part) {
		part = PAGE - (address + done) % PAGE;
		part = part < size - done ? part : size - done;
		gpa = address + done;
		if (!is_physical && !look_translate(look, address + done, &gpa))
			break;
		from = kvm_vm_memory_at(vm, gpa, &left);
		if (!from || left < part)
			break;
		memcpy((uint8_t *)bytes + done, from, part);
	}
	return done;
}

static void print_character(const struct look *look, uint8_t value)
{
	if (value == '\\' || value == '\'')
		hmp_print(look->text, "'\\%c'", value);
	else if (isprint(value))
		hmp_print(look->text, "'%c'", value);
	else
		hmp_print(look->text, "'\\x%02x'", value);
}

void look_print_number(const struct look *look, char form, uint64_t value)
{
	switch (form) {
	case 'o': hmp_print(look->text, "%#" PRIo64, value); break;
	case 'x': hmp_print(look->text, "%#" PRIx64, value); break;
	case 'u': hmp_print(look->text, "%" PRIu64, value); break;
	case 'c': print_character(look, value); break;
	default: hmp_print(look->text, "%" PRId64, (int64_t)value); break;
	}
}

/* All of one width, below one another. */
static void print_aligned(const struct look *look, const struct look_format *format, uint64_t value)
{
	unsigned bits = format->size * 8;
	int64_t with_sign = (int64_t)(value << (64 - bits)) >> (64 - bits);

	switch (format->form) {
	case 'o': hmp_print(look->text, "%#*" PRIo64, (int)(bits + 2) / 3 + 1, value); break;
	case 'x': hmp_print(look->text, "0x%0*" PRIx64, (int)bits / 4, value); break;
	case 'u': hmp_print(look->text, "%*" PRIu64, (int)(bits * 10 + 32) / 33, value); break;
	case 'c': print_character(look, value); break;
	default: hmp_print(look->text, "%*" PRId64, (int)(bits * 10 + 32) / 33 + 1, with_sign); break;
	}
}

static void print_numbers(const struct look *look, const struct look_format *format, bool is_physical,
			  uint64_t address)
{
	unsigned line = format->size == 1 ? 8 : 16 / format->size, i, j, here;
	uint8_t bytes[16];
	uint64_t value;

	for (i = 0; i < format->count && !look->text->is_full; i += here) {
		here = format->count - i < line ? format->count - i : line;
		hmp_print(look->text, "%016" PRIx64 ":", address);
		if (read_memory(look, is_physical, address, bytes, here * format->size) < here * format->size) {
			hmp_print(look->text, " Cannot access memory\n");
			return;
		}
		for (j = 0; j < here; j++) {
			value = 0;
			memcpy(&value, bytes + j * format->size, format->size);
			hmp_print(look->text, " ");
			print_aligned(look, format, value);
		}
		hmp_print(look->text, "\n");
		address += here * format->size;
	}
}

/* As the CPU's code segment has them. */
static void begin_decoding(const struct look *look, ZydisDecoder *decoder)
{
	struct kvm_sregs sregs = {0};

	kvm_vcpu_ioctl(machine_cpu(look->machine, look->cpu), KVM_GET_SREGS, &sregs);
	if ((sregs.efer & EFER_LMA) && sregs.cs.l)
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (sregs.cs.db)
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
}

static void print_instructions(const struct look *look, const struct look_format *format, bool is_physical,
			       uint64_t address)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction instruction;
	ZydisFormatter formatter;
	ZydisDecoder decoder;
	uint8_t bytes[CODE_MAX];
	char text[160];
	size_t size;
	unsigned i, j;

	begin_decoding(look, &decoder);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
	for (i = 0; i < format->count && !look->text->is_full; i++) {
		size = read_memory(look, is_physical, address, bytes, sizeof(bytes));
		hmp_print(look->text, "0x%08" PRIx64 ": ", address);
		if (!size) {
			hmp_print(look->text, "Cannot access memory\n");
			return;
		}
		if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, size, &instruction, operands)) ||
		    ZYAN_FAILED(ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
								instruction.operand_count_visible, text,
								sizeof(text), address, NULL))) {
			strcpy(text, "(bad)");
			instruction.length = 1;
		}
		for (j = 0; j < instruction.length; j++)
			hmp_print(look->text, " %02x", bytes[j]);
		hmp_print(look->text, "%*s %s\n", instruction.length < 8 ? 3 * (8 - instruction.length) : 0, "",
			  text);
		address += instruction.length;
	}
}

void look_memory(const struct look *look, const struct look_format *format, bool is_physical, uint64_t address)
{
	struct look_format bytes = *format;

	if (format->form == 'i') {
		print_instructions(look, format, is_physical, address);
		return;
	}
	if (format->form == 'c')
		bytes.size = 1;
	print_numbers(look, &bytes, is_physical, address);
}

int look_save(const struct look *look, bool is_physical, uint64_t address, uint64_t size_bytes, int fd,
	      struct error *error)
{
	uint8_t *bytes = malloc(SAVE_PART);
	uint64_t done;
	size_t part;
	int result = bytes ? 0 : error_set_errno(error, ENOMEM, "memory");

	for (done = 0; done < size_bytes && result == 0; done += part) {
		part = size_bytes - done < SAVE_PART ? size_bytes - done : SAVE_PART;
		if (read_memory(look, is_physical, address + done, bytes, part) < part)
			result = error_set(error, EFAULT, "Invalid addr 0x%016" PRIx64 "/size %" PRIu64
					   " specified", address, size_bytes);
		else if ((result = file_write_all(fd, bytes, part)) < 0)
			error_set_errno(error, -result, "cannot write the file");
	}
	free(bytes);
	return result;
}
