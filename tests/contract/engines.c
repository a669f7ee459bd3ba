/*
 * One process, several systems: VMs of the interpreter, of the translator with a small code cache, of both
 * in lockstep, and of Linux's KVM where it works, run at the same time, each by its own options and on its own
 * memory. One that ends takes nothing of the others with it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract.h"

#define ROUNDS	   12
#define COUNT_GPA  0x2000
#define RESULT_GPA 0x3000

/*
 *	mov	0x2000, %ecx
 *	xor	%eax, %eax
 * 1:	add	%ecx, %eax
 *	rol	$5, %eax
 *	dec	%ecx
 *	jnz	1b
 *	mov	%eax, 0x3000
 *	hlt
 */
static const uint8_t code[] = {0x8b, 0x0d, 0x00, 0x20, 0x00, 0x00, 0x31, 0xc0, 0x01, 0xc8, 0xc1, 0xc0,
			       0x05, 0x49, 0x75, 0xf8, 0xa3, 0x00, 0x30, 0x00, 0x00, 0xf4};

static uint32_t result_of(uint32_t count)
{
	uint32_t result = 0;

	for (; count; count--) {
		result += count;
		result = result << 5 | result >> 27;
	}
	return result;
}

struct place {
	const struct kvm_backend *backend;
	struct kvm_options options;
	bool is_there;
	struct kvm_system system;
	struct machine machine;
	struct vcpu_thread thread;
};

static void open_place(struct place *place)
{
	struct error error;

	if (kvm_system_open(&place->system, place->backend, &place->options, &error) < 0) {
		printf("without %s: %s\n", place->backend->name, error.message);
		check(place->backend == &kvm_backend_linux);
		return;
	}
	place->is_there = true;
	machine_create(&place->machine, &place->system, IRQCHIP_NONE, code, sizeof(code));
}

static void close_place(struct place *place)
{
	if (!place->is_there)
		return;
	machine_destroy(&place->machine);
	kvm_system_close(&place->system);
	place->is_there = false;
}

/* Each has something else to count. */
static uint32_t count_for(unsigned round, unsigned number)
{
	return 30000 + round * 1000 + number * 77;
}

static void run_all(struct place *places, unsigned count, unsigned round)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t number = count_for(round, i);

		if (!places[i].is_there)
			continue;
		machine_load_flat(&places[i].machine, code, sizeof(code));
		memcpy(places[i].machine.ram + COUNT_GPA, &number, sizeof(number));
		vcpu_thread_start(&places[i].thread, &places[i].machine.vcpu);
	}
	for (unsigned i = 0; i < count; i++) {
		uint32_t result;

		if (!places[i].is_there)
			continue;
		vcpu_thread_finish(&places[i].thread, KVM_EXIT_HLT);
		check_equal(places[i].thread.result, 0);
		memcpy(&result, places[i].machine.ram + RESULT_GPA, sizeof(result));
		check_equal(result, result_of(count_for(round, i)));
	}
}

struct counted {
	const char *name;
	uint64_t value;
};

static void take_counter(void *context, const char *name, uint64_t value)
{
	struct counted *counted = context;

	if (strstr(name, counted->name))
		counted->value += value;
}

static uint64_t counter_of(const struct place *place, const char *name)
{
	struct counted counted = {.name = name};

	place->backend->read_statistics(place->machine.vcpu.fd, take_counter, &counted);
	return counted.value;
}

int main(void)
{
	struct place places[] = {
		{.backend = &kvm_backend_interpreter},
		{.backend = &kvm_backend_translator,
		 .options = {.code_cache_bytes = KVM_CODE_CACHE_MIN, .warmth_plus_1 = 1}},
		{.backend = &kvm_backend_lockstep},
		{.backend = &kvm_backend_linux},
	};
	unsigned count = sizeof(places) / sizeof(places[0]), round;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < count; i++)
		open_place(&places[i]);
	for (round = 0; round < ROUNDS; round++)
		run_all(places, count, round);
	check(counter_of(&places[0], "instructions of the interpreter") > ROUNDS * 4 * 30000);
	check_equal(counter_of(&places[0], "blocks translated"), 0);
	check(counter_of(&places[1], "blocks translated") > 0);
	check(counter_of(&places[1], "instructions of the interpreter") < ROUNDS * 30000);
	/* Some go, and come again, while the others stay. */
	for (; round < 2 * ROUNDS; round++) {
		close_place(&places[round % count]);
		run_all(places, count, round);
		open_place(&places[round % count]);
		run_all(places, count, round);
	}
	for (unsigned i = 1; i < count; i++)
		close_place(&places[i]);
	run_all(places, count, round);
	close_place(&places[0]);
	return contract_finish();
}
