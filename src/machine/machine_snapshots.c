/*
 * Snapshots of a machine inside of its disks: each writable disk has one of that name, and the first of them has
 * the machine's state in it (snapshot.h), as QEMU's savevm does it.
 *
 * The order is what makes a killed process harmless. A new snapshot is complete on all disks, the one with the
 * state last, before an older one of its name is deleted. Snapshots of one moment have the same time on all
 * disks, which tells them from older ones of their name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/block.h"
#include "machine/inspect.h"
#include "machine/machine_parts.h"
#include "machine/snapshot.h"
#include "util/log.h"

struct disks {
	struct block *list[BOARD_DISKS_MAX]; /* the first one has the state */
	unsigned count;
};

/* --- which disks --- */

static int add_disk(struct disks *disks, struct block *block, struct error *error)
{
	if (disks->count == BOARD_DISKS_MAX)
		return error_set(error, ENOSPC, "too many disks");
	if (block_can_snapshot(block, error) < 0) {
		error_prefix(error, "a disk that is written to does not support snapshots");
		return -ENOTSUP;
	}
	disks->list[disks->count++] = block;
	return 0;
}

/* As it was chosen: those, with that of the state first. */
static int take_chosen(struct machine *machine, const struct machine_snapshot_choice *choice, struct disks *disks,
		       struct error *error)
{
	unsigned i, j;
	int result = 0;

	for (i = 0; i < choice->count && result == 0; i++) {
		for (j = 0; j < machine->disk_count; j++)
			if (machine->disks[j] == choice->disks[i])
				break;
		if (j == machine->disk_count)
			return error_set(error, ENODEV, "a disk is not there any more");
		if (block_info(choice->disks[i])->is_readonly)
			return error_set(error, EROFS, "%s is only read, and can have no snapshot",
					 block_info(choice->disks[i])->path);
		result = add_disk(disks, machine->disks[j], error);
		if (result == 0 && choice->disks[i] == choice->state) {
			disks->list[disks->count - 1] = disks->list[0];
			disks->list[0] = machine->disks[j];
		}
	}
	if (result == 0 && (!disks->count || disks->list[0] != choice->state))
		return error_set(error, EINVAL, "the disk for the machine's state is none of those");
	return result;
}

static int find_disks(struct machine *machine, const struct machine_snapshot_choice *choice, struct disks *disks,
		      struct error *error)
{
	unsigned i;
	int result = 0;

	disks->count = 0;
	if (choice)
		return take_chosen(machine, choice, disks, error);
	for (i = 0; i < machine->disk_count && result == 0; i++)
		if (!block_info(machine->disks[i])->is_readonly)
			result = add_disk(disks, machine->disks[i], error);
	if (result == 0 && !disks->count)
		return error_set(error, ENODEV, "No block device can accept snapshots: there is no disk that is "
						"written to");
	return result;
}

/* The one of that name; of several the one that is of the same moment as `like`, if there is one. */
static bool find_snapshot(const struct block *block, const char *name, const struct block_snapshot *like,
			  struct block_snapshot *found)
{
	struct block_snapshot one;
	bool is_found = false;
	unsigned i;

	for (i = 0; i < block_snapshot_count(block); i++) {
		block_snapshot_describe(block, i, &one);
		if (strcmp(one.name, name) != 0)
			continue;
		if (like && one.seconds == like->seconds && one.nanoseconds == like->nanoseconds) {
			*found = one;
			return true;
		}
		if (!is_found)
			*found = one;
		is_found = true;
	}
	return is_found;
}

/* --- the state, in pieces --- */

struct pieces {
	struct block *block;
	uint8_t *bytes;
	uint32_t unit, used, at; /* reading: `used` bytes are there, `at` are taken */
	uint64_t done, size;	 /* in the image; reading: of all */
};

