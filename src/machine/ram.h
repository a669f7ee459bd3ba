/*
 * The guest's RAM: one file, a memfd or what the user has named, mapped once, shown to the VM as memory slots.
 *
 * The PC's memory map: conventional memory below 640 KiB, the video hole up to 768 KiB (no RAM:
 * accesses exit as memory-mapped I/O), shadow RAM up to 1 MiB, RAM from there up to at most 3 GiB, the
 * device hole up to 4 GiB, and the rest of the RAM above 4 GiB. On boards with configuration space by
 * memory where firmware wants it RAM ends below that.
 */
#ifndef KVIK_MACHINE_RAM_H
#define KVIK_MACHINE_RAM_H

#include "device/guest_memory.h"
#include "kvm/kvm.h"
#include "machine/ram_shadow.h"

#define RAM_VIDEO_HOLE	   0xa0000ull
#define RAM_VIDEO_HOLE_END RAM_SHADOW_START
#define RAM_LOW_LIMIT	   0xc0000000ull /* the device hole begins here at the latest */
#define RAM_HIGH_START	   0x100000000ull

/*
 * Memory that may come, in slots of a board's, each a DIMM: somewhere above the RAM, in a span of addresses that is kept
 * free for it, with room to align it.
 */
#define RAM_DIMMS_MAX  64
#define RAM_FIRST_DIMM (GUEST_MEMORY_MAX_REGIONS - RAM_DIMMS_MAX) /* among the regions: that of slot 0 */
#define RAM_ANY_SLOT   UINT32_MAX
struct ram_more {
	unsigned slots; /* 0: none */
	uint64_t bytes; /* in all of them */
};
struct ram_dimm {
	unsigned slot;
	uint64_t gpa, size_bytes; /* whole 2 MiB; size 0: there is none */
};

/* Which of the VM's memory slots are RAM's: one for each region, and those of shadow RAM. */
#define RAM_SLOTS (RAM_SHADOW_FIRST_SLOT + RAM_SHADOW_SEGMENTS)

#define RAM_MIN_BYTES (1ull << 20)
#define RAM_MAX_BYTES (1ull << 40)

/* Where a board's RAM ends below 4 GiB: at `low_most` if there is more than that, and then at `low_limit`; and
 * where PCI's configuration space lies. */
struct ram_layout {
	uint64_t low_most, low_limit;
	uint64_t ecam_gpa, ecam_end;
};
extern const struct ram_layout ram_layout_pc, ram_layout_q35;

/* What RAM is in, if not in a memfd of its own: a file that is large enough, and stays its own size. */
struct ram_backing {
	bool has_file;
	int fd;		      /* stays the caller's */
	bool is_preallocated; /* all of it is there from the start, or nothing is */
	bool is_discarded;    /* what is in it is of no use to anybody afterwards */
};

struct ram {
	struct guest_memory memory;
	const struct ram_layout *layout;
	uint64_t size_bytes;
	uint64_t low_end;  /* end of RAM below 4 GiB */
	uint64_t high_end; /* end of RAM above 4 GiB; RAM_HIGH_START when there is none */
	struct ram_more more;
	uint64_t more_gpa, more_span; /* where DIMMs may lie; 0 bytes: nowhere */
	uint64_t more_offset;	      /* of that in the file */
	struct ram_dimm dimms[RAM_DIMMS_MAX];
	int memfd; /* or that file */
	bool is_discarded;
	uint8_t *base;
	uint64_t mapped_bytes; /* of the file: RAM, and room for all that may come */
	struct ram_shadow shadow;
};

/* `size_bytes` is a multiple of 4 KiB within the limits above; `more` NULL: nothing may come; `backing` NULL: a memfd. 0 or
 * -errno. */
int ram_create(struct ram *ram, const struct ram_layout *layout, uint64_t size_bytes,
	       const struct ram_more *more, const struct ram_backing *backing, struct error *error);
/* Give the VM a slot for every region. */
int ram_attach(struct ram *ram, struct kvm_vm *vm, struct error *error);
void ram_destroy(struct ram *ram); /* after the VM is closed */
/* Where all that is memory, or may be, ends. */
uint64_t ram_end(const struct ram *ram);

/* What is in a slot; NULL: nothing. */
const struct ram_dimm *ram_dimm(const struct ram *ram, unsigned slot);
/*
 * Put memory into a slot, and take it out. Nobody uses guest memory meanwhile, and nothing logs writes. `dimm` says how much,
 * and where: RAM_ANY_SLOT, and gpa 0, are wherever there is room, which it tells. 0, or -errno and `error`.
 */
int ram_add_dimm(struct ram *ram, struct ram_dimm *dimm, const struct kvm_vm *vm, struct error *error);
void ram_remove_dimm(struct ram *ram, unsigned slot, const struct kvm_vm *vm);

/*
 * Which pages were written, by vCPUs and by the monitor (guest_memory.h). Starting begins with a
 * clean log. Reading takes a region's pages since the last time, a bit for each of its 4 KiB pages
 * into guest_region_log_words words. 0 or -errno.
 */
int ram_log_start(struct ram *ram, const struct kvm_vm *vm, struct error *error);
int ram_log_stop(struct ram *ram, const struct kvm_vm *vm, struct error *error);
int ram_log_read(struct ram *ram, const struct kvm_vm *vm, unsigned region, uint64_t *bitmap,
		 struct error *error);

#endif
