/* Offsets in a Linux kernel image and in the zero page, which has the same header (boot.rst). */
#ifndef KVIK_MACHINE_BOOT_LINUX_HEADER_H
#define KVIK_MACHINE_BOOT_LINUX_HEADER_H

/* Fields of the zero page only (Documentation/arch/x86/zero-page.rst). */
#define ZERO_PAGE_RSDP	      0x070
#define ZERO_PAGE_ALT_MEM_K   0x1e0
#define ZERO_PAGE_E820_COUNT  0x1e8
#define ZERO_PAGE_E820_TABLE  0x2d0

#define LINUX_SETUP_SECTORS 0x1f1
#define LINUX_BOOT_FLAG	    0x1fe
#define LINUX_JUMP	    0x200
#define LINUX_HEADER_MAGIC  0x202
#define LINUX_VERSION	    0x206
#define LINUX_LOADER_TYPE   0x210
#define LINUX_LOAD_FLAGS    0x211
#define LINUX_CODE32_START  0x214
#define LINUX_RAMDISK_IMAGE 0x218
#define LINUX_RAMDISK_SIZE  0x21c
#define LINUX_HEAP_END	    0x224
#define LINUX_COMMAND_LINE  0x228
#define LINUX_INITRD_MAX    0x22c
#define LINUX_ALIGNMENT	    0x230
#define LINUX_RELOCATABLE   0x234
#define LINUX_EXTENDED_LOAD_FLAGS 0x236
#define LINUX_COMMAND_LINE_MAX	  0x238
#define LINUX_SETUP_DATA	  0x250
#define LINUX_PREFERRED_ADDRESS	  0x258
#define LINUX_INIT_SIZE		  0x260

#define LINUX_LOADED_HIGH  0x01
#define LINUX_CAN_USE_HEAP 0x80
#define LINUX_KERNEL_64	   0x01 /* extended load flags: the 64-bit entry is at 0x200 */

#define LINUX_LOADER_UNDEFINED 0xff
#define LINUX_64_ENTRY_OFFSET  0x200

#endif
