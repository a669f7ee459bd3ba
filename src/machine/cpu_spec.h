/*
 * `--cpu MODEL[,+FEATURE][,-FEATURE][,NAME=VALUE]...`: which CPU the guest gets, as users say it,
 * and the CPUID that it has on a backend.
 */
#ifndef KVIK_MACHINE_CPU_SPEC_H
#define KVIK_MACHINE_CPU_SPEC_H

#include <linux/kvm.h>
#include <stdio.h>

#include "machine/cpu_features.h"
#include "machine/cpu_models.h"
#include "util/error.h"

#define CPU_VENDOR_LENGTH   12
#define CPU_MODEL_ID_LENGTH 48

struct cpu_spec {
	const struct cpu_model *model; /* NULL: the host's CPU, all that the backend supports */
	struct cpu_feature_set on, off;
	char vendor[CPU_VENDOR_LENGTH + 1];                    /* empty: the model's */
	char model_id[CPU_MODEL_ID_LENGTH + 1];                /* empty: the model's */
	unsigned family_plus_1, model_plus_1, stepping_plus_1; /* 0: the model's */
	unsigned physical_bits; /* of addresses, at most the host's; 0: as many */
	bool hides_kvm;                                        /* no leaves 0x40000000 */
	bool is_enforced;                                      /* a missing feature is an error */
	bool is_silent;                                        /* ... is not even a warning */
};

/* All zeros are "host". 0, or -EINVAL with one line in `error`. */
int cpu_spec_parse(struct cpu_spec *spec, const char *text, struct error *error);

/* The models and features that there are. */
void cpu_spec_print_help(FILE *file);

#define CPU_SPEC_ENTRIES 40 /* that a model may have besides those of `supported` */

/*
 * Make the spec's CPUID out of the backend's KVM_GET_SUPPORTED_CPUID, in place: room for
 * CPU_SPEC_ENTRIES more is behind its entries. Topology is left to do. `missing` gets what the spec
 * asks for and the backend does not have, which is left out.
 */
void cpu_spec_resolve(const struct cpu_spec *spec, struct kvm_cpuid2 *cpuid,
                      struct cpu_feature_set *missing);

/* What CPUs of a model have, whatever the backend. */
void cpu_model_features(const struct cpu_model *model, struct cpu_feature_set *features);
/* The features that leaves of CPUID show. */
void cpu_features_of(struct kvm_cpuid2 *cpuid, struct cpu_feature_set *features);

/* The names of a set's features, with blanks between, cut to `size` bytes. */
void cpu_feature_names(const struct cpu_feature_set *set, char *text, size_t size);

#endif
