/* Commands that have failed and wait (block/error_policy.h): they are saved as software wrote them, and begin anew where they
 * are loaded. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/storage/nvme_parts.h"

#define COMMANDS_MAX (NVME_IO_QUEUES * NVME_ENTRIES_MAX)

/* All that somebody still waits for, and that works on the medium. 0 or -ENOMEM. */
static int collect(const struct nvme *nvme, struct nvme *copy)
{
	const struct nvme_command *command;
	unsigned count = nvme->anew_count;

	for (command = nvme->commands; command; command = command->next)
		count += command->epoch == nvme->epoch;
	copy->anew_count = 0;
	copy->anew = calloc(count ? count : 1, sizeof(*copy->anew));
	if (!copy->anew)
		return -ENOMEM;
	for (; copy->anew_count < nvme->anew_count; copy->anew_count++)
		copy->anew[copy->anew_count] = nvme->anew[copy->anew_count];
	for (command = nvme->commands; command; command = command->next)
		if (command->epoch == nvme->epoch)
			copy->anew[copy->anew_count++] = (struct nvme_saved){command->sq, command->sqe};
	return 0;
}

/* A command takes room in its completion queue, as does the one that deletes a queue which has commands. */
static bool take_room(struct nvme *copy)
{
	const struct nvme_cq *cq;
	unsigned i, used;

	for (i = 0; i < copy->anew_count; i++) {
		struct nvme_sq *sq = &copy->sq[copy->anew[i].sq];

		sq->under_way++;
		copy->cq[sq->cq].under_way++;
	}
	for (i = 1; i < NVME_QUEUES; i++) {
		copy->cq[0].under_way += copy->sq[i].is_leaving;
		if (copy->sq[i].is_leaving && !copy->sq[i].under_way)
			return false;
	}
	for (i = 0; i < NVME_QUEUES; i++) {
		cq = &copy->cq[i];
		used = cq->exists ? (cq->tail + cq->size - cq->head) % cq->size : 0;
		if (cq->under_way && (!cq->exists || used + cq->under_way > cq->size - 1u))
			return false;
	}
	return true;
}

void nvme_transfer_commands(const struct nvme *nvme, struct nvme *copy, struct state_stream *state)
{
	int result = state->is_loading ? 0 : collect(nvme, copy);
	uint32_t i, count = copy->anew_count;

	if (result < 0)
		state_fail(state, "%s", strerror(-result));
	for (i = 1; i < NVME_QUEUES; i++) {
		state_bool(state, "sq leaves", &copy->sq[i].is_leaving);
		state_check(state, "sq leaves", !copy->sq[i].is_leaving || copy->sq[i].exists);
		state_u16(state, "sq leaves", &copy->sq[i].leaving_id);
	}
	state_bool(state, "disabling", &copy->is_disabling);
	state_u32(state, "commands", &count);
	state_check(state, "commands", count <= COMMANDS_MAX);
	if (state->has_failed)
		return;
	if (state->is_loading) {
		copy->anew = calloc(count ? count : 1, sizeof(*copy->anew));
		copy->anew_count = copy->anew ? count : 0;
		if (!copy->anew)
			state_fail(state, "%s", strerror(ENOMEM));
	}
	for (i = 0; i < copy->anew_count && !state->has_failed; i++) {
		struct nvme_saved *saved = &copy->anew[i];

		state_u16(state, "command's sq", &saved->sq);
		state_check(state, "command's sq", saved->sq && saved->sq < NVME_QUEUES && copy->sq[saved->sq].exists);
		state_bytes(state, "command", &saved->sqe, sizeof(saved->sqe));
	}
	if (state->is_loading && !state->has_failed)
		state_check(state, "commands", take_room(copy));
}

void nvme_begin_anew(struct nvme *nvme)
{
	struct nvme_command *command;

	while (nvme->anew_count) {
		command = calloc(1, sizeof(*command));
		if (!command)
			return;
		command->sq = nvme->anew[--nvme->anew_count].sq;
		command->sqe = nvme->anew[nvme->anew_count].sqe;
		nvme_add(nvme, command);
		nvme_io_begin(command);
	}
	nvme_drop_anew(nvme);
}
