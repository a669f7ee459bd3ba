/*
 * Creation and end of a vCPU.
 */
#include "engine/vcpu/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/signals.h"
#include "util/zeroes.h"

/* The vCPU's descriptor keeps the VM alive; the vCPU itself stays with the VM. */
static void release_handle(void *object)
{
	struct vcpu *vcpu = object;

	vm_put(vcpu->vm);
}

/* A share of what the VM's vCPUs have, for one more; NULL without memory. With vm->lock held. */
static struct vcpu_group *group_get(struct vm *vm)
{
	struct vcpu_group *group;

	if (atomic_load(&vm->member_count)) {
		group = vcpu_of(vm->members[0])->group;
	} else {
		group = calloc(1, sizeof(*group));
		if (!group)
			return NULL;
		pthread_mutex_init(&group->watcher.lock, NULL);
		pthread_mutex_init(&group->sampler.lock, NULL);
	}
	group->vcpus++;
	return group;
}

static void group_put(struct vcpu_group *group)
{
	if (--group->vcpus)
		return;
	pthread_mutex_destroy(&group->sampler.lock);
	pthread_mutex_destroy(&group->watcher.lock);
	free(group);
}

static int create_parts(struct vcpu *vcpu)
{
	int result;

	vcpu->group = group_get(vcpu->vm);
	if (!vcpu->group)
		return -ENOMEM;
	vcpu->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vcpu->wake_fd < 0) {
		result = -errno;
		goto put_group;
	}
	result = signals_add(vcpu);
	if (result < 0)
		goto close_wake;
	/* Last: from now on interrupts may come. */
	result = vcpu->architecture->create(vcpu);
	if (result == 0)
		return 0;

	signals_remove(vcpu);
close_wake:
	close(vcpu->wake_fd);
put_group:
	group_put(vcpu->group);
	return result;
}

void vcpu_destroy(struct vm_member *member)
{
	struct vcpu *vcpu = vcpu_of(member);

	sampler_remove(vcpu);
	signals_remove(vcpu);
	vcpu->architecture->destroy(vcpu);
	statistics_close(&vcpu->statistics);
	close(vcpu->wake_fd);
	group_put(vcpu->group);
	munmap(vcpu->run, vcpu->file_size);
	pthread_mutex_destroy(&vcpu->lock);
	zeroes_unmap(vcpu, vcpu->architecture->size);
}

static void pause_member(struct exclusive_member *exclusive)
{
	struct vm_member *member =
		(struct vm_member *)((char *)exclusive - offsetof(struct vm_member, exclusive));
	struct vcpu *vcpu = vcpu_of(member);

	vcpu->architecture->request(vcpu, VCPU_PAUSE);
}

/* With vm->lock held. */
static int create(struct vm *vm, const struct vcpu_architecture *architecture, unsigned long id)
{
	unsigned count = atomic_load(&vm->member_count);
	struct vcpu *vcpu;
	int fd, result;

	if (id >= vm->max_vcpu_id || count == VM_VCPUS_MAX)
		return -EINVAL;
	if (vm_find_member(vm, id))
		return -EEXIST;
	vcpu = zeroes_map(architecture->size);
	if (!vcpu)
		return -ENOMEM;
	vcpu->architecture = architecture;
	vcpu->vm = vm;
	vcpu->member = (struct vm_member){ .id = id,
					   .exclusive.pause = pause_member };
	pthread_mutex_init(&vcpu->lock, NULL);

	vcpu->file_size = VCPU_MMAP_SIZE;
	if (vm->dirty_ring_bytes)
		vcpu->file_size = DIRTY_RING_OFFSET + vm->dirty_ring_bytes;

	vm_get(vm);
	fd = handle_create(HANDLE_VCPU, "kvm-vcpu", vcpu->file_size, vcpu, release_handle);
	if (fd < 0) {
		vm_put(vm);
		result = fd;
		goto free_vcpu;
	}
	vcpu->run = mmap(NULL, vcpu->file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (vcpu->run == MAP_FAILED) {
		result = -errno;
		goto close_handle;
	}
	result = create_parts(vcpu);
	if (result < 0)
		goto unmap_run;

	if (vm->dirty_ring_bytes) {
		dirty_ring_init(&vcpu->dirty_ring, (char *)vcpu->run + DIRTY_RING_OFFSET,
				vm->dirty_ring_bytes);
		vcpu->member.dirty_ring = &vcpu->dirty_ring;
		if (count == 0)
			vm->memslots.writers_ring = &vcpu->dirty_ring;
	}
	if (count == 0)
		vcpu->coalesced = (void *)((char *)vcpu->run + COALESCED_PAGE_OFFSET * PAGE_SIZE);
	vm_add_member(vm, &vcpu->member);
	if (vm->options.keeps_statistics)
		sampler_add(vcpu);
	return fd;

unmap_run:
	munmap(vcpu->run, vcpu->file_size);
close_handle:
	handle_close(fd);
free_vcpu:
	pthread_mutex_destroy(&vcpu->lock);
	zeroes_unmap(vcpu, architecture->size);
	return result;
}

int vcpu_create(struct vm *vm, const struct vcpu_architecture *architecture, unsigned long id)
{
	int fd;

	pthread_mutex_lock(&vm->lock);
	fd = create(vm, architecture, id);
	pthread_mutex_unlock(&vm->lock);
	return fd;
}