static int write_pieces(void *context, const void *bytes, size_t size)
{
	struct pieces *pieces = context;
	size_t part;
	int result;

	while (size) {
		part = size < pieces->unit - pieces->used ? size : pieces->unit - pieces->used;
		memcpy(pieces->bytes + pieces->used, bytes, part);
		pieces->used += part;
		bytes = (const uint8_t *)bytes + part;
		size -= part;
		if (pieces->used < pieces->unit)
			break;
		result = block_state_write(pieces->block, pieces->done, pieces->bytes, pieces->used);
		if (result < 0)
			return result;
		pieces->done += pieces->used;
		pieces->used = 0;
	}
	return 0;
}

static int read_pieces(void *context, void *bytes, size_t size)
{
	struct pieces *pieces = context;
	size_t part;
	int result;

	while (size) {
		if (pieces->at == pieces->used) {
			part = pieces->size - pieces->done < pieces->unit ? pieces->size - pieces->done
									  : pieces->unit;
			if (!part)
				return -EPIPE;
			result = block_state_read(pieces->block, pieces->done, pieces->bytes, part);
			if (result < 0)
				return result;
			pieces->done += part;
			pieces->used = part;
			pieces->at = 0;
		}
		part = pieces->used - pieces->at < size ? pieces->used - pieces->at : size;
		memcpy(bytes, pieces->bytes + pieces->at, part);
		pieces->at += part;
		bytes = (uint8_t *)bytes + part;
		size -= part;
	}
	return 0;
}

static int pieces_begin(struct pieces *pieces, struct block *block, uint64_t size, struct error *error)
{
	*pieces = (struct pieces){.block = block, .unit = block_state_unit(block), .size = size};
	pieces->bytes = malloc(pieces->unit);
	return pieces->bytes ? 0 : error_set_errno(error, ENOMEM, "the machine's state");
}

static int save_state(struct machine *machine, struct block *block, uint64_t *size, struct error *error)
{
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	struct pieces pieces;
	const struct saved_stream stream = {.write = write_pieces, .context = &pieces};
	int result = pieces_begin(&pieces, block, 0, error);

	if (result < 0)
		return result;
	result = snapshot_save_to(&parts, &stream, error);
	if (result == 0) {
		result = block_state_write(block, pieces.done, pieces.bytes, pieces.used);
		if (result < 0)
			error_set_errno(error, -result, "cannot save the machine");
	}
	*size = pieces.done + pieces.used;
	free(pieces.bytes);
	return result;
}

/* Before anything is changed: whether it is kvik's. */
static int check_state(const struct pieces *pieces, const char *name, struct error *error)
{
	char magic[SNAPSHOT_MAGIC_BYTES];

	if (pieces->size >= sizeof(magic) && block_state_read(pieces->block, 0, magic, sizeof(magic)) == 0 &&
	    memcmp(magic, SNAPSHOT_MAGIC, sizeof(magic)) == 0)
		return 0;
	return error_set(error, EINVAL, "the state in snapshot '%s' is not kvik's", name);
}

/* --- making one --- */

static uint64_t guest_clock_ns(struct machine *machine)
{
	struct kvm_clock_data clock = {.clock = 0};

	return kvm_vm_ioctl(&machine->vm, KVM_GET_CLOCK, &clock) == 0 ? clock.clock : 0;
}

/* Delete those of the name: the ones of that moment, or all others. */
static int delete_named(struct block *block, const struct block_snapshot *snapshot, bool of_that_moment,
			struct error *error)
{
	struct block_snapshot one;
	unsigned i;
	char *id;
	int result = 0;

	for (i = 0; i < block_snapshot_count(block) && result == 0;) {
		block_snapshot_describe(block, i, &one);
		if (strcmp(one.name, snapshot->name) != 0 ||
		    (one.seconds == snapshot->seconds && one.nanoseconds == snapshot->nanoseconds) != of_that_moment) {
			i++;
			continue;
		}
		id = strdup(one.id);
		result = id ? block_snapshot_delete(block, id, error) : error_set_errno(error, ENOMEM, "a snapshot");
		free(id);
	}
	return result;
}

