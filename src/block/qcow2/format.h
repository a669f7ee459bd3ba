/*
 * The qcow2 format on the medium: names for what QEMU's docs/interop/qcow2.txt defines. All numbers
 * are big-endian.
 */
#ifndef KVIK_BLOCK_QCOW2_FORMAT_H
#define KVIK_BLOCK_QCOW2_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "util/endian.h"

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

#define HEADER_SIZE_V2	72
#define HEADER_SIZE_V3	104 /* without the compression type */
#define HEADER_SIZE_MAX 112 /* what kvik writes: with it, padded */

/* "Header": byte offsets of fields. */
enum {
	HEADER_MAGIC = 0,
	HEADER_VERSION = 4,
	HEADER_BACKING_OFFSET = 8,
	HEADER_BACKING_SIZE = 16,
	HEADER_CLUSTER_BITS = 20,
	HEADER_SIZE = 24,
	HEADER_CRYPT_METHOD = 32,
	HEADER_L1_SIZE = 36,
	HEADER_L1_OFFSET = 40,
	HEADER_REFTABLE_OFFSET = 48,
	HEADER_REFTABLE_CLUSTERS = 56,
	HEADER_SNAPSHOT_COUNT = 60,
	HEADER_SNAPSHOTS_OFFSET = 64,
	HEADER_INCOMPATIBLE = 72,
	HEADER_COMPATIBLE = 80,
	HEADER_AUTOCLEAR = 88,
	HEADER_REFCOUNT_ORDER = 96,
	HEADER_LENGTH = 100,
	HEADER_COMPRESSION = 104,
	HEADER_TAIL = 105, /* padding, and fields of later versions */
};

#define INCOMPATIBLE_DIRTY	 (1ull << 0)
#define INCOMPATIBLE_CORRUPT	 (1ull << 1)
#define INCOMPATIBLE_DATA_FILE	 (1ull << 2)
#define INCOMPATIBLE_COMPRESSION (1ull << 3)
#define INCOMPATIBLE_EXTENDED_L2 (1ull << 4)
#define INCOMPATIBLE_KNOWN	 0x1full
#define COMPATIBLE_LAZY		 (1ull << 0)
#define AUTOCLEAR_BITMAPS	 (1ull << 0)
#define AUTOCLEAR_RAW_DATA	 (1ull << 1)
#define AUTOCLEAR_KNOWN		 0x3ull

#define DEFLATE_WINDOW_BITS 12

enum { COMPRESSION_ZLIB = 0, COMPRESSION_ZSTD = 1 };

/* "Header extensions" */
#define EXTENSION_END		 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES	 0x6803f857u
#define EXTENSION_BITMAPS	 0x23852875u
#define EXTENSION_DATA_FILE	 0x44415441u

#define CLUSTER_BITS_MIN 9
#define CLUSTER_BITS_MAX 21 /* as QEMU */
#define EXTENDED_BITS_MIN 14
#define SUBCLUSTERS	 32
#define NAME_MAX_BYTES	 1023
/* As QEMU: bytes of tables that are held in memory. */
#define L1_BYTES_MAX	   (32u << 20)
#define REFTABLE_BYTES_MAX (8u << 20)
#define SNAPSHOTS_MAX	   65536u
#define SNAPSHOT_BYTES_MAX (64u << 20) /* the table of them */
#define BITMAPS_MAX	   65535u
#define HOST_OFFSET_MAX	   (1ull << 56)

/* "Bitmaps" */
#define BITMAP_ENTRY_BYTES 24
#define BITMAP_IN_USE	   (1u << 0)
#define BITMAP_AUTO	   (1u << 1)
#define BITMAP_DIRTY_TYPE  1
#define BITMAP_GRANULARITY_BITS_MIN 9
#define BITMAP_GRANULARITY_BITS_MAX 31

/* "Cluster mapping" */
#define ENTRY_OFFSET	 0x00fffffffffffe00ull /* of L1 and L2 entries: bits 9-55 */
#define ENTRY_COPIED	 (1ull << 63)
#define ENTRY_COMPRESSED (1ull << 62)
#define ENTRY_ZERO	 (1ull << 0)
#define L1_RESERVED	 0x7f000000000001ffull
#define L2_RESERVED	 0x3f000000000001feull /* of what is not compressed; bit 0 is ENTRY_ZERO */
#define REFTABLE_OFFSET	 0xfffffffffffffe00ull
#define REFTABLE_RESERVED 0x1ffull

#endif
