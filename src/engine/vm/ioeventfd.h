/*
 * KVM_IOEVENTFD: guest writes that signal an eventfd and do not leave to user space (api.rst 4.59).
 *
 * The table is read by running vCPUs without a lock and changed inside exclusive sections.
 */
#ifndef KVIK_ENGINE_VM_IOEVENTFD_H
#define KVIK_ENGINE_VM_IOEVENTFD_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct exclusive;
struct ioeventfd;

struct ioeventfds {
	struct ioeventfd *entries; /* owned */
	unsigned count;
};

void ioeventfds_destroy(struct ioeventfds *table);

/* Assign or deassign, the change inside an exclusive section: 0, -EINVAL, -EEXIST, -ENOENT, -EBADF as
 * Linux. vm->lock is held. */
int ioeventfd_request(struct ioeventfds *table, struct exclusive *exclusive,
		      const struct kvm_ioeventfd *request);

/* A guest's write to a port or a physical address: true when an eventfd took it. */
bool ioeventfd_write(const struct ioeventfds *table, bool is_pio, uint64_t address,
		     const void *data, unsigned size);

#endif
