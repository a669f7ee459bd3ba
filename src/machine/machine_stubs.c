/* Processes that a backend runs guest code in: made by a helper, for whichever vCPU wants one. */
#include "machine/machine_parts.h"
#include "sandbox/spawner.h"
#include "util/log.h"

static int spawn_stub(void *context, struct stub *stub)
{
	struct machine *machine = context;
	int result;

	pthread_mutex_lock(&machine->spawner_lock);
	result = spawner_spawn(machine->spawner, stub);
	pthread_mutex_unlock(&machine->spawner_lock);
	return result;
}

static int kill_stub(void *context, uint32_t id)
{
	struct machine *machine = context;
	int result;

	pthread_mutex_lock(&machine->spawner_lock);
	result = spawner_kill(machine->spawner, id);
	pthread_mutex_unlock(&machine->spawner_lock);
	return result;
}

/* For a backend that runs guest code in processes of their own; without, it does it otherwise. While this
 * process has one thread. */
void machine_start_spawner(struct machine *machine)
{
	struct machine_config *config = &machine->config;

	if (!config->backend->stub_function)
		return;
	machine->spawner = spawner_start(config->backend->stub_function(), STUB_LOCKS,
					  &machine->no_stubs);
	if (machine->spawner < 0) {
		log_info("no direct execution: %s", machine->no_stubs.message);
		return;
	}
	machine->stubs = (struct stub_source){spawn_stub, kill_stub, machine, SPAWNER_STUBS};
	config->kvm_options.stubs = &machine->stubs;
	config->sandbox.uses_helpers = true;
}
