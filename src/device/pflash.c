/*
 * Parallel NOR flash with Intel's command set, eight bits wide (Intel 28F008SA data sheet, "Command
 * Definitions"; JEDEC JEP137, command set 0001h).
 *
 * A write is a command, or what the command before it asks for. Modelled: array and status reads, clearing
 * the status, programming, which clears bits, and erasing blocks, which sets them; all done at once. Not
 * modelled: suspension, locks, buffered writes, identification; commands that there aren't change nothing.
 *
 * While software reads the array, a read-only memory slot shows it, and only writes come here. In the other
 * modes the slot is gone. What was programmed and erased goes into the file when software reads the array
 * again, which it does when it is done with a piece of work.
 */
#include "device/pflash.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "util/guarded.h"
#include "util/log.h"

#define COMMAND_PROGRAM	      0x10
#define COMMAND_ERASE	      0x20
#define COMMAND_PROGRAM_ALSO  0x40
#define COMMAND_CLEAR_STATUS  0x50
#define COMMAND_READ_STATUS   0x70
#define COMMAND_CONFIRM	      0xd0
#define COMMAND_READ_ARRAY    0xff

#define STATUS_READY	      0x80
#define STATUS_SEQUENCE_ERROR 0x30 /* both error bits: an erasure was not confirmed */
#define STATUS_BITS	      0xb0

/* What a read sees, and what the next write is. */
enum mode { MODE_ARRAY, MODE_STATUS, MODE_PROGRAM, MODE_ERASE, MODES };

struct pflash {
	pthread_mutex_t lock; /* guards everything below */
	struct pflash_config config;
	struct kvm_userspace_memory_region slot; /* size 0: it is not there */
	uint8_t *bytes; /* mapped */
	uint64_t size;
	uint8_t mode, status;
	uint64_t changed_first, changed_end; /* what the file hasn't got yet; empty when equal */
	bool has_lost; /* the file could not be written, and it was said */
};

/* Show the array, or don't. */
static void update_slot(struct pflash *flash)
{
	struct kvm_userspace_memory_region slot = flash->slot;
	int result;

	slot.memory_size = flash->mode == MODE_ARRAY ? flash->size : 0;
	if (!flash->config.vm || slot.memory_size == flash->slot.memory_size)
		return;
	/* Without the slot reads come here, which is slow and right. */
	result = kvm_vm_ioctl(flash->config.vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (result < 0)
		log_guest("the flash memory's slot: %s", strerror(-result));
	else
		flash->slot = slot;
}

static void write_file(struct pflash *flash)
{
	struct iovec piece;
	ssize_t written;

	while (flash->config.fd >= 0 && flash->changed_first < flash->changed_end) {
		piece.iov_base = flash->bytes + flash->changed_first;
		piece.iov_len = flash->changed_end - flash->changed_first;
		written = pwritev2(flash->config.fd, &piece, 1, flash->changed_first, 0);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0) {
			if (!flash->has_lost)
				log_error("the firmware's variables cannot be kept: %s",
					  strerror(written ? errno : EIO));
			flash->has_lost = true;
			break;
		}
		flash->changed_first += written;
	}
	flash->changed_first = flash->changed_end = 0;
}

static void note_change(struct pflash *flash, uint64_t offset, uint64_t size)
{
	if (flash->changed_first == flash->changed_end) {
		flash->changed_first = offset;
		flash->changed_end = offset + size;
		return;
	}
	if (offset < flash->changed_first)
		flash->changed_first = offset;
	if (offset + size > flash->changed_end)
		flash->changed_end = offset + size;
}

static void set_mode(struct pflash *flash, enum mode mode)
{
	flash->mode = mode;
	if (mode == MODE_ARRAY)
		write_file(flash);
	update_slot(flash);
}

static void take_command(struct pflash *flash, uint8_t command)
{
	switch (command) {
	case COMMAND_PROGRAM:
	case COMMAND_PROGRAM_ALSO: set_mode(flash, MODE_PROGRAM); break;
	case COMMAND_ERASE: set_mode(flash, MODE_ERASE); break;
	case COMMAND_CLEAR_STATUS:
		flash->status = 0;
		set_mode(flash, MODE_ARRAY);
		break;
	case COMMAND_READ_STATUS: set_mode(flash, MODE_STATUS); break;
	case COMMAND_READ_ARRAY: set_mode(flash, MODE_ARRAY); break;
	default: log_guest("flash memory: there is no command 0x%02x", command); break;
	}
}

static void program(struct pflash *flash, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned i;

	for (i = 0; i < size; i++)
		flash->bytes[offset + i] &= value >> (8 * i);
	note_change(flash, offset, size);
	flash->status |= STATUS_READY;
	set_mode(flash, MODE_STATUS);
}

