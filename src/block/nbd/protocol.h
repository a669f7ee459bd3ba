/*
 * The NBD protocol's numbers (NetworkBlockDevice's doc/proto.md). All are big-endian on the wire.
 */
#ifndef KVIK_BLOCK_NBD_PROTOCOL_H
#define KVIK_BLOCK_NBD_PROTOCOL_H

#include <stdint.h>
#include <string.h>

#include "util/endian.h"

#define NBD_PORT     "10809"
#define NBD_NAME_MAX 4096 /* bytes of any string */

/* "Newstyle negotiation". */
#define NBD_MAGIC	    0x4e42444d41474943ull
#define NBD_OLD_MAGIC	    0x00420281861253ull
#define NBD_OPTION_MAGIC    0x49484156454f5054ull
#define NBD_REPLY_MAGIC	    0x3e889045565a9ull
#define NBD_FIXED_NEWSTYLE  (1u << 0) /* of both sides' flags */
#define NBD_NO_ZEROES	    (1u << 1)
#define NBD_OLD_PADDING	    124

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

enum nbd_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
	NBD_REP_ERROR = 1u << 31,
	NBD_REP_ERR_UNSUP = NBD_REP_ERROR | 1,
	NBD_REP_ERR_POLICY = NBD_REP_ERROR | 2,
	NBD_REP_ERR_INVALID = NBD_REP_ERROR | 3,
	NBD_REP_ERR_TLS_REQD = NBD_REP_ERROR | 5,
	NBD_REP_ERR_UNKNOWN = NBD_REP_ERROR | 6,
	NBD_REP_ERR_SHUTDOWN = NBD_REP_ERROR | 7,
	NBD_REP_ERR_TOO_BIG = NBD_REP_ERROR | 9,
};

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

#define NBD_CONTEXT_ALLOCATION "base:allocation"
#define NBD_STATE_HOLE	       (1u << 0)
#define NBD_STATE_ZERO	       (1u << 1)
/* QEMU's: how many images down from the topmost it is; 0: nowhere. */
#define NBD_CONTEXT_DEPTH "qemu:allocation-depth"

/* "Transmission flags". */
#define NBD_FLAG_HAS_FLAGS	    (1u << 0)
#define NBD_FLAG_READ_ONLY	    (1u << 1)
#define NBD_FLAG_SEND_FLUSH	    (1u << 2)
#define NBD_FLAG_SEND_FUA	    (1u << 3)
#define NBD_FLAG_SEND_TRIM	    (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1u << 6)
#define NBD_FLAG_SEND_DF	    (1u << 7)
#define NBD_FLAG_CAN_MULTI_CONN    (1u << 8)

/* "Transmission phase". */
#define NBD_REQUEST_MAGIC    0x25609513u
#define NBD_SIMPLE_MAGIC     0x67446698u
#define NBD_STRUCTURED_MAGIC 0x668e33efu
#define NBD_REQUEST_BYTES    28
#define NBD_SIMPLE_BYTES     16
#define NBD_CHUNK_BYTES	     20

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};
#define NBD_CMD_FLAG_FUA     (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE (1u << 1)
#define NBD_CMD_FLAG_DF	     (1u << 2)
#define NBD_CMD_FLAG_REQ_ONE (1u << 3)

#define NBD_CHUNK_DONE (1u << 0)
enum nbd_chunk {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_DATA = 1,
	NBD_CHUNK_HOLE = 2,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = 1u << 15, /* bit of all errors */
	NBD_CHUNK_ANY_ERROR = NBD_CHUNK_ERROR | 1,
};

/* What a server takes that tells no limit ("Block size constraints"). */
#define NBD_REQUEST_MAX (32u << 20)

#endif
