// A VMM in Rust, by the C library's functions alone. The guest prints "rust" through a port.
use std::ffi::{c_char, c_int, c_long, c_ulong, c_void, CStr};
use std::io::Write;
use std::ptr;

extern "C" {
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn mmap(at: *mut c_void, size: usize, protection: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
}

const CREATE_VM: c_ulong = 0xae01;
const VCPU_MMAP_SIZE: c_ulong = 0xae04;
const CREATE_VCPU: c_ulong = 0xae41;
const RUN: c_ulong = 0xae80;
const SET_USER_MEMORY_REGION: c_ulong = 0x4020ae46;
const SET_REGS: c_ulong = 0x4090ae82;
const GET_SREGS: c_ulong = 0x8138ae83;
const SET_SREGS: c_ulong = 0x4138ae84;
const EXIT_IO: u32 = 2;
const EXIT_HLT: u32 = 5;

#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest_address: u64,
    size: u64,
    address: u64,
}

fn map(size: usize, fd: c_int) -> *mut u8 {
    let flags = if fd < 0 { 0x22 } else { 1 }; // private and anonymous, or shared
    let memory = unsafe { mmap(ptr::null_mut(), size, 3, flags, fd, 0) };
    assert!(memory as isize != -1, "mmap");
    memory as *mut u8
}

fn main() {
    // mov $0x2000,%si; mov $0x3f8,%dx; mov $5,%cx; rep outsb; hlt
    let code = b"\xbe\x00\x20\xba\xf8\x03\xb9\x05\x00\xf3\x6e\xf4";
    let memory = map(0x2000, -1);
    let path = CStr::from_bytes_with_nul(b"/dev/kvm\0").unwrap();
    unsafe {
        ptr::copy(code.as_ptr(), memory, code.len());
        ptr::copy(b"rust\n".as_ptr(), memory.add(0x1000), 5);
        let kvm = open(path.as_ptr(), 2);
        let vm = ioctl(kvm, CREATE_VM, 0);
        let region = Region { slot: 0, flags: 0, guest_address: 0x1000, size: 0x2000, address: memory as u64 };
        assert_eq!(ioctl(vm, SET_USER_MEMORY_REGION, &region), 0);
        let vcpu = ioctl(vm, CREATE_VCPU, 0);
        let run = map(ioctl(kvm, VCPU_MMAP_SIZE, 0) as usize, vcpu);
        let mut sregs = [0u8; 0x138];
        assert_eq!(ioctl(vcpu, GET_SREGS, sregs.as_mut_ptr()), 0);
        sregs[0..8].fill(0); // base and ...
        sregs[12..14].fill(0); // ... selector of CS
        assert_eq!(ioctl(vcpu, SET_SREGS, sregs.as_ptr()), 0);
        let mut regs = [0u64; 18];
        regs[16] = 0x1000;
        regs[17] = 2;
        assert_eq!(ioctl(vcpu, SET_REGS, regs.as_ptr()), 0);
        loop {
            assert_eq!(ioctl(vcpu, RUN, 0), 0);
            let reason = ptr::read_volatile(run.add(8) as *const u32);
            if reason == EXIT_HLT {
                break;
            }
            assert_eq!(reason, EXIT_IO);
            let size = *run.add(33) as usize;
            let count = ptr::read(run.add(36) as *const u32) as usize;
            let offset = ptr::read(run.add(40) as *const u64) as usize;
            std::io::stdout().write_all(std::slice::from_raw_parts(run.add(offset), size * count)).unwrap();
        }
    }
}
