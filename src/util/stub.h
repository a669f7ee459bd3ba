/*
 * Stubs: processes in which a monitor runs what it trusts as little as its guest (sandbox/spawner.h makes
 * them, engine/run/direct uses them). What both sides share of their form.
 */
#ifndef KVIK_UTIL_STUB_H
#define KVIK_UTIL_STUB_H

#include <stdint.h>

#define STUB_PAGE_BYTES 65536

/* A stub as its monitor has it; the descriptors are the monitor's to close. */
struct stub {
	uint32_t id;
	int process; /* a pidfd: readable when the stub has ended */
	int socket;  /* SOCK_SEQPACKET; the stub has the other end */
	int page;    /* a memfd of STUB_PAGE_BYTES that it has mapped, zeroed at first */
};

/* What a stub does. It ends when this returns. */
typedef void stub_function(int socket, void *page);

/* Where stubs come from. Any thread, one at a time. */
struct stub_source {
	/* 0 or -errno; -EAGAIN: as many are there as may be. */
	int (*spawn)(void *context, struct stub *stub);
	/* End it; its descriptors stay open. 0, or -ESRCH: it had ended before. */
	int (*kill)(void *context, uint32_t id);
	void *context;
	unsigned most; /* at one time, for whoever shares them out; 0: not known */
};

#endif
