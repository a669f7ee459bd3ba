#include "engine/run/direct/scan.h"

#include <stddef.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/fpu/fpu_state.h"
#include "engine/x86/host/host.h"

#define PAGE_SIZE 4096u
#define MASK_DISTANCE 96u /* bytes before XSAVE, in which its mask is loaded */

/* In a key's low bits, below what was allowed. */
enum verdict { VERDICT_CLEAN = 1, VERDICT_SENSITIVE = 2 };

#define ALLOWED_SHIFT 2
#define SAMPLE_BYTES  1536u /* apart */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9fb21c651e98df25ull;
	return hash << 29 | hash >> 35;
}

/* Four chains: a multiplication takes three cycles, and one can begin in each. */
static uint64_t hash_page(const uint8_t *bytes)
{
	uint64_t a = 0x9e3779b97f4a7c15ull, b = 0xc2b2ae3d27d4eb4full, c = 0xd6e8feb86659fd93ull,
		 d = 0xa0761d6478bd642full;

	for (unsigned i = 0; i < PAGE_SIZE; i += 32) {
		a = mix(a, bytes_load64(bytes + i));
		b = mix(b, bytes_load64(bytes + i + 8));
		c = mix(c, bytes_load64(bytes + i + 16));
		d = mix(d, bytes_load64(bytes + i + 24));
	}
	return mix(mix(mix(a, b), c), d);
}

static uint64_t hash_sample(const uint8_t *bytes)
{
	uint64_t hash = 0;

	for (unsigned i = 320; i < PAGE_SIZE; i += SAMPLE_BYTES)
		hash = mix(hash, bytes_load64(bytes + i));
	return hash;
}

/*
 * What follows 0F, with its ModRM byte: Intel SDM vol. 2, appendix A, table A-3 and A.4's groups. Left
 * alone are SGDT, SLDT and theirs, which nobody uses and hosts with UMIP answer with nothing of use; and
 * SYSENTER, which no 64-bit program uses, and data between functions looks like: the stub comes back with a
 * code segment that is none of its, which is #GP. LSL is how programs and the vDSO ask for their CPU's number, with
 * a selector in a register; with one in memory it is data, too.
 */
static bool is_sensitive(uint8_t opcode, uint8_t modrm, bool has_repeat, unsigned allowed)
{
	switch (opcode) {
	case 0x01:
		switch (modrm) {
		case 0xc1: /* VMCALL */
		case 0xd0: /* XGETBV */
		case 0xd9: /* VMMCALL */
		case 0xf9: /* RDTSCP */
			return true;
		case 0xee: /* RDPKRU */
		case 0xef: /* WRPKRU */
			return !(allowed & SCAN_PKRU);
		default:
			return false;
		}
	case 0x03: return modrm >= 0xc0; /* LSL of a register */
	case 0x31: return !(allowed & SCAN_RDTSC);
	case 0xa2: return !(allowed & SCAN_CPUID);
	case 0xc7: return has_repeat && modrm >= 0xf8; /* RDPID */
	default: return false;
	}
}

/*
 * XSAVE and XSAVEC (0F AE /4, 0F C7 /4) where the host has components that the guest has not: with a mask of all ones
 * they would be written behind what the guest's CPUID says. Code of C libraries loads its mask into EAX shortly
 * before, and is as good as it says.
 */
static bool saves_too_much(const uint8_t *bytes, unsigned at, uint8_t opcode, uint8_t modrm)
{
	uint64_t hidden = host.xcr0 & ~fpu_layout.components;

	if (!hidden || (opcode != 0xae && opcode != 0xc7) || (modrm >> 3 & 7) != 4 || modrm >= 0xc0)
		return false;
	for (unsigned back = 5; back <= MASK_DISTANCE && back <= at; back++)
		if (bytes[at - back] == 0xb8)
			return (bytes_load32(bytes + at - back + 1) & hidden) != 0;
	return true;
}

static bool is_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0x66: case 0x67:
	case 0xf0: case 0xf2: case 0xf3:
		return true;
	default:
		return (byte & 0xf0) == 0x40; /* REX */
	}
}

/* Whether the instruction at `at`, cut off at the page's end or not, is one. */
static bool begins_sensitive(const uint8_t *bytes, unsigned at, unsigned allowed)
{
	bool has_repeat = false;
	uint8_t modrm;

	for (; at < PAGE_SIZE && is_prefix(bytes[at]); at++)
		has_repeat |= bytes[at] == 0xf3;
	if (at + 1 >= PAGE_SIZE || bytes[at] != 0x0f)
		return false;
	modrm = at + 2 < PAGE_SIZE ? bytes[at + 2] : 0xff;
	return is_sensitive(bytes[at + 1], modrm, has_repeat, allowed) ||
	       saves_too_much(bytes, at, bytes[at + 1], modrm);
}

