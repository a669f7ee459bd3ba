/* How many there are of what rooms that do not know one another count alike. */
#ifndef KVIK_ENGINE_LIMITS_H
#define KVIK_ENGINE_LIMITS_H

#define VM_VCPUS_MAX   255 /* KVM_CAP_MAX_VCPUS */
#define VM_VCPU_ID_MAX 255 /* KVM_CAP_MAX_VCPU_ID: ids are below; x86's initial APIC ids are these */

/* GSIs are below, and that many routes are there at most (KVM_CAP_IRQ_ROUTING), as Linux's KVM_MAX_IRQ_ROUTES; of
 * a split irqchip as many pins may be reserved. */
#define VM_GSI_MAX 4096

#endif
