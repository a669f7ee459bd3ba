#include "machine/acpi/aml.h"

#include <string.h>

#define OP_ZERO	    0x00
#define OP_ONE	    0x01
#define OP_NAME	    0x08
#define OP_BYTE	    0x0a
#define OP_WORD	    0x0b
#define OP_DWORD    0x0c
#define OP_STRING   0x0d
#define OP_QWORD    0x0e
#define OP_SCOPE    0x10
#define OP_BUFFER   0x11
#define OP_PACKAGE  0x12
#define OP_METHOD   0x14
#define OP_IF	    0xa0
#define OP_ELSE	    0xa1
#define OP_WHILE    0xa2
#define OP_EXTENDED 0x5b
/* After OP_EXTENDED: */
#define OP_MUTEX    0x01
#define OP_ACQUIRE  0x23
#define OP_RELEASE  0x27
#define OP_REGION   0x80
#define OP_FIELD    0x81
#define OP_DEVICE   0x82
#define REGION_IO   0x01
#define FIELD_DWORD 0x03 /* access by doublewords, no lock, bits beside are kept */
#define FIELD_BYTE  0x41 /* access by bytes, no lock, bits beside are written as zeroes */
#define FIELD_GAP   0x00
#define WAIT_FOR_EVER 0xffff
#define PREFIX_DUAL  0x2e
#define PREFIX_MULTI 0x2f

#define SEGMENT_BYTES 4
#define MAX_SEGMENTS  8

/* Resource descriptors (§6.4). */
#define SMALL_IRQ  0x22 /* without flags: edge, active high */
#define SMALL_IO   0x47
#define SMALL_END  0x79
#define LARGE_INTERRUPT    0x89
#define INTERRUPT_CONSUMER 0x01 /* level-triggered, active high, exclusive */
#define LARGE_WORD_RANGE  0x88
#define LARGE_DWORD_RANGE 0x87
#define LARGE_QWORD_RANGE 0x8a
#define LARGE_MEMORY_FIXED 0x86
#define RANGE_MEMORY 0
#define RANGE_IO     1
#define RANGE_BUS    2
#define RANGE_FIXED  0x0c /* minimum and maximum are fixed, positive decode, producer */

void aml_bytes(struct aml *aml, const void *bytes, size_t size)
{
	if (aml->is_full || size > aml->capacity - aml->used) {
		aml->is_full = true;
		return;
	}
	memcpy(aml->bytes + aml->used, bytes, size);
	aml->used += size;
}

static void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

void aml_name(struct aml *aml, const char *name)
{
	char segments[MAX_SEGMENTS][SEGMENT_BYTES];
	unsigned count = 0, length;

	if (*name == '\\') {
		aml_byte(aml, '\\');
		name++;
	}
	memset(segments, '_', sizeof(segments));
	while (*name && count < MAX_SEGMENTS) {
		length = strcspn(name, ".");
		memcpy(segments[count++], name, length < SEGMENT_BYTES ? length : SEGMENT_BYTES);
		name += length + (name[length] == '.');
	}
	if (count == 0)
		aml_byte(aml, 0);
	else if (count == 2)
		aml_byte(aml, PREFIX_DUAL);
	else if (count > 2) {
		aml_byte(aml, PREFIX_MULTI);
		aml_byte(aml, count);
	}
	aml_bytes(aml, segments, count * SEGMENT_BYTES);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
		return;
	}
	aml_byte(aml, value <= UINT8_MAX    ? OP_BYTE
		      : value <= UINT16_MAX ? OP_WORD
		      : value <= UINT32_MAX ? OP_DWORD
					    : OP_QWORD);
	aml_bytes(aml, &value, value <= UINT8_MAX    ? 1
			       : value <= UINT16_MAX ? 2
			       : value <= UINT32_MAX ? 4
						     : 8);
}

static void add_string(struct aml *aml, const char *text)
{
	aml_byte(aml, OP_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char digit)
{
	return digit <= '9' ? digit - '0' : digit - 'A' + 10;
}

/* A seven-character EISA id as "PNP0501", in its compressed form. */
static void add_eisa_id(struct aml *aml, const char *id)
{
	/* Three letters of five bits, four hexadecimal digits, big-endian (§19.3.4). */
	uint8_t packed[4] = {
		(id[0] - '@') << 2 | (id[1] - '@') >> 3,
		(id[1] - '@') << 5 | (id[2] - '@'),
		hex_digit(id[3]) << 4 | hex_digit(id[4]),
		hex_digit(id[5]) << 4 | hex_digit(id[6]),
	};

	aml_byte(aml, OP_DWORD);
	aml_bytes(aml, packed, sizeof(packed));
}

size_t aml_scope_begin(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_SCOPE);
	mark = aml->used;
	aml_name(aml, name);
	return mark;
}

