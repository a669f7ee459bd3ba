/*
 * A VM's GSI routing table (KVM api.rst 4.52, KVM_SET_GSI_ROUTING), which is set as a whole but has
 * several owners: the interrupt controllers for GSIs below GSI_ROUTES_MESSAGES, and from there on
 * one for each eventfd that sends a message. Any thread; under its lock only KVM is called.
 */
#ifndef KVIK_DEVICE_GSI_ROUTES_H
#define KVIK_DEVICE_GSI_ROUTES_H

#include "kvm/kvm.h"

#define GSI_ROUTES_MESSAGES 24 /* the I/O APIC's pins are below */
#define GSI_ROUTES_CHIPS    40 /* entries of the controllers: 16 inputs of PICs, 24 of the I/O APIC */

struct gsi_routes;

/* An empty table of `vm`, which outlives it. NULL and `error`: no memory. */
struct gsi_routes *gsi_routes_create(const struct kvm_vm *vm, struct error *error);
void gsi_routes_destroy(struct gsi_routes *routes); /* fine on NULL */

/* The controllers' entries: `count`, GSI_ROUTES_CHIPS at most. 0 or KVM's -errno: then the old ones
 * stay. */
int gsi_routes_set_chips(struct gsi_routes *routes, const struct kvm_irq_routing_entry *entries,
			 unsigned count);

/* A GSI for a message, without one yet; -ENOSPC, -ENOMEM. */
int gsi_routes_claim(struct gsi_routes *routes);
void gsi_routes_release(struct gsi_routes *routes, unsigned gsi);
/* 0 or KVM's -errno: then the GSI has no message. */
int gsi_routes_set_message(struct gsi_routes *routes, unsigned gsi, uint64_t address, uint32_t data);

#endif
