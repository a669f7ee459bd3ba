/* A monitor from inside the room. */
#ifndef KVIK_MONITOR_MONITOR_STATE_H
#define KVIK_MONITOR_MONITOR_STATE_H

#include "machine/inspect.h"
#include "machine/machine.h"
#include "monitor/facts.h"
#include "monitor/schema.h"
#include "monitor/typist.h"

struct qmp_session;
struct hmp_session;

struct monitor {
	struct monitor_facts facts;
	struct machine *machine; /* NULL: none */
	struct machine_observer observer;
	bool has_run; /* the machine, since power-on or the last reset */
	struct schema *schema;
	struct qmp_session *qmp; /* lists of sessions */
	struct hmp_session *hmp;
	bool migration_events;
	struct typist typist;
};

#endif