static int save_held(struct machine *machine, const struct disks *disks, const char *name, struct error *error)
{
	struct block_snapshot snapshot = {.name = name, .clock_ns = guest_clock_ns(machine)};
	struct timespec now;
	uint64_t state_bytes = 0;
	unsigned i, made = 0;
	int result = save_state(machine, disks->list[0], &state_bytes, error);

	clock_gettime(CLOCK_REALTIME, &now);
	snapshot.seconds = now.tv_sec;
	snapshot.nanoseconds = now.tv_nsec;
	for (i = disks->count; i-- > 0 && result == 0;) {
		snapshot.state_bytes = i == 0 ? state_bytes : 0;
		result = block_snapshot_create(disks->list[i], &snapshot, error);
		made += result == 0;
	}
	if (result < 0) {
		block_state_drop(disks->list[0]);
		for (i = disks->count; made-- > 0;)
			delete_named(disks->list[--i], &snapshot, true, NULL);
		return result;
	}
	for (i = 0; i < disks->count && result == 0; i++)
		result = delete_named(disks->list[i], &snapshot, false, error);
	return result;
}

static int check_name(const char *name, struct error *error)
{
	return *name && strlen(name) <= MACHINE_SNAPSHOT_NAME_MAX
		       ? 0
		       : error_set(error, EINVAL, "a snapshot's name has 1 to %d bytes", MACHINE_SNAPSHOT_NAME_MAX);
}

static int begin(struct machine *machine, struct error *error)
{
	if (machine->is_sending || machine_pauses(machine) & (MACHINE_PAUSE_INCOMING | MACHINE_PAUSE_SENT))
		return error_set(error, EBUSY, "the guest is being migrated, or was");
	if (machine_stop(machine, MACHINE_PAUSE_SNAPSHOT, error) < 0)
		return -EBUSY;
	board_hold(machine->board);
	return 0;
}

static void end(struct machine *machine)
{
	board_release(machine->board);
	machine_resume(machine, MACHINE_PAUSE_SNAPSHOT);
	machine_settle(machine);
}

int machine_snapshot_save(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			  struct error *error)
{
	struct disks disks;
	int result = check_name(name, error);

	if (result == 0)
		result = find_disks(machine, choice, &disks, error);
	if (result == 0)
		result = begin(machine, error);
	if (result < 0)
		return result;
	result = save_held(machine, &disks, name, error);
	end(machine);
	return result;
}

/* --- going back to one --- */

/* The snapshots that are meant, and what of their state has to be known before anything changes. */
static int choose(const struct disks *disks, const char *name, char **ids, struct block_snapshot *first,
		  struct error *error)
{
	struct block_snapshot one;
	unsigned i;

	for (i = 0; i < disks->count; i++) {
		const struct block_info *info = block_info(disks->list[i]);

		if (!find_snapshot(disks->list[i], name, i ? first : NULL, &one))
			return error_set(error, ENOENT, "%s does not have the requested snapshot '%s'", info->path,
					 name);
		if (one.disk_bytes != info->size_bytes)
			return error_set(error, EINVAL, "%s has another size than in its snapshot '%s'", info->path,
					 name);
		if (i == 0)
			*first = one;
		ids[i] = strdup(one.id);
		if (!ids[i])
			return error_set_errno(error, ENOMEM, "snapshot '%s'", name);
	}
	if (!first->state_bytes)
		return error_set(error, EINVAL, "'%s' is a disk-only snapshot. Revert to it offline using kvik image "
						"snapshot", name);
	return 0;
}

