/*
 * The contract's common part: handles are made, mapped and closed the same way on both backends.
 *
 * Specification: Linux Documentation/virt/kvm/api.rst, sections 2 to 4.
 */
#include "kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/slots.h"

int kvm_system_open(struct kvm_system *system, const struct kvm_backend *backend,
		    const struct kvm_options *options, struct error *error)
{
	int result;

	memset(system, 0, sizeof(*system));
	system->backend = backend;
	system->fd = backend->open(options, error);
	if (system->fd < 0)
		return system->fd;

	result = kvm_system_ioctl(system, KVM_GET_API_VERSION, NULL);
	if (result != KVM_API_VERSION) {
		if (result < 0)
			error_set_errno(error, -result, "%s: cannot ask for the API version",
					backend->name);
		else
			result = error_set(error, EPROTO, "%s: API version is %d, not %d",
					   backend->name, result, KVM_API_VERSION);
		goto fail;
	}
	result = kvm_system_ioctl(system, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (result < (int)sizeof(struct kvm_run)) {
		result = result < 0 ? result : -EPROTO;
		error_set_errno(error, -result, "%s: cannot ask for the size of kvm_run",
				backend->name);
		goto fail;
	}
	system->vcpu_mmap_size = result;
	return 0;

fail:
	kvm_system_close(system);
	return result;
}

void kvm_system_close(struct kvm_system *system)
{
	if (system->fd >= 0)
		system->backend->close(system->fd);
	system->fd = -1;
}

int kvm_vm_create(struct kvm_vm *vm, const struct kvm_system *system, struct error *error)
{
	int fd;

	/* Linux gives EINTR for a signal that arrives during the call. */
	do
		fd = kvm_system_ioctl(system, KVM_CREATE_VM, NULL);
	while (fd == -EINTR);
	if (fd < 0)
		return error_set_errno(error, -fd, "%s: cannot create a virtual machine",
				       system->backend->name);
	vm->system = system;
	vm->fd = fd;
	vm->slots = kvm_slots_create();
	if (vm->slots)
		return 0;
	kvm_vm_close(vm);
	return error_set_errno(error, ENOMEM, "%s: cannot create a virtual machine", system->backend->name);
}

void kvm_vm_close(struct kvm_vm *vm)
{
	if (vm->fd >= 0)
		vm->system->backend->close(vm->fd);
	vm->fd = -1;
	kvm_slots_destroy(vm->slots);
	vm->slots = NULL;
}

const uint8_t *kvm_vm_memory_at(const struct kvm_vm *vm, uint64_t gpa, uint64_t *size_bytes)
{
	return vm->slots ? kvm_slots_at(vm->slots, gpa, size_bytes) : NULL;
}

void kvm_vm_own_memory(const struct kvm_vm *vm)
{
	if (vm->system->backend->own_memory)
		vm->system->backend->own_memory(vm->fd);
}

void kvm_vm_tell_writes(const struct kvm_vm *vm)
{
	if (vm->system->backend->tell_writes)
		vm->system->backend->tell_writes(vm->fd);
}

void kvm_vm_written(const struct kvm_vm *vm, uint64_t gpa, uint64_t size_bytes)
{
	if (vm->system->backend->written)
		vm->system->backend->written(vm->fd, gpa, size_bytes);
}

void kvm_vm_share_memory(const struct kvm_vm *vm, void *base, uint64_t size, int fd)
{
	if (vm->system->backend->share_memory)
		vm->system->backend->share_memory(vm->fd, base, size, fd);
}

int kvm_vcpu_create(struct kvm_vcpu *vcpu, const struct kvm_vm *vm, unsigned id,
		    struct error *error)
{
	const struct kvm_system *system = vm->system;
	void *run;
	int fd;

	fd = kvm_vm_ioctl(vm, KVM_CREATE_VCPU, (void *)(uintptr_t)id);
	if (fd < 0)
		return error_set_errno(error, -fd, "%s: cannot create virtual CPU %u",
				       system->backend->name, id);
	run = mmap(NULL, system->vcpu_mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED) {
		int code = errno;

		system->backend->close(fd);
		return error_set_errno(error, code, "%s: cannot map the state of virtual CPU %u",
				       system->backend->name, id);
	}
	vcpu->system = system;
	vcpu->fd = fd;
	vcpu->id = id;
	vcpu->run = run;
	return 0;
}

void kvm_vcpu_close(struct kvm_vcpu *vcpu)
{
	if (vcpu->fd < 0)
		return;
	munmap(vcpu->run, vcpu->system->vcpu_mmap_size);
	vcpu->system->backend->close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

int kvm_system_ioctl(const struct kvm_system *system, unsigned long request, void *argument)
{
	return system->backend->ioctl(system->fd, request, argument);
}

int kvm_vm_ioctl(const struct kvm_vm *vm, unsigned long request, void *argument)
{
	int result = vm->system->backend->ioctl(vm->fd, request, argument);

	if (request == KVM_SET_USER_MEMORY_REGION && result == 0 && vm->slots)
		kvm_slots_note(vm->slots, argument);
	return result;
}

int kvm_vcpu_ioctl(const struct kvm_vcpu *vcpu, unsigned long request, void *argument)
{
	int result = vcpu->system->backend->ioctl(vcpu->fd, request, argument);

	/*
	 * A kick counts once. It is withdrawn here, before the caller looks at whatever it was
	 * kicked for: a kick that comes after this line stops the next KVM_RUN.
	 */
	if (request == KVM_RUN && result == -EINTR)
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return result;
}

int kvm_check_extension(const struct kvm_system *system, int capability)
{
	int result = kvm_system_ioctl(system, KVM_CHECK_EXTENSION, (void *)(intptr_t)capability);

	return result < 0 ? 0 : result;
}

void kvm_vcpu_kick(const struct kvm_vcpu *vcpu, pthread_t thread)
{
	vcpu->system->backend->kick(vcpu->fd, vcpu->run, thread);
}

void kvm_vcpu_ignore_signals(const struct kvm_vcpu *vcpu)
{
	if (vcpu->system->backend->ignore_signals)
		vcpu->system->backend->ignore_signals(vcpu->fd);
}