size_t aml_device_begin(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_DEVICE);
	mark = aml->used;
	aml_name(aml, name);
	return mark;
}

size_t aml_package_begin(struct aml *aml, uint8_t elements)
{
	size_t mark;

	aml_byte(aml, OP_PACKAGE);
	mark = aml->used;
	aml_byte(aml, elements);
	return mark;
}

size_t aml_method_begin(struct aml *aml, const char *name, unsigned arguments)
{
	size_t mark;

	aml_byte(aml, OP_METHOD);
	mark = aml->used;
	aml_name(aml, name);
	aml_byte(aml, arguments); /* not serialized */
	return mark;
}

size_t aml_if_begin(struct aml *aml)
{
	aml_byte(aml, OP_IF);
	return aml->used;
}

size_t aml_else_begin(struct aml *aml)
{
	aml_byte(aml, OP_ELSE);
	return aml->used;
}

size_t aml_while_begin(struct aml *aml)
{
	aml_byte(aml, OP_WHILE);
	return aml->used;
}

void aml_operator(struct aml *aml, uint8_t code)
{
	aml_byte(aml, code);
}

/* Put the PkgLength, which counts itself, before what follows `mark` (§20.2.4). */
void aml_end(struct aml *aml, size_t mark)
{
	uint8_t encoded[4];
	size_t content = aml->used - mark, length, i;
	unsigned bytes = content + 1 < 0x40	  ? 1
			 : content + 2 < 0x1000	  ? 2
			 : content + 3 < 0x100000 ? 3
						  : 4;

	if (aml->is_full || bytes > aml->capacity - aml->used) {
		aml->is_full = true;
		return;
	}
	length = content + bytes;
	if (bytes == 1) {
		encoded[0] = length;
	} else {
		encoded[0] = (bytes - 1) << 6 | (length & 0xf);
		for (i = 1; i < bytes; i++)
			encoded[i] = length >> (4 + 8 * (i - 1));
	}
	memmove(aml->bytes + mark + bytes, aml->bytes + mark, content);
	memcpy(aml->bytes + mark, encoded, bytes);
	aml->used += bytes;
}

void aml_buffer(struct aml *aml, const void *bytes, size_t size)
{
	size_t mark;

	aml_byte(aml, OP_BUFFER);
	mark = aml->used;
	aml_integer(aml, size);
	aml_bytes(aml, bytes, size);
	aml_end(aml, mark);
}

void aml_no_target(struct aml *aml)
{
	aml_byte(aml, 0);
}

static void add_extended(struct aml *aml, uint8_t code, const char *name)
{
	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, code);
	aml_name(aml, name);
}

void aml_io_region(struct aml *aml, const char *name, uint16_t port, uint8_t bytes)
{
	add_extended(aml, OP_REGION, name);
	aml_byte(aml, REGION_IO);
	aml_integer(aml, port);
	aml_integer(aml, bytes);
}

static size_t begin_fields(struct aml *aml, const char *region, uint8_t flags)
{
	size_t mark;

	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_FIELD);
	mark = aml->used;
	aml_name(aml, region);
	aml_byte(aml, flags);
	return mark;
}

size_t aml_fields_begin(struct aml *aml, const char *region)
{
	return begin_fields(aml, region, FIELD_DWORD);
}

size_t aml_byte_fields_begin(struct aml *aml, const char *region)
{
	return begin_fields(aml, region, FIELD_BYTE);
}

/* A PkgLength counts bits here, and not its own bytes. */
static void add_bits(struct aml *aml, unsigned bits)
{
	if (bits < 0x40) {
		aml_byte(aml, bits);
		return;
	}
	aml_byte(aml, 1 << 6 | (bits & 0xf));
	aml_byte(aml, bits >> 4);
}

void aml_field(struct aml *aml, const char *name, unsigned bits)
{
	aml_name(aml, name);
	add_bits(aml, bits);
}

void aml_field_gap(struct aml *aml, unsigned bits)
{
	aml_byte(aml, FIELD_GAP);
	add_bits(aml, bits);
}

void aml_field32(struct aml *aml, const char *name)
{
	aml_field(aml, name, 32);
}

void aml_mutex(struct aml *aml, const char *name)
{
	add_extended(aml, OP_MUTEX, name);
	aml_byte(aml, 0);
}

void aml_acquire(struct aml *aml, const char *name)
{
	const uint16_t timeout = WAIT_FOR_EVER;

	add_extended(aml, OP_ACQUIRE, name);
	aml_bytes(aml, &timeout, sizeof(timeout));
}

void aml_release(struct aml *aml, const char *name)
{
	add_extended(aml, OP_RELEASE, name);
}

void aml_name_declare(struct aml *aml, const char *name)
{
	aml_byte(aml, OP_NAME);
	aml_name(aml, name);
}

