/* A monitor from inside the room. */
#ifndef KVIK_MONITOR_MONITOR_STATE_H
#define KVIK_MONITOR_MONITOR_STATE_H

#include "machine/inspect.h"
#include "machine/machine.h"
#include "machine/migrate.h"
#include "monitor/dirty_rate.h"
#include "monitor/facts.h"
#include "monitor/schema.h"
#include "monitor/typist.h"

enum migration_status {
	MIGRATION_NONE,
	MIGRATION_SETUP,
	MIGRATION_ACTIVE,
	MIGRATION_CANCELLING,
	MIGRATION_CANCELLED,
	MIGRATION_COMPLETED,
	MIGRATION_FAILED,
};

#define MONITOR_DESCRIPTORS 16
#define JOBS_MAX	    64

enum job_type { JOB_SNAPSHOT_SAVE, JOB_SNAPSHOT_LOAD, JOB_SNAPSHOT_DELETE, JOB_CREATE };

struct qmp_session;
struct hmp_session;
struct monitor_job;
struct block_job;

struct monitor {
	struct monitor_facts facts;
	struct machine *machine; /* NULL: none */
	struct machine_observer observer;
	bool was_asleep; /* when it was told to have paused */
	bool has_run; /* the machine, since power-on or the last reset */
	struct schema *schema;
	struct qmp_session *qmp; /* lists of sessions */
	struct hmp_session *hmp;
	bool migration_events;
	struct {
		enum migration_status status;
		struct migration_limits limits;
		struct sending *sending;     /* the last one that was sent, or NULL */
		struct receiving *receiving; /* likewise, while it comes */
		int fd;			  /* where it will come from; -1 */
		bool listens;		  /* it comes from a peer that connects to that */
		struct event_source source; /* of one that is received */
		struct error problem; /* of one that failed */
	} migration;
	struct {
		char *name; /* owned */
		int fd;
	} descriptors[MONITOR_DESCRIPTORS]; /* getfd's */
	unsigned descriptor_count;
	struct block_job *block_jobs; /* commands_block_jobs.c */
	struct monitor_job *jobs;	      /* in the order in which they came */
	struct event_timer job_timer; /* carries out the next one */
	struct typist typist;
	struct dirty_rate dirty_rate;
	struct {
		const char *status; /* as DumpStatus has it; NULL: there was none */
		uint64_t bytes;
	} dump; /* the last one */
};

#endif
