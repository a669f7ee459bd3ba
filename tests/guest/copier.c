#include "copier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

static void copy_round(struct copier *copier)
{
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = copier->dirty };

	copier->rounds++;
	copier->failures += kvm_vm_ioctl(copier->vm, KVM_GET_DIRTY_LOG, &log) < 0;
	for (size_t page = 0; page < copier->size / PAGE; page++) {
		if (!(copier->dirty[page / 64] >> page % 64 & 1))
			continue;
		memcpy(copier->copy + page * PAGE, copier->ram + page * PAGE, PAGE);
		copier->copied++;
	}
}

static void *copy(void *context)
{
	struct copier *copier = context;
	struct timespec began, now;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (!atomic_load(&copier->ends)) {
		copy_round(copier);
		clock_gettime(CLOCK_MONOTONIC, &now);
		/* Now and then the guest gets far, and now and then it doesn't; on a slow host it gets on all the same. */
		usleep(copier->rounds % 8 * (now.tv_sec - began.tv_sec > 3 ? 5000 : 50));
	}
	return NULL;
}

int copier_start(struct copier *copier, struct kvm_vm *vm, const uint8_t *ram, size_t size)
{
	*copier = (struct copier){ .vm = vm, .ram = ram, .size = size };
	copier->copy = malloc(size);
	copier->dirty = calloc(size / PAGE / 64, sizeof(uint64_t));
	if (!copier->copy || !copier->dirty)
		return -ENOMEM;
	memcpy(copier->copy, ram, size);
	return -pthread_create(&copier->thread, NULL, copy, copier);
}

unsigned copier_finish(struct copier *copier)
{
	unsigned wrong;

	atomic_store(&copier->ends, true);
	pthread_join(copier->thread, NULL);
	copy_round(copier);
	wrong = copier->failures;
	for (size_t page = 0; page < copier->size / PAGE; page++) {
		if (memcmp(copier->copy + page * PAGE, copier->ram + page * PAGE, PAGE) == 0)
			continue;
		printf("page %zx is not what was copied after %u logs\n", page, copier->rounds);
		wrong++;
	}
	free(copier->copy);
	free(copier->dirty);
	return wrong;
}
