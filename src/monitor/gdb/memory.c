#include "monitor/gdb/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE  4096u
#define INT3  0xcc
#define PLANTED_MAX 4096u /* a peer's wishes take no more memory than that */

void gdb_memory_free(struct gdb_memory *memory)
{
	free(memory->planted);
	memory->planted = NULL;
	memory->planted_count = memory->planted_room = 0;
}

int gdb_memory_translate(const struct gdb_memory *memory, unsigned cpu, uint64_t gva, uint64_t *gpa)
{
	struct kvm_translation translation = {.linear_address = gva};

	if (kvm_vcpu_ioctl(memory->target->vcpus[cpu], KVM_TRANSLATE, &translation) < 0 ||
	    !translation.valid)
		return -EFAULT;
	*gpa = translation.physical_address;
	return kvm_vm_memory_at(memory->target->vm, *gpa, NULL) ? 0 : -EFAULT;
}

bool gdb_memory_is_ram(const struct gdb_memory *memory, uint64_t gpa)
{
	const uint8_t *ram = guest_memory_at(memory->target->memory, gpa, 1);

	return ram && ram == kvm_vm_memory_at(memory->target->vm, gpa, NULL);
}

/* The same for an address of whichever kind addresses are. */
static int find(const struct gdb_memory *memory, unsigned cpu, uint64_t address, uint64_t *gpa)
{
	*gpa = address;
	if (!memory->is_physical)
		return gdb_memory_translate(memory, cpu, address, gpa);
	return kvm_vm_memory_at(memory->target->vm, address, NULL) ? 0 : -EFAULT;
}

static struct gdb_planted *find_planted(const struct gdb_memory *memory, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < memory->planted_count; i++)
		if (memory->planted[i].gpa == gpa)
			return &memory->planted[i];
	return NULL;
}

/* Bytes of one page, as they are below what is planted. */
static int read_page(const struct gdb_memory *memory, uint64_t gpa, uint8_t *bytes, size_t size)
{
	uint64_t left = 0;
	const uint8_t *from = kvm_vm_memory_at(memory->target->vm, gpa, &left);
	unsigned i;

	if (!from || left < size)
		return -EFAULT;
	memcpy(bytes, from, size);
	for (i = 0; i < memory->planted_count; i++) {
		const struct gdb_planted *planted = &memory->planted[i];

		if (planted->gpa >= gpa && planted->gpa - gpa < size &&
		    bytes[planted->gpa - gpa] == INT3)
			bytes[planted->gpa - gpa] = planted->original;
	}
	return 0;
}

static int write_page(struct gdb_memory *memory, uint64_t gpa, const uint8_t *bytes, size_t size)
{
	const struct guest_memory *ram = memory->target->memory;
	const uint8_t int3 = INT3;
	unsigned i;
	int result = guest_memory_write(ram, gpa, bytes, size);

	for (i = 0; i < memory->planted_count && result == 0; i++) {
		struct gdb_planted *planted = &memory->planted[i];

		if (planted->gpa < gpa || planted->gpa - gpa >= size)
			continue;
		planted->original = bytes[planted->gpa - gpa];
		result = guest_memory_write(ram, planted->gpa, &int3, 1);
	}
	return result;
}

static size_t in_page(uint64_t address, size_t size)
{
	size_t left = PAGE - address % PAGE;

	return size < left ? size : left;
}

size_t gdb_memory_read(const struct gdb_memory *memory, unsigned cpu, uint64_t address, void *bytes,
		       size_t size)
{
	size_t done = 0, part;
	uint64_t gpa;

	for (; done < size; done += part) {
		part = in_page(address + done, size - done);
		if (find(memory, cpu, address + done, &gpa) < 0 ||
		    read_page(memory, gpa, (uint8_t *)bytes + done, part) < 0)
			break;
	}
	return done;
}

int gdb_memory_write(struct gdb_memory *memory, unsigned cpu, uint64_t address, const void *bytes,
		     size_t size)
{
	size_t done, part;
	uint64_t gpa;
	bool is_writing = false;

	/* Twice: nothing is written of what cannot be written as a whole. */
	do {
		for (done = 0; done < size; done += part) {
			part = in_page(address + done, size - done);
			if (find(memory, cpu, address + done, &gpa) < 0 ||
			    !gdb_memory_is_ram(memory, gpa) ||
			    !guest_memory_contains(memory->target->memory, gpa, part))
				return -EFAULT;
			if (is_writing &&
			    write_page(memory, gpa, (const uint8_t *)bytes + done, part) < 0)
				return -EFAULT;
		}
		is_writing = !is_writing;
	} while (is_writing);
	return 0;
}

int gdb_memory_plant(struct gdb_memory *memory, uint64_t gpa)
{
	const uint8_t int3 = INT3;
	struct gdb_planted *planted = memory->planted;
	uint8_t original;
	unsigned room;

	if (find_planted(memory, gpa))
		return 0;
	if (memory->planted_count == PLANTED_MAX)
		return -ENOSPC;
	if (memory->planted_count == memory->planted_room) {
		room = memory->planted_room ? 2 * memory->planted_room : 16;
		planted = realloc(planted, room * sizeof(*planted));
		if (!planted)
			return -ENOMEM;
		memory->planted = planted;
		memory->planted_room = room;
	}
	if (!gdb_memory_is_ram(memory, gpa) ||
	    guest_memory_read(memory->target->memory, gpa, &original, 1) < 0 ||
	    guest_memory_write(memory->target->memory, gpa, &int3, 1) < 0)
		return -EFAULT;
	planted[memory->planted_count++] = (struct gdb_planted){gpa, original};
	return 0;
}

bool gdb_memory_is_planted(const struct gdb_memory *memory, uint64_t gpa)
{
	return find_planted(memory, gpa) != NULL;
}

bool gdb_memory_is_overgrown(const struct gdb_memory *memory, uint64_t gpa)
{
	uint8_t there = INT3;

	return find_planted(memory, gpa) &&
	       (guest_memory_read(memory->target->memory, gpa, &there, 1) < 0 || there != INT3);
}

void gdb_memory_unplant(struct gdb_memory *memory, uint64_t gpa)
{
	struct gdb_planted *planted = find_planted(memory, gpa);

	if (!planted)
		return;
	if (!gdb_memory_is_overgrown(memory, gpa))
		guest_memory_write(memory->target->memory, gpa, &planted->original, 1);
	*planted = memory->planted[--memory->planted_count];
}
