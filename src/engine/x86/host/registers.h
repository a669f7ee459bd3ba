/* General registers of the host, for whoever writes host code. */
#ifndef KVIK_ENGINE_X86_HOST_REGISTERS_H
#define KVIK_ENGINE_X86_HOST_REGISTERS_H

/* By their numbers in ModRM and REX (Intel SDM vol. 2 §2.1.5). */
enum host_register {
	HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_RSP, HOST_RBP, HOST_RSI, HOST_RDI,
	HOST_R8, HOST_R9, HOST_R10, HOST_R11, HOST_R12, HOST_R13, HOST_R14, HOST_R15,
	HOST_NONE = 0xff,
};

#endif
