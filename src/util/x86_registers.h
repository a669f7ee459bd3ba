/*
 * Registers of x86 by their bits, and model-specific registers by their numbers, as the manuals name them: what several
 * rooms on both sides of the contract look at. MSRs that one file alone knows stand there.
 */
#ifndef KVIK_UTIL_X86_REGISTERS_H
#define KVIK_UTIL_X86_REGISTERS_H

/* RFLAGS (SDM vol. 1 §3.4.3). */
#define RFLAGS_CF   (1ull << 0)
#define RFLAGS_ONE  (1ull << 1)
#define RFLAGS_PF   (1ull << 2)
#define RFLAGS_AF   (1ull << 4)
#define RFLAGS_ZF   (1ull << 6)
#define RFLAGS_SF   (1ull << 7)
#define RFLAGS_TF   (1ull << 8)
#define RFLAGS_IF   (1ull << 9)
#define RFLAGS_DF   (1ull << 10)
#define RFLAGS_OF   (1ull << 11)
#define RFLAGS_IOPL (3ull << 12)
#define RFLAGS_NT   (1ull << 14)
#define RFLAGS_RF   (1ull << 16)
#define RFLAGS_VM   (1ull << 17)
#define RFLAGS_AC   (1ull << 18)
#define RFLAGS_VIF  (1ull << 19)
#define RFLAGS_VIP  (1ull << 20)
#define RFLAGS_ID   (1ull << 21)
#define RFLAGS_ALL  0x3f7fd7ull

/* CR0, CR4, EFER (SDM vol. 3 §2.5, table 2-2 of vol. 4). */
#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_AM (1ull << 18)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_VME        (1ull << 0)
#define CR4_PVI        (1ull << 1)
#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PSE        (1ull << 4)
#define CR4_PAE        (1ull << 5)
#define CR4_MCE        (1ull << 6)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)

#define EFER_SCE   (1ull << 0)
#define EFER_LME   (1ull << 8)
#define EFER_LMA   (1ull << 10)
#define EFER_NX    (1ull << 11)
#define EFER_FFXSR (1ull << 14)

/* DR6 and DR7 (SDM vol. 3 §17.2). */
#define DR6_BREAKPOINTS 0xfull
#define DR6_BD    (1ull << 13)
#define DR6_BS    (1ull << 14)
#define DR6_BT    (1ull << 15)
#define DR6_FIXED 0xffff0ff0ull /* bits that read as 1 */
#define DR7_FIXED (1ull << 10)
#define DR7_GD    (1ull << 13)

/* MSRs (SDM vol. 4, table 2-2; AMD PPR). */
#define MSR_TSC            0x10u
#define MSR_APIC_BASE      0x1bu
#define MSR_TSC_ADJUST     0x3bu
#define MSR_MISC_ENABLE    0x1a0u
#define MSR_MTRR_DEF_TYPE  0x2ffu
#define MSR_TSC_DEADLINE   0x6e0u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_HWCR           0xc0010015u

#endif
