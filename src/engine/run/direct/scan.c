#include "engine/run/direct/scan.h"

#include <stddef.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "util/page.h"

/* In a key's low bits is the verdict + 1, below what was allowed. */
#define KEY_VERDICT   3u
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
 * How many instructions in a row must look like code before one is believed: the first in a page may begin
 * in the page before, and between functions of compilers that run inside the guest there is data. But what is code for
 * certain (sensitive.h) is believed behind one.
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

static bool has_trap(const struct scan_traps *traps, unsigned escape)
{
	for (unsigned i = 0; i < traps->count; i++)
		if (traps->at[i] == escape)
			return true;
	return false;
}

/* What stands at `escape` is to be a trap. False: it cannot be, or there are too many. */
static bool add_trap(struct scan_traps *traps, const uint8_t *bytes, unsigned escape)
{
	if (has_trap(traps, escape))
		return true;
	if (traps->count == SCAN_TRAPS || !sensitive_is_trappable(bytes, escape))
		return false;
	traps->at[traps->count++] = (uint16_t)escape;
	return true;
}

static enum scan_verdict scan(struct cpu *cpu, const uint8_t *bytes, unsigned entry, unsigned allowed,
			      struct scan_traps *traps)
{
	struct insn_glance glance;
	unsigned in_row = 0, escape;

	traps->count = 0;
	if (!sensitive_may_begin(bytes, allowed))
		return SCAN_CLEAN;
	/* Where it is entered now, there is code. */
	if (sensitive_begins(bytes, entry, allowed, &escape) &&
	    !sensitive_is_harmless(cpu, bytes, escape, allowed) && !add_trap(traps, bytes, escape))
		return SCAN_SENSITIVE;
	for (unsigned at = 0; at < PAGE_SIZE;) {
		bool begins = sensitive_begins(bytes, at, allowed, &escape), is_known;
		unsigned length;

		if (begins && in_row && !has_trap(traps, escape) && !sensitive_is_harmless(cpu, bytes, escape, allowed) &&
		    (sensitive_is_certain(bytes, escape) ? !add_trap(traps, bytes, escape) : in_row >= BELIEVED))
			return SCAN_SENSITIVE;
		is_known = insn_glance(&glance, bytes + at, PAGE_SIZE - at, cpu->mode, &cpu->rules);
		length = is_known ? glance.length : 0;
		/* What is sensitive may be hidden from the guest, and be undefined by that. */
		if (!is_known && begins)
			length = 2;
		in_row = looks_like_data(bytes + at, length) ? 0 : in_row + 1;
		at += length ? length : 1;
	}
	return traps->count ? SCAN_TRAPS_DO : SCAN_CLEAN;
}

static struct scan_entry *find(const struct scan_cache *cache, uint64_t gpa, unsigned allowed)
{
	const struct scan_entry *entry = &cache->entries[gpa / PAGE_SIZE % SCAN_ENTRIES];
	uint64_t key = (gpa & ~(uint64_t)(PAGE_SIZE - 1)) | allowed << ALLOWED_SHIFT;

	return (entry->key & ~(uint64_t)KEY_VERDICT) == key && (entry->key & KEY_VERDICT) ?
		       (struct scan_entry *)entry : NULL;
}

static enum scan_verdict verdict_of(const struct scan_entry *entry)
{
	return (enum scan_verdict)((entry->key & KEY_VERDICT) - 1);
}

enum scan_verdict scan_page(struct scan_cache *cache, struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
			    unsigned allowed, bool is_marked)
{
	uint64_t page = gpa & ~(uint64_t)(PAGE_SIZE - 1), hash, now = 1 + cpu->code_epoch;
	struct scan_entry *entry = find(cache, gpa, allowed);
	struct scan_traps traps;
	enum scan_verdict verdict;

	if (entry && is_marked && entry->compared == now)
		return verdict_of(entry);
	hash = hash_page(bytes);
	if (entry && entry->hash == hash) {
		cache->hits++;
		entry->compared = is_marked ? now : 0;
		return verdict_of(entry);
	}
	verdict = scan(cpu, bytes, gpa % PAGE_SIZE, allowed, &traps);
	cache->scans++;
	cache->entries[gpa / PAGE_SIZE % SCAN_ENTRIES] = (struct scan_entry){
		.key = page | allowed << ALLOWED_SHIFT | (verdict + 1u),
		.hash = hash,
		.sample = hash_sample(bytes),
		.compared = is_marked ? now : 0,
	};
	return verdict;
}

bool scan_find_traps(struct scan_cache *cache, struct cpu *cpu, uint64_t gpa, const uint8_t *bytes,
		     unsigned allowed, struct scan_traps *traps)
{
	struct scan_entry *entry = find(cache, gpa, allowed);

	if (scan(cpu, bytes, gpa % PAGE_SIZE, allowed, traps) == SCAN_TRAPS_DO)
		return true;
	/* It was entered elsewhere before. */
	if (entry)
		entry->key = (entry->key & ~(uint64_t)KEY_VERDICT) | (SCAN_SENSITIVE + 1u);
	return false;
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

	/* What is clean with another half of its last instruction is so with any. */
	if (!entry)
		entry = find(cache, gpa, allowed | SENSITIVE_CUT);
	return entry && verdict_of(entry) == SCAN_CLEAN &&
	       (entry->compared == 1 + cpu->code_epoch || entry->sample == hash_sample(bytes));
}
