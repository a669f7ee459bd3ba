/* Knowing eventfds (eventfd(2)) by nothing but their descriptors: a confined process has no /proc. */
#ifndef KVIK_UTIL_EVENTFD_H
#define KVIK_UTIL_EVENTFD_H

#include <stdbool.h>

/* 0 for an eventfd's descriptor, -EINVAL for another, -EBADF for none. Never blocks, and leaves the
 * count as it is. */
int eventfd_check(int fd);

/*
 * Whether two descriptors are of one eventfd. Where kcmp(2) is forbidden that cannot be known; then
 * whether `number`, which the first was given as, is the second.
 */
bool eventfd_is_same(int fd, int number, int other_fd);

/*
 * Where the eventfd behind one descriptor stands beside that behind another, in an order of all that lasts
 * as long as they do: EVENTFD_IS_BEFORE, _SAME or _BEHIND; or EVENTFD_IS_UNKNOWN where kcmp(2) is
 * forbidden.
 */
enum eventfd_order { EVENTFD_IS_BEFORE, EVENTFD_IS_SAME, EVENTFD_IS_BEHIND, EVENTFD_IS_UNKNOWN };
enum eventfd_order eventfd_compare(int fd, int other_fd);

#endif