/* Whether any byte begins one: most pages have none, and need no decoding. */
static bool has_candidate(const uint8_t *bytes, unsigned allowed)
{
	for (unsigned i = 0; i + 1 < PAGE_SIZE; i++) {
		bool has_repeat = false;
		uint8_t modrm;

		if (bytes[i] != 0x0f)
			continue;
		for (unsigned k = i; k > 0 && is_prefix(bytes[k - 1]); k--)
			has_repeat |= bytes[k - 1] == 0xf3;
		modrm = i + 2 < PAGE_SIZE ? bytes[i + 2] : 0xff;
		if (is_sensitive(bytes[i + 1], modrm, has_repeat, allowed) ||
		    saves_too_much(bytes, i, bytes[i + 1], modrm))
			return true;
	}
	return false;
}

/*
 * How many instructions in a row must look like code before one is believed: the first in a page may begin
 * in the page before, and between functions of compilers that run inside the guest there is data.
 */
#define BELIEVED 4u

/* What data decodes to, and programs do not hold: zeroes, what is undefined, ports. */
static bool looks_like_data(const uint8_t *bytes, unsigned length)
{
	if (!length || (bytes[0] == 0 && (length < 2 || bytes[1] == 0)))
		return true;
	return (bytes[0] >= 0x6c && bytes[0] <= 0x6f) || (bytes[0] >= 0xe4 && bytes[0] <= 0xe7) ||
	       (bytes[0] >= 0xec && bytes[0] <= 0xef) || (bytes[0] >= 0xfa && bytes[0] <= 0xfb);
}

static bool scan(struct cpu *cpu, const uint8_t *bytes, unsigned entry, unsigned allowed)
{
	struct insn_glance glance;
	unsigned in_row = 0;

	if (!has_candidate(bytes, allowed))
		return true;
	/* Where it is entered now, there is code. */
	if (begins_sensitive(bytes, entry, allowed))
		return false;
	for (unsigned at = 0; at < PAGE_SIZE;) {
		unsigned length;
		bool is_known;

		if (in_row >= BELIEVED && begins_sensitive(bytes, at, allowed))
			return false;
		is_known = insn_glance(&glance, bytes + at, PAGE_SIZE - at, cpu->mode, &cpu->rules);
		length = is_known ? glance.length : 0;
		/* What is sensitive may be hidden from the guest, and be undefined by that. */
		if (!is_known && begins_sensitive(bytes, at, allowed))
			length = 2;
		in_row = looks_like_data(bytes + at, length) ? 0 : in_row + 1;
		at += length ? length : 1;
	}
	return true;
}

static struct scan_entry *find(const struct scan_cache *cache, uint64_t gpa, unsigned allowed)
{
	const struct scan_entry *entry = &cache->entries[gpa / PAGE_SIZE % SCAN_ENTRIES];
	uint64_t key = (gpa & ~(uint64_t)(PAGE_SIZE - 1)) | allowed << ALLOWED_SHIFT;

	return (entry->key & ~(uint64_t)3) == key && (entry->key & 3) ? (struct scan_entry *)entry : NULL;
}

bool scan_is_clean(struct scan_cache *cache, struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
		   unsigned allowed, bool is_marked)
{
	uint64_t page = gpa & ~(uint64_t)(PAGE_SIZE - 1), hash, now = 1 + cpu->code_epoch;
	struct scan_entry *entry = find(cache, gpa, allowed);
	bool is_clean;

	if (entry && is_marked && entry->compared == now)
		return entry->key & VERDICT_CLEAN;
	hash = hash_page(bytes);
	if (entry && entry->hash == hash) {
		cache->hits++;
		entry->compared = is_marked ? now : 0;
		return entry->key & VERDICT_CLEAN;
	}
	is_clean = scan(cpu, bytes, gpa % PAGE_SIZE, allowed);
	cache->scans++;
	cache->entries[gpa / PAGE_SIZE % SCAN_ENTRIES] = (struct scan_entry){
		.key = page | allowed << ALLOWED_SHIFT | (is_clean ? VERDICT_CLEAN : VERDICT_SENSITIVE),
		.hash = hash,
		.sample = hash_sample(bytes),
		.compared = is_marked ? now : 0,
	};
	return is_clean;
}

void scan_forget(struct scan_cache *cache, uint64_t gpa, uint64_t last)
{
	uint64_t count = last / PAGE_SIZE - gpa / PAGE_SIZE + 1;

	if (count > SCAN_ENTRIES)
		count = SCAN_ENTRIES;
	for (uint64_t i = 0; i < count; i++)
		cache->entries[(gpa / PAGE_SIZE + i) % SCAN_ENTRIES].compared = 0;
}

bool scan_seems_same(const struct scan_cache *cache, const struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
		     unsigned allowed)
{
	const struct scan_entry *entry = find(cache, gpa, allowed);

	return entry && (entry->key & VERDICT_CLEAN) &&
	       (entry->compared == 1 + cpu->code_epoch || entry->sample == hash_sample(bytes));
}
