/* KVM's requests, whose arguments are in the program's memory. */
#ifndef KVIK_SUPERVISE_REQUESTS_H
#define KVIK_SUPERVISE_REQUESTS_H

#include <stdbool.h>

struct call;

/* Answer an ioctl on one of the engine's descriptors; false when it is on another. */
bool requests_serve(const struct call *call);

#endif
