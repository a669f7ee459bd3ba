"""A VMM in Python. The guest prints "python" through a port."""

import ctypes
import fcntl
import mmap
import os
import struct

CREATE_VM, VCPU_MMAP_SIZE, CREATE_VCPU, RUN = 0xae01, 0xae04, 0xae41, 0xae80
SET_USER_MEMORY_REGION, SET_REGS = 0x4020ae46, 0x4090ae82
GET_SREGS, SET_SREGS = 0x8138ae83, 0x4138ae84
EXIT_IO, EXIT_HLT = 2, 5

kvm = os.open("/dev/kvm", os.O_RDWR)
vm = fcntl.ioctl(kvm, CREATE_VM, 0)
memory = mmap.mmap(-1, 0x2000)
# mov $0x2000,%si; mov $0x3f8,%dx; mov $7,%cx; rep outsb; hlt
memory[:12] = bytes.fromhex("be0020 baf803 b90700 f36e f4")
memory[0x1000:0x1007] = b"python\n"
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
fcntl.ioctl(vm, SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0x1000, 0x2000, address))
vcpu = fcntl.ioctl(vm, CREATE_VCPU, 0)
run = mmap.mmap(vcpu, fcntl.ioctl(kvm, VCPU_MMAP_SIZE, 0))
sregs = bytearray(0x138)
fcntl.ioctl(vcpu, GET_SREGS, sregs)
sregs[0:8], sregs[12:14] = bytes(8), bytes(2)  # base and selector of CS
fcntl.ioctl(vcpu, SET_SREGS, sregs)
fcntl.ioctl(vcpu, SET_REGS, struct.pack("=18Q", *[0] * 16, 0x1000, 2))
while True:
    fcntl.ioctl(vcpu, RUN, 0)
    reason, = struct.unpack_from("=I", run, 8)
    if reason == EXIT_HLT:
        break
    assert reason == EXIT_IO, reason
    size, count, offset = struct.unpack_from("=xBxxIQ", run, 32)
    os.write(1, run[offset:offset + size * count])
