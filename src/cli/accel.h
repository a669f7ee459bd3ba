/* Which implementation of the KVM contract a run takes: Linux's or kvik's own. */
#ifndef KVIK_CLI_ACCEL_H
#define KVIK_CLI_ACCEL_H

#include "kvm/kvm.h"

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_ENGINE };

/* What a look at /dev/kvm found. */
struct accel_probe {
	bool is_present;	/* /dev/kvm exists */
	bool is_usable;		/* a small guest ran on it */
	bool is_hardware_speed; /* ... as fast as hardware runs it */
	double million_instructions_per_second; /* of that guest; 0 when it didn't run */
	char reason[256]; /* for a person: why it isn't usable, or how fast it is */
};

/*
 * Time a small guest loop on /dev/kvm: some milliseconds where there is hardware, a twentieth of a
 * second where it is slow. /dev/kvm may itself be an emulation, or run on one: then kvik's
 * engine is the better choice although KVM works.
 */
void accel_probe_kvm(struct accel_probe *probe);

/* The backend for `accel`, and in `reason` why, as part of a sentence. NULL is never returned. */
const struct kvm_backend *accel_choose(enum accel accel, char *reason, size_t reason_size);

/* How much translated code is kept by default for a guest with that much memory. */
uint64_t accel_code_cache(uint64_t memory_bytes);

#endif
