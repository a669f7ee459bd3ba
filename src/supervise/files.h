/* The calls by which programs find and open the device. */
#ifndef KVIK_SUPERVISE_FILES_H
#define KVIK_SUPERVISE_FILES_H

#include <stdbool.h>

struct call;

/* Answer the call if it names the device, or asks what a descriptor of it is. False: it does not.
 */
bool files_serve(const struct call *call);

#endif
