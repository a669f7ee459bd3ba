/* QMP's commands about CPUs and their models. */
#include <errno.h>
#include <string.h>

#include "machine/cpu_spec.h"
#include "machine/inspect.h"
#include <qmp_commands.h>

/* A CPU's place, as -smp has sockets, cores and threads. */
static json_t *topology(const struct machine_config *config, unsigned index)
{
	unsigned most = config->max_cpus > config->cpus ? config->max_cpus : config->cpus;
	const struct cpu_topology topology = cpu_topology_of(&config->topology, most);
	struct cpu_place place = cpu_topology_place(&topology, index);

	return json_pack("{s:i,s:i,s:i,s:i}", "socket-id", (int)place.socket, "die-id", (int)place.die, "core-id",
			 (int)place.core, "thread-id", (int)place.thread);
}

static json_t *cpu_path(const struct monitor *monitor, unsigned index)
{
	const struct monitor_facts *facts = &monitor->facts;
	const char *id;

	if (!facts->find_cpu || !facts->find_cpu(facts->change_context, index, &id))
		return json_sprintf("/machine/unattached/device[%u]", index);
	return id ? json_sprintf("/machine/peripheral/%s", id) : json_sprintf("/machine/peripheral-anon/device[%u]", index);
}

json_t *qmp_query_cpus_fast(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;
	const struct machine_config *config = machine ? machine_configuration(machine) : NULL;
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; machine && i < machine_cpus(machine); i++)
		if (machine_has_cpu(machine, i))
			json_array_append_new(
			answer, json_pack("{s:I,s:o,s:I,s:o,s:s}", "cpu-index", (json_int_t)i, "qom-path",
					  cpu_path(call->monitor, i), "thread-id",
					  (json_int_t)machine_cpu_thread(machine, i), "props",
					  topology(config, i), "target", "x86_64"));
	return answer;
}

json_t *qmp_query_hotpluggable_cpus(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;
	const struct machine_config *config = machine ? machine_configuration(machine) : NULL;
	const char *model = config && config->cpu.model ? config->cpu.model->name : "max";
	json_t *answer = json_array(), *one;
	unsigned i;

	for (i = 0; machine && i < machine_cpus(machine); i++) {
		one = json_pack("{s:o,s:i,s:o}", "type", json_sprintf("%s-x86_64-cpu", model), "vcpus-count", 1, "props",
				topology(config, i));
		if (machine_has_cpu(machine, i))
			json_object_set_new(one, "qom-path", cpu_path(call->monitor, i));
		json_array_append_new(answer, one);
	}
	return answer;
}

static bool is_bare_model(const char *name)
{
	return strcmp(name, "max") == 0 || strcmp(name, "host") == 0;
}

/* What a model has; false: there is none of that name. */
static bool model_features(const struct monitor *monitor, const char *name,
			   struct cpu_feature_set *features)
{
	const struct cpu_model *model = cpu_model_find(name);

	if (is_bare_model(name)) {
		*features = monitor->facts.cpu_features;
		return true;
	}
	if (strcmp(name, "base") == 0) {
		*features = (struct cpu_feature_set){{0}};
		return true;
	}
	if (model)
		cpu_model_features(model, features);
	return model != NULL;
}

/* A feature of one name only: the list has second names behind the first. */
static bool is_second_name(unsigned index)
{
	return index && cpu_features[index].word == cpu_features[index - 1].word &&
	       cpu_features[index].bit == cpu_features[index - 1].bit;
}

json_t *qmp_query_cpu_definitions(struct qmp_call *call)
{
	const struct cpu_feature_set *have = &call->monitor->facts.cpu_features;
	struct cpu_feature_set features;
	json_t *answer = json_array(), *missing;
	unsigned i, j;

	for (i = 0; i < cpu_model_count + 2; i++) {
		const char *name = i < cpu_model_count ? cpu_models[i].name : i == cpu_model_count ? "max" : "host";

		missing = json_array();
		model_features(call->monitor, name, &features);
		for (j = 0; j < cpu_feature_count; j++)
			if (!is_second_name(j) && cpu_feature_in(&features, &cpu_features[j]) &&
			    !cpu_feature_in(have, &cpu_features[j]))
				json_array_append_new(missing, json_string(cpu_features[j].name));
		json_array_append_new(
			answer, json_pack("{s:s,s:o,s:b,s:b,s:b,s:o}", "name", name, "typename",
					  json_sprintf("%s-x86_64-cpu", name), "static", 0,
					  "migration-safe", i < cpu_model_count, "deprecated", 0,
					  "unavailable-features", missing));
	}
	return answer;
}

/* Properties that are features, taken into the set; others are the caller's. */
static void apply_properties(const json_t *properties, struct cpu_feature_set *features)
{
	const struct named_cpu_feature *feature;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)properties, name, value) {
		feature = cpu_feature_find(name, strlen(name));
		if (feature && json_is_boolean(value))
			cpu_feature_put(features, feature, json_is_true(value));
	}
}

json_t *qmp_query_cpu_model_expansion(struct qmp_call *call)
{
	const json_t *model = json_object_get(call->arguments, "model");
	const json_t *given = json_object_get(model, "props");
	const char *name = json_string_value(json_object_get(model, "name"));
	const char *type = json_string_value(json_object_get(call->arguments, "type"));
	struct cpu_feature_set features;
	json_t *properties;
	unsigned i;

	if (!model_features(call->monitor, name, &features)) {
		error_set(&call->error, EINVAL, "The CPU type '%.100s' is not a known CPU type", name);
		return NULL;
	}
	apply_properties(given, &features);
	/* A static expansion is what makes it out of the model without anything, "base". */
	properties = json_object();
	for (i = 0; i < cpu_feature_count; i++)
		if (!is_second_name(i))
			json_object_set_new(properties, cpu_features[i].name,
					    json_boolean(cpu_feature_in(&features, &cpu_features[i])));
	return json_pack("{s:{s:s,s:o}}", "model", "name", strcmp(type, "static") == 0 ? "base" : name,
			 "props", properties);
}