static void erase(struct pflash *flash, uint64_t offset, uint8_t confirmation)
{
	uint64_t first = offset - offset % PFLASH_BLOCK_BYTES;

	if (confirmation == COMMAND_CONFIRM) {
		memset(flash->bytes + first, 0xff, PFLASH_BLOCK_BYTES);
		note_change(flash, first, PFLASH_BLOCK_BYTES);
	} else {
		flash->status |= STATUS_SEQUENCE_ERROR;
	}
	flash->status |= STATUS_READY;
	set_mode(flash, MODE_STATUS);
}

static uint64_t pflash_read(void *device, uint64_t offset, unsigned size)
{
	struct pflash *flash = device;
	uint64_t value = 0;

	pthread_mutex_lock(&flash->lock);
	if (flash->mode == MODE_ARRAY)
		memcpy(&value, flash->bytes + offset, size);
	else
		value = flash->status; /* also between a command and what it waits for */
	pthread_mutex_unlock(&flash->lock);
	return value;
}

static void pflash_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pflash *flash = device;

	pthread_mutex_lock(&flash->lock);
	if (flash->mode == MODE_PROGRAM)
		program(flash, offset, size, value);
	else if (flash->mode == MODE_ERASE)
		erase(flash, offset, value);
	else
		take_command(flash, value);
	pthread_mutex_unlock(&flash->lock);
}

const struct mmio_ops pflash_mmio_ops = {.read = pflash_read, .write = pflash_write};

static void pflash_reset(void *device)
{
	struct pflash *flash = device;

	pthread_mutex_lock(&flash->lock);
	flash->status = STATUS_READY;
	set_mode(flash, MODE_ARRAY);
	pthread_mutex_unlock(&flash->lock);
}

static void transfer(struct state_stream *state, uint64_t *size, uint64_t here, uint8_t *bytes,
		     uint8_t *mode, uint8_t *status)
{
	state_u64(state, "size", size);
	state_check(state, "size", *size == here);
	if (state->has_failed)
		return;
	state_bytes(state, "bytes", bytes, here);
	state_u8(state, "mode", mode);
	state_check(state, "mode", *mode < MODES);
	state_u8(state, "status", status);
	state_check(state, "status", !(*status & ~STATUS_BITS));
}

static void pflash_save(void *device, struct state_stream *state)
{
	struct pflash *flash = device;
	uint64_t size = flash->size;

	pthread_mutex_lock(&flash->lock);
	transfer(state, &size, flash->size, flash->bytes, &flash->mode, &flash->status);
	pthread_mutex_unlock(&flash->lock);
}

static void pflash_load(void *device, struct state_stream *state)
{
	struct pflash *flash = device;
	uint8_t *bytes = malloc(flash->size), mode = 0, status = 0;
	uint64_t size = 0;

	if (!bytes) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer(state, &size, flash->size, bytes, &mode, &status);
	if (state_complete(state)) {
		pthread_mutex_lock(&flash->lock);
		memcpy(flash->bytes, bytes, flash->size);
		note_change(flash, 0, flash->size);
		write_file(flash);
		flash->status = status;
		set_mode(flash, mode);
		pthread_mutex_unlock(&flash->lock);
	}
	free(bytes);
}

static void pflash_destroy(void *device)
{
	struct pflash *flash = device;

	write_file(flash);
	flash->slot.memory_size = 0;
	if (flash->config.vm)
		kvm_vm_ioctl(flash->config.vm, KVM_SET_USER_MEMORY_REGION, &flash->slot);
	pthread_mutex_destroy(&flash->lock);
	guarded_unmap(flash->bytes, flash->size);
	free(flash);
}

const struct device_ops pflash_device_ops = {
	.version = 1,
	.reset = pflash_reset,
	.save = pflash_save,
	.load = pflash_load,
	.destroy = pflash_destroy,
};

struct pflash *pflash_create(const struct pflash_config *config, const uint8_t *bytes, size_t size,
			     struct error *error)
{
	struct pflash *flash = calloc(1, sizeof(*flash));

	if (flash)
		flash->bytes = guarded_map(size, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, false);
	if (!flash || !flash->bytes) {
		error_set_errno(error, ENOMEM, "cannot create a flash memory of %zu bytes", size);
		free(flash);
		return NULL;
	}
	pthread_mutex_init(&flash->lock, NULL);
	flash->config = *config;
	flash->size = size;
	memcpy(flash->bytes, bytes, size);
	flash->slot = (struct kvm_userspace_memory_region){
		.slot = config->slot,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = config->gpa,
		.userspace_addr = (uintptr_t)flash->bytes,
	};
	flash->status = STATUS_READY;
	set_mode(flash, MODE_ARRAY);
	return flash;
}
