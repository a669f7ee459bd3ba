/*
 * KVM_GET_STATS_FD (api.rst 4.134): the file describes itself, and what it counts counts up. Which
 * statistics there are is not promised by the document.
 */
#include <string.h>
#include <unistd.h>

#include "../host.h"
#include "contract.h"

#define ENTRIES 256

struct file {
	int fd;
	struct kvm_stats_header header;
};

static void read_at(const struct file *file, void *to, size_t size, off_t offset)
{
	memset(to, 0, size);
	check_equal(pread(file->fd, to, size, offset), size);
}

/* Check that all of the file makes sense. */
static struct file open_file(int fd)
{
	struct file file = { .fd = fd };
	char name[256], byte;

	check(fd >= 0);
	read_at(&file, &file.header, sizeof(file.header), 0);
	check_equal(file.header.flags, 0);
	check(file.header.name_size > 0 && file.header.name_size <= sizeof(name));
	check(file.header.num_desc > 0 && file.header.num_desc < ENTRIES);
	read_at(&file, name, file.header.name_size, file.header.id_offset);
	check(strncmp(name, "kvm-", 4) == 0);
	for (unsigned i = 0; i < file.header.num_desc; i++) {
		struct kvm_stats_desc descriptor;
		off_t at = file.header.desc_offset +
			   (off_t)(i * (sizeof(descriptor) + file.header.name_size));
		uint64_t value;

		read_at(&file, &descriptor, sizeof(descriptor), at);
		read_at(&file, name, file.header.name_size, at + (off_t)sizeof(descriptor));
		check(name[0] && memchr(name, 0, file.header.name_size));
		check((descriptor.flags & KVM_STATS_TYPE_MASK) <= KVM_STATS_TYPE_MAX);
		check((descriptor.flags & KVM_STATS_UNIT_MASK) <= KVM_STATS_UNIT_MAX);
		check(descriptor.size >= 1);
		read_at(&file, &value, sizeof(value), file.header.data_offset + descriptor.offset);
	}
	/* It is for reading, and has an end. */
	check_equal(write(fd, "", 1), -1);
	check_equal(pread(fd, &byte, 1, 1 << 20), 0);
	return file;
}

static uint64_t value_of(const struct file *file, const char *wanted)
{
	for (unsigned i = 0; i < file->header.num_desc; i++) {
		struct kvm_stats_desc descriptor;
		off_t at = file->header.desc_offset +
			   (off_t)(i * (sizeof(descriptor) + file->header.name_size));
		char name[256];
		uint64_t value;

		read_at(file, &descriptor, sizeof(descriptor), at);
		read_at(file, name, file->header.name_size, at + (off_t)sizeof(descriptor));
		if (strcmp(name, wanted) != 0)
			continue;
		read_at(file, &value, sizeof(value), file->header.data_offset + descriptor.offset);
		return value;
	}
	check_result(false, __FILE__, __LINE__, "there is no %s", wanted);
	return 0;
}

int main(int argc, char **argv)
{
	struct kvm_system system;
	struct machine machine;
	struct file vm, vcpu, again;
	char byte;

	contract_open(argc, argv, &system);
	check_equal(kvm_system_ioctl(&system, KVM_CHECK_EXTENSION, (void *)KVM_CAP_BINARY_STATS_FD), 1);
	/* 1: out %al,$0x10; jmp 1b */
	machine_create(&machine, &system, IRQCHIP_NONE, "\xe6\x10\xeb\xfc", 4);
	vm = open_file(kvm_vm_ioctl(&machine.vm, KVM_GET_STATS_FD, NULL));
	vcpu = open_file(kvm_vcpu_ioctl(&machine.vcpu, KVM_GET_STATS_FD, NULL));
	check_equal(value_of(&vcpu, "exits"), 0);
	for (unsigned i = 0; i < 10; i++)
		machine_expect(&machine, KVM_EXIT_IO);
	check(value_of(&vcpu, "exits") >= 10);
	if (contract_is_engine(&system) || kvm_is_hardware())
		check(value_of(&vcpu, "io_exits") >= 10);
	check_equal(value_of(&vcpu, "halt_exits"), 0);
	/* Another descriptor has a position of its own. */
	again = open_file(kvm_vcpu_ioctl(&machine.vcpu, KVM_GET_STATS_FD, NULL));
	check_equal(read(vcpu.fd, &byte, 1), 1);
	check_equal(lseek(again.fd, 0, SEEK_CUR), 0);
	check_equal(value_of(&again, "exits"), value_of(&vcpu, "exits"));
	close(again.fd);
	close(vcpu.fd);
	/* What is open stays readable when the VM has gone. */
	machine_destroy(&machine);
	check_equal(pread(vm.fd, &byte, 1, 0), 1);
	close(vm.fd);
	return contract_close(&system);
}
