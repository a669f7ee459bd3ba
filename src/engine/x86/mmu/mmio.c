/*
 * The restart protocol of MMIO and port accesses (mmio.h; KVM api.rst 5, KVM_EXIT_MMIO,
 * KVM_EXIT_IO), and of MSR accesses that user space answers (KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR).
 */
#include "engine/x86/mmu/mmio.h"

#include <string.h>

#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/platform.h"
#include "engine/x86/mmu/watch.h"
#include "util/page.h"

#define FRAGMENTS   (sizeof((struct cpu_io){0}.fragments) / sizeof((struct cpu_io){0}.fragments[0]))
#define OPEN_BUS UINT64_MAX /* what reads give when nobody can answer */

/* More fragments in one instruction than are kept for its restart: no device wants XSAVE. */
static _Noreturn void too_many_fragments(struct cpu *cpu)
{
	io_reset(cpu);
	if (cpu->run) {
		cpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
		cpu->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
		cpu->run->internal.ndata = 0;
	}
	cpu_exit_to_user(cpu);
}

static void store_bytes(uint8_t *bytes, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		bytes[i] = value >> 8 * i;
}

static uint64_t load_bytes(const uint8_t *bytes, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

/* Put the fragment into cpu->run, for user space to answer. */
static void ask_user(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size, bool is_write,
		     bool is_port)
{
	struct kvm_run *run = cpu->run;

	if (is_port) {
		run->exit_reason = KVM_EXIT_IO;
		run->io.direction = is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
		run->io.size = size;
		run->io.port = address;
		run->io.count = 1;
		run->io.data_offset = KVM_PIO_PAGE_OFFSET * PAGE_SIZE;
		store_bytes((uint8_t *)run + run->io.data_offset, value, size);
		cpu->io.pio_pending = true;
	} else {
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = address;
		run->mmio.len = size;
		run->mmio.is_write = is_write;
		store_bytes(run->mmio.data, is_write ? value : 0, 8);
		cpu->io.mmio_pending = true;
	}
}

/*
 * One fragment: met before or taken by a device of the engine, with the value read in *value. False:
 * user space must answer.
 */
static bool fragment_access(struct cpu *cpu, uint64_t address, uint64_t *value, unsigned size,
			    bool is_write, bool is_port)
{
	struct cpu_io *io = &cpu->io;
	bool is_taken;

	memory_watch_lasting(cpu);
	if (io->cursor < io->done) {
		if (io->fragments[io->cursor].gpa == address &&
		    io->fragments[io->cursor].size == size &&
		    io->fragments[io->cursor].is_write == is_write &&
		    io->fragments[io->cursor].is_port == is_port &&
		    !io->fragments[io->cursor].is_msr) {
			*value = load_bytes(io->fragments[io->cursor++].data, size);
			return true;
		}
		/* User space changed the registers or the code meanwhile: another access. */
		io->done = io->cursor;
	}
	if (io->cursor == FRAGMENTS)
		too_many_fragments(cpu);

	io->fragments[io->cursor].gpa = address;
	io->fragments[io->cursor].size = size;
	io->fragments[io->cursor].is_write = is_write;
	io->fragments[io->cursor].is_port = is_port;
	io->fragments[io->cursor].is_msr = false;

	if (is_port)
		is_taken = platform_pio(cpu, (uint16_t)address, value, size, is_write);
	else
		is_taken = platform_mmio(cpu, address, value, size, is_write);
	if (!is_taken) {
		if (cpu->run) {
			ask_user(cpu, address, *value, size, is_write, is_port);
			return false;
		}
		*value = OPEN_BUS;
	}
	store_bytes(io->fragments[io->cursor].data, *value, size);
	*value = load_bytes(io->fragments[io->cursor].data, size);
	io->done = ++io->cursor;
	if (!io->is_reset_after)
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
	return true;
}

/* The same, or an exit. */
static uint64_t fragment_value(struct cpu *cpu, uint64_t address, uint64_t value, unsigned size,
			       bool is_write, bool is_port)
{
	if (!fragment_access(cpu, address, &value, size, is_write, is_port))
		cpu_exit_to_user(cpu);
	return value;
}

uint64_t mmio_read(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	return fragment_value(cpu, gpa, 0, size, false, false);
}

void mmio_write(struct cpu *cpu, uint64_t gpa, uint64_t value, unsigned size)
{
	fragment_value(cpu, gpa, value, size, true, false);
}

void mmio_read_bytes(struct cpu *cpu, uint64_t gpa, uint8_t *buffer, unsigned size)
{
	for (unsigned i = 0; i < size; i += 8) {
		unsigned part = size - i < 8 ? size - i : 8;

		store_bytes(buffer + i, mmio_read(cpu, gpa + i, part), part);
	}
}

void mmio_write_bytes(struct cpu *cpu, uint64_t gpa, const uint8_t *buffer, unsigned size)
{
	for (unsigned i = 0; i < size; i += 8) {
		unsigned part = size - i < 8 ? size - i : 8;

		mmio_write(cpu, gpa + i, load_bytes(buffer + i, part), part);
	}
}

uint32_t pio_read(struct cpu *cpu, uint16_t port, unsigned size)
{
	return fragment_value(cpu, port, 0, size, false, true);
}

void pio_write(struct cpu *cpu, uint16_t port, uint32_t value, unsigned size)
{
	fragment_value(cpu, port, value, size, true, true);
}

bool pio_plain_access(struct cpu *cpu, uint16_t port, uint32_t *value, unsigned size, bool is_write)
{
	struct cpu_io *io = &cpu->io;
	bool was_reset_after = io->is_reset_after;
	uint64_t wide = *value;

	io->is_reset_after = true;
	if (fragment_access(cpu, port, &wide, size, is_write, true)) {
		io_reset(cpu);
		io->is_reset_after = was_reset_after;
		*value = wide;
		return true;
	}
	io->is_plain_port = io->cursor == 0;
	io->mode = cpu->mode;
	io->next_rip = cpu->next_rip;
	io->is_reset_after = was_reset_after;
	if (!cpu->exits_softly)
		cpu_exit_to_user(cpu);
	cpu->next_rip = cpu->rip;
	cpu->is_leaving = true;
	return false;
}

bool msr_take_answer(struct cpu *cpu, uint32_t index, uint64_t *value, bool is_write)
{
	const struct cpu_io *io = &cpu->io;

	if (io->cursor == io->done || !io->fragments[io->cursor].is_msr ||
	    io->fragments[io->cursor].gpa != index ||
	    io->fragments[io->cursor].is_write != is_write)
		return false;
	if (io->msr_error)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (!is_write)
		*value = load_bytes(io->fragments[io->cursor].data, sizeof(*value));
	return true;
}

void msr_ask_user(struct cpu *cpu, uint32_t index, uint64_t value, bool is_write, uint32_t reason)
{
	struct cpu_io *io = &cpu->io;
	struct kvm_run *run = cpu->run;

	memory_watch_lasting(cpu);
	io_reset(cpu);
	io->fragments[0].gpa = index;
	io->fragments[0].size = sizeof(value);
	io->fragments[0].is_write = is_write;
	io->fragments[0].is_port = false;
	io->fragments[0].is_msr = true;
	io->msr_pending = true;
	run->exit_reason = is_write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = index;
	run->msr.data = is_write ? value : 0;
	cpu_exit_to_user(cpu);
}

void io_resume(struct cpu *cpu)
{
	struct cpu_io *io = &cpu->io;
	struct kvm_run *run = cpu->run;

	/* The exit left the open fragment's description at index `done` (cursor == done then). */
	if (io->mmio_pending || io->pio_pending) {
		const uint8_t *data = io->mmio_pending ?
					      run->mmio.data :
					      (uint8_t *)run + KVM_PIO_PAGE_OFFSET * PAGE_SIZE;

		bytes_copy(io->fragments[io->done].data, data, io->fragments[io->done].size);
		io->done++;
	}
	if (io->msr_pending) {
		io->msr_error = run->msr.error;
		store_bytes(io->fragments[io->done++].data, run->msr.data, sizeof(run->msr.data));
	}
	io->mmio_pending = io->pio_pending = io->msr_pending = false;
	io->cursor = 0;
}
