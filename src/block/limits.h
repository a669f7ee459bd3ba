/* What the room's files agree on, for block.h's users and for the images below. */
#ifndef KVIK_BLOCK_LIMITS_H
#define KVIK_BLOCK_LIMITS_H

#define BLOCK_SECTOR_SIZE 512
#define BLOCK_SERIAL_MAX  20	     /* characters of a serial number, as in virtio 1.2 §5.2.6 */
#define BLOCK_VECTORS_MAX 1024	     /* host buffers of one request */
#define BLOCK_REQUEST_MAX (1u << 30) /* bytes of one read or write */

#endif