/* `is_changed`: the machine is not what it was any more. */
static int load_held(struct machine *machine, const struct disks *disks, const char *name, bool *is_changed,
		     struct error *error)
{
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	struct pieces pieces = {.bytes = NULL};
	const struct saved_stream stream = {.read = read_pieces, .context = &pieces};
	char *ids[BOARD_DISKS_MAX] = {NULL};
	struct block_snapshot first;
	unsigned i;
	int result = choose(disks, name, ids, &first, error);

	if (result == 0)
		result = pieces_begin(&pieces, disks->list[0], first.state_bytes, error);
	if (result == 0)
		result = block_state_open(disks->list[0], ids[0], error);
	if (result == 0) {
		result = check_state(&pieces, name, error);
		*is_changed = result == 0;
		if (result == 0)
			result = machine_reset(machine, error);
		if (result == 0)
			result = snapshot_load_from(&parts, &stream, error);
		block_state_close(disks->list[0]);
	}
	for (i = 0; i < disks->count && result == 0; i++)
		result = block_snapshot_apply(disks->list[i], ids[i], error);
	free(pieces.bytes);
	for (i = 0; i < disks->count; i++)
		free(ids[i]);
	return result;
}

int machine_snapshot_load(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			  struct error *error)
{
	struct disks disks;
	bool is_changed = false;
	int result = find_disks(machine, choice, &disks, error);

	if (result == 0)
		result = begin(machine, error);
	if (result < 0)
		return result;
	result = load_held(machine, &disks, name, &is_changed, error);
	/* What is half of one and half of another does not run, until it is reset. */
	if (result < 0 && is_changed)
		machine_pause(machine, MACHINE_PAUSE_OFF);
	/* One that was saved asleep falls asleep again: that waits to be carried out. */
	if (result == 0) {
		machine_resume(machine, MACHINE_PAUSE_OFF);
		machine_resume(machine, MACHINE_PAUSE_ASLEEP);
	}
	end(machine);
	return result;
}

int machine_snapshot_load_first(struct machine *machine, const char *name, struct error *error)
{
	struct disks disks;
	bool is_changed = false;
	int result = find_disks(machine, NULL, &disks, error);

	if (result == 0)
		result = load_held(machine, &disks, name, &is_changed, error);
	if (result == 0)
		log_info("loaded the machine");
	return result;
}

/* --- what there is --- */

int machine_snapshot_delete(struct machine *machine, const struct machine_snapshot_choice *choice, const char *name,
			    struct error *error)
{
	struct block_snapshot found;
	struct disks disks;
	unsigned i, count = 0;
	int result = find_disks(machine, choice, &disks, error);

	for (i = 0; i < disks.count && result == 0; i++)
		count += find_snapshot(disks.list[i], name, NULL, &found);
	if (result == 0 && !count)
		return error_set(error, ENOENT, "no disk has a snapshot '%s'", name);
	if (result == 0)
		result = begin(machine, error);
	if (result < 0)
		return result;
	/* Of no moment: all of the name are others. The state's goes first, so that no half of one is loaded. */
	for (i = 0; i < disks.count && result == 0; i++)
		result = delete_named(disks.list[i], &(struct block_snapshot){.name = name}, false, error);
	end(machine);
	return result;
}

int machine_snapshot_list(struct machine *machine, unsigned index, struct machine_snapshot *snapshot)
{
	struct disks disks;
	struct block_snapshot one, other;
	unsigned i;
	int result = find_disks(machine, NULL, &disks, NULL);

	if (result < 0)
		return result;
	if (index >= block_snapshot_count(disks.list[0]))
		return 0;
	block_snapshot_describe(disks.list[0], index, &one);
	*snapshot = (struct machine_snapshot){.id = one.id,
					      .name = one.name,
					      .state_bytes = one.state_bytes,
					      .seconds = one.seconds,
					      .clock_ns = one.clock_ns,
					      .is_complete = one.state_bytes != 0};
	for (i = 1; i < disks.count; i++)
		snapshot->is_complete &= find_snapshot(disks.list[i], one.name, &one, &other);
	return 1;
}