void aml_name_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_name_declare(aml, name);
	aml_integer(aml, value);
}

void aml_name_eisa_id(struct aml *aml, const char *name, const char *id)
{
	aml_name_declare(aml, name);
	add_eisa_id(aml, id);
}

void aml_name_string(struct aml *aml, const char *name, const char *text)
{
	aml_name_declare(aml, name);
	add_string(aml, text);
}

static void resource_bytes(struct aml_resources *resources, const void *bytes, size_t size)
{
	if (size > sizeof(resources->bytes) - resources->used)
		return; /* a board with that many resources in one device has to raise the size */
	memcpy(resources->bytes + resources->used, bytes, size);
	resources->used += size;
}

void aml_resource_io(struct aml_resources *resources, uint16_t first, uint8_t count)
{
	uint8_t descriptor[] = {SMALL_IO, 1, first, first >> 8, first, first >> 8, 1, count};

	resource_bytes(resources, descriptor, sizeof(descriptor));
}

void aml_resource_irq(struct aml_resources *resources, unsigned irq)
{
	uint8_t descriptor[] = {SMALL_IRQ, 1u << irq, 1u << irq >> 8};

	resource_bytes(resources, descriptor, sizeof(descriptor));
}

static void word_range(struct aml_resources *resources, uint8_t type, uint8_t type_flags,
		       uint16_t first, uint16_t last)
{
	struct {
		uint8_t tag;
		uint16_t length;
		uint8_t type, flags, type_flags;
		uint16_t granularity, first, last, translation, count;
	} __attribute__((packed)) descriptor = {
		LARGE_WORD_RANGE, sizeof(descriptor) - 3, type, RANGE_FIXED, type_flags, 0, first,
		last, 0, last - first + 1};

	resource_bytes(resources, &descriptor, sizeof(descriptor));
}

void aml_resource_bus_range(struct aml_resources *resources, uint16_t first, uint16_t last)
{
	word_range(resources, RANGE_BUS, 0, first, last);
}

void aml_resource_io_range(struct aml_resources *resources, uint16_t first, uint16_t last)
{
	word_range(resources, RANGE_IO, 3, first, last); /* 3: both ISA and other ranges */
}

void aml_resource_memory_range(struct aml_resources *resources, uint32_t first, uint32_t last)
{
	struct {
		uint8_t tag;
		uint16_t length;
		uint8_t type, flags, type_flags;
		uint32_t granularity, first, last, translation, count;
	} __attribute__((packed)) descriptor = {
		LARGE_DWORD_RANGE, sizeof(descriptor) - 3, RANGE_MEMORY, RANGE_FIXED, 1, 0, first,
		last, 0, last - first + 1}; /* 1: read and write, not cacheable */

	resource_bytes(resources, &descriptor, sizeof(descriptor));
}

void aml_resource_memory_range64(struct aml_resources *resources, uint64_t first, uint64_t last)
{
	struct {
		uint8_t tag;
		uint16_t length;
		uint8_t type, flags, type_flags;
		uint64_t granularity, first, last, translation, count;
	} __attribute__((packed)) descriptor = {
		LARGE_QWORD_RANGE, sizeof(descriptor) - 3, RANGE_MEMORY, RANGE_FIXED, 1, 0, first,
		last, 0, last - first + 1};

	resource_bytes(resources, &descriptor, sizeof(descriptor));
}

void aml_resource_memory_fixed(struct aml_resources *resources, uint32_t first, uint32_t bytes)
{
	struct {
		uint8_t tag;
		uint16_t length;
		uint8_t is_writable;
		uint32_t first, bytes;
	} __attribute__((packed)) descriptor = {
		LARGE_MEMORY_FIXED, sizeof(descriptor) - 3, 1, first, bytes};

	resource_bytes(resources, &descriptor, sizeof(descriptor));
}

void aml_resource_interrupt(struct aml_resources *resources, uint32_t gsi)
{
	struct {
		uint8_t tag;
		uint16_t length;
		uint8_t flags, count;
		uint32_t gsi;
	} __attribute__((packed)) descriptor = {
		LARGE_INTERRUPT, sizeof(descriptor) - 3, INTERRUPT_CONSUMER, 1, gsi};

	resource_bytes(resources, &descriptor, sizeof(descriptor));
}

void aml_current_resources(struct aml *aml, const struct aml_resources *resources)
{
	static const uint8_t end_tag[] = {SMALL_END, 0}; /* a checksum of 0 means none */
	size_t mark;

	aml_name_declare(aml, "_CRS");
	aml_byte(aml, OP_BUFFER);
	mark = aml->used;
	aml_integer(aml, resources->used + sizeof(end_tag));
	aml_bytes(aml, resources->bytes, resources->used);
	aml_bytes(aml, end_tag, sizeof(end_tag));
	aml_end(aml, mark);
}
