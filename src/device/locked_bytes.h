/* Plain bytes of a device that guests read and write, under its lock. The access lies inside them; its
 * `size` is 1 to 8. */
#ifndef KVIK_DEVICE_LOCKED_BYTES_H
#define KVIK_DEVICE_LOCKED_BYTES_H

#include <pthread.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t locked_bytes_read(pthread_mutex_t *lock, const uint8_t *at, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(lock);
	memcpy(&value, at, size);
	pthread_mutex_unlock(lock);
	return value;
}

static inline void locked_bytes_write(pthread_mutex_t *lock, uint8_t *at, unsigned size,
				      uint64_t value)
{
	pthread_mutex_lock(lock);
	memcpy(at, &value, size);
	pthread_mutex_unlock(lock);
}

#endif
