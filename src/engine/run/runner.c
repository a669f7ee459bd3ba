/*
 * CPUs with their tiers: creation, end, and what they hear from the CPU (runner.h).
 */
#include "engine/run/runner.h"

#include "engine/run/interp/interp.h"
#include "engine/run/lockstep/lockstep.h"
#include "engine/run/tier/code_outside.h"
#include "engine/x86/observer.h"

_Static_assert(offsetof(struct runner, cpu) == 0, "a runner is addressed by its CPU");

void run_vm_init(struct run_vm *vm, const struct jit_options *options)
{
	code_index_init(&vm->code);
	vm->options = *options;
	vm->decoded = NULL;
	vm->translations = NULL;
	vm->stubs = NULL;
	vm->tsc_khz = 0;
	vm->memory = (struct direct_memory){ .fd = -1 };
}

void run_vm_destroy(struct run_vm *vm)
{
	jit_cache_destroy(vm->translations);
	interp_store_destroy(vm->decoded);
	code_index_destroy(&vm->code);
}

bool run_may_be_direct(const struct run_vm *vm, enum run_choice choice)
{
	bool is_chosen = choice == RUN_BEST || choice == RUN_DIRECT || choice == RUN_DIRECT_COMPARED;

	return is_chosen && vm->stubs && vm->memory.fd >= 0;
}

void run_vm_memory_gone(struct run_vm *vm, uint64_t gpa, uint64_t last)
{
	code_gone(&vm->code, gpa, last);
}

void run_vm_written(struct run_vm *vm, uint64_t gpa, uint64_t size)
{
	code_written_outside(&vm->code, gpa, size);
}

/* -- the CPU's observer: what it says goes to the tiers that want to know -- */

static void tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where)
{
	for (unsigned i = 0; i < cpu->tiers->count; i++)
		if (cpu->tiers->order[i]->tlb_changed)
			cpu->tiers->order[i]->tlb_changed(cpu, change, where);
}

static void access_changed(struct cpu *cpu)
{
	for (unsigned i = 0; i < cpu->tiers->count; i++)
		if (cpu->tiers->order[i]->access_changed)
			cpu->tiers->order[i]->access_changed(cpu);
}

static void fetch_mapped(struct cpu *cpu, uint64_t gpa)
{
	for (unsigned i = 0; i < cpu->tiers->count; i++)
		if (cpu->tiers->order[i]->fetch_mapped)
			cpu->tiers->order[i]->fetch_mapped(cpu, gpa);
}

static uint64_t cpu_code_word(struct cpu *cpu, uint64_t gpa)
{
	return code_word(cpu->tiers->code, gpa);
}

static void code_written(struct cpu *cpu, uint64_t gpa, unsigned size)
{
	fpu_leave(cpu); /* it takes a lock */
	code_stop_apart(cpu, gpa, gpa + size - 1);
	code_changed(cpu->tiers->code, gpa, size);
}

static const struct cpu_observer observer = {
	.tlb_changed = tlb_changed,
	.access_changed = access_changed,
	.fetch_mapped = fetch_mapped,
	.code_word = cpu_code_word,
	.code_written = code_written,
};

/* -- creation -- */

static int add_translator(struct run_vm *vm, struct cpu *cpu)
{
	int result;

	if (!vm->translations) {
		result = jit_cache_create(&vm->options, &vm->code, &vm->translations);
		if (result < 0)
			return result;
	}
	return jit_attach(cpu, vm->translations);
}

static int add_interpreter(struct run_vm *vm, struct cpu *cpu)
{
	int result = 0;

	if (!vm->decoded)
		result = interp_store_create(&vm->code, INTERP_STORE_SIZE, INTERP_STORE_SIZE_MOST, &vm->decoded);
	return result < 0 ? result : interp_attach(cpu, vm->decoded);
}

/* The fastest first. */
static int add_tiers(struct run_vm *vm, struct cpu *cpu, enum run_choice choice)
{
	static const enum direct_use uses[] = { [RUN_DIRECT] = DIRECT_ALWAYS, [RUN_DIRECT_COMPARED] = DIRECT_COMPARED };
	bool may_fail = choice == RUN_BEST || choice == RUN_DIRECT || choice == RUN_DIRECT_COMPARED;
	int result = 0;

	/* Where the host does not allow it, there is the translator. */
	if (run_may_be_direct(vm, choice))
		(void)direct_attach(cpu, vm->stubs, &vm->memory, &vm->experiences, vm->tsc_khz,
				    choice == RUN_BEST ? DIRECT_WHERE_IT_PAYS : uses[choice]);
	if (choice != RUN_INTERPRETED)
		result = add_translator(vm, cpu);
	if (result == 0 && choice == RUN_LOCKSTEP)
		result = lockstep_attach(cpu);
	if (result < 0 && !may_fail)
		return result;
	return add_interpreter(vm, cpu);
}

static void remove_tiers(struct cpu *cpu)
{
	for (unsigned i = 0; i < cpu->tiers->count; i++)
		cpu->tiers->order[i]->detach(cpu);
	cpu->tiers->count = 0;
}

int runner_create(struct runner *runner, struct run_vm *vm, enum run_choice choice, unsigned id,
		  struct kvm_run *run, const struct cpu_platform *platform, void *platform_context)
{
	struct cpu *cpu = &runner->cpu.cpu;
	int result = cpu_create(cpu, id, run, platform, platform_context);

	if (result < 0)
		return result;
	runner->tiers = (struct tiers){ .cpu = cpu, .code = &vm->code };
	cpu->tiers = &runner->tiers;
	result = add_tiers(vm, cpu, choice);
	if (result < 0) {
		remove_tiers(cpu);
		cpu_destroy(cpu);
		return result;
	}
	cpu->observer = &observer;
	observer.access_changed(cpu);
	code_index_add_cpu(&vm->code, &runner->tiers);
	return 0;
}

void runner_destroy(struct runner *runner)
{
	struct cpu *cpu = &runner->cpu.cpu;

	code_index_remove_cpu(runner->tiers.code, &runner->tiers);
	cpu->observer = NULL;
	remove_tiers(cpu);
	cpu_destroy(cpu);
}

void runner_visit_counters(const struct runner *runner, tier_visitor *visit, void *context)
{
	for (unsigned i = runner->tiers.count; i-- > 0;)
		if (runner->tiers.order[i]->visit_counters)
			runner->tiers.order[i]->visit_counters(&runner->cpu.cpu, visit, context);
	visit(context, "writes by devices to code, in the VM", atomic_load(&runner->tiers.code->outside.told));
	visit(context, "times that all code was in doubt, in the VM", atomic_load(&runner->tiers.code->outside.doubts));
}
