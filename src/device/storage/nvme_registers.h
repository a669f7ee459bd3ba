/* NVMe's registers, commands and status codes, by name (NVMe 1.4 §3.1, §4.6, §5, §6). */
#ifndef KVIK_DEVICE_STORAGE_NVME_REGISTERS_H
#define KVIK_DEVICE_STORAGE_NVME_REGISTERS_H

#define NVME_CAP      0x00
#define NVME_VS	      0x08
#define NVME_INTMS    0x0c
#define NVME_INTMC    0x10
#define NVME_CC	      0x14
#define NVME_CSTS     0x1c
#define NVME_AQA      0x24
#define NVME_ASQ      0x28
#define NVME_ACQ      0x30
#define NVME_DOORBELLS 0x1000

#define NVME_VERSION 0x00010400u

#define CC_ENABLE   0x00000001u
#define CC_PAGE     0x00000780u /* 0: 4 KiB, the only one */
#define CC_SHUTDOWN 0x0000c000u
#define CC_BITS	    0x00fffff1u

#define CSTS_READY	   0x1u
#define CSTS_FATAL	   0x2u
#define CSTS_SHUTTING_DOWN 0x4u
#define CSTS_SHUT_DOWN	   0x8u
#define CSTS_SHUTDOWN	   0xcu

#define NVME_COMMAND_BYTES    64
#define NVME_COMPLETION_BYTES 16
#define NVME_PAGE	      4096u

/* Admin commands. */
#define ADMIN_DELETE_SQ	   0x00
#define ADMIN_CREATE_SQ	   0x01
#define ADMIN_GET_LOG	   0x02
#define ADMIN_DELETE_CQ	   0x04
#define ADMIN_CREATE_CQ	   0x05
#define ADMIN_IDENTIFY	   0x06
#define ADMIN_ABORT	   0x08
#define ADMIN_SET_FEATURES 0x09
#define ADMIN_GET_FEATURES 0x0a
#define ADMIN_ASYNC_EVENT  0x0c

/* I/O commands. */
#define IO_FLUSH	0x00
#define IO_WRITE	0x01
#define IO_READ		0x02
#define IO_WRITE_ZEROES 0x08
#define IO_MANAGEMENT	0x09

#define QUEUE_CONTIGUOUS 0x1u
#define QUEUE_INTERRUPTS 0x2u

#define RW_FUA	     (1u << 30)
#define ZEROES_DEALLOCATE (1u << 25)
#define MANAGEMENT_DEALLOCATE 0x4u

#define FEATURE_WRITE_CACHE 0x06
#define FEATURE_QUEUES	    0x07

/* Status: code, its type above, and that trying again will not help. */
#define NVME_OK		     0x0000
#define NVME_NO_RETRY	     0x4000
#define NVME_BAD_OPCODE	     (NVME_NO_RETRY | 0x001)
#define NVME_BAD_FIELD	     (NVME_NO_RETRY | 0x002)
#define NVME_TRANSFER_ERROR  0x004
#define NVME_INTERNAL	     0x006
#define NVME_BAD_NAMESPACE   (NVME_NO_RETRY | 0x00b)
#define NVME_BAD_PRP_OFFSET  (NVME_NO_RETRY | 0x013)
#define NVME_OUT_OF_RANGE    (NVME_NO_RETRY | 0x080)
#define NVME_BAD_CQ	     (NVME_NO_RETRY | 0x100)
#define NVME_BAD_QUEUE	     (NVME_NO_RETRY | 0x101)
#define NVME_BAD_QUEUE_SIZE  (NVME_NO_RETRY | 0x102)
#define NVME_TOO_MANY_EVENTS (NVME_NO_RETRY | 0x105)
#define NVME_BAD_VECTOR	     (NVME_NO_RETRY | 0x108)
#define NVME_BAD_LOG	     (NVME_NO_RETRY | 0x109)
#define NVME_CQ_IN_USE	     (NVME_NO_RETRY | 0x10c)
#define NVME_WRITE_FAULT     0x280
#define NVME_READ_ERROR	     0x281
#define NVME_READ_ONLY	     (NVME_NO_RETRY | 0x182)

#endif
