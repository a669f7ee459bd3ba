/*
 * A machine that moves to another process. Its memory is copied while it runs, then what was written to meanwhile,
 * in rounds, until what is left can be sent within the time that the guest may stand still; then it stops, and the
 * rest follows (snapshot.h, SNAPSHOT_VERSION_LIVE). So it works as long as the guest writes to less memory than
 * goes through in that time; otherwise the rounds go on until somebody ends them, or allows it more.
 *
 * A thread of its own copies, so nobody waits for a peer that does not go on. What is called here is called, and
 * calls, on the I/O thread.
 */
#ifndef KVIK_MACHINE_MIGRATE_H
#define KVIK_MACHINE_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

struct machine;

/* How it has ended. `result`: 0, -ECANCELED, or another -errno with `error`. Nothing is under way any more. */
struct migration_user {
	void (*done)(void *context, int result, const struct error *error);
	void *context;
};

/* --- out --- */

struct migration_limits {
	uint64_t bytes_per_s; /* while the guest runs; 0: none */
	uint64_t downtime_ms; /* that the guest may stand still for */
};
struct migration_progress {
	uint64_t ram_bytes, remaining_bytes, sent_bytes, normal_pages, zero_pages;
	uint64_t rounds, bytes_per_s, dirty_pages_per_s;
	uint64_t total_ns, downtime_ns, expected_downtime_ns;
	bool has_stopped; /* the guest has to stand still by now */
};

struct sending;
/*
 * Send the machine on `fd`, which is the sending's from now on, also when this fails. At its end the machine stands
 * still (MACHINE_PAUSE_SENT) and its devices are held if all of it has arrived (machine_keep lets it go on here),
 * or goes on as if nothing had been. NULL, and `error`, on failure.
 */
struct sending *machine_send(struct machine *machine, int fd, const struct migration_limits *limits,
			     const struct migration_user *user, struct error *error);
void sending_limit(struct sending *sending, const struct migration_limits *limits);
void sending_cancel(struct sending *sending); /* it ends soon */
void sending_progress(const struct sending *sending, struct migration_progress *progress);
/* End it, without telling anybody, if it has not; and free it. NULL is fine. */
void sending_end(struct sending *sending);

/* --- in --- */

struct receiving;
/*
 * Have a machine that has not run yet (MACHINE_PAUSE_INCOMING), and whose vCPUs have parked, be what comes on `fd`,
 * which is the receiving's from now on. When that has failed it must never run. NULL, and `error`, on failure.
 */
struct receiving *machine_receive(struct machine *machine, int fd, const struct migration_user *user,
				  struct error *error);
/* As sending_end. */
void receiving_end(struct receiving *receiving);

#endif
