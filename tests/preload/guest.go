// A VMM in Go, which makes system calls without the C library and moves its threads about. One goroutine runs
// the guest, others keep the runtime's scheduler and its signals busy. The guest prints through a port.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

const (
	createVM        = 0xae01
	vcpuMmapSize    = 0xae04
	createVCPU      = 0xae41
	setMemoryRegion = 0x4020ae46
	run             = 0xae80
	setRegs         = 0x4090ae82
	getSregs        = 0x8138ae83
	setSregs        = 0x4138ae84
	exitIO          = 2
	exitHLT         = 5
)

func request(fd uintptr, number uintptr, argument uintptr) uintptr {
	for {
		result, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, number, argument)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			fmt.Fprintf(os.Stderr, "%#x: %v\n", number, errno)
			os.Exit(1)
		}
		return result
	}
}

func busy() {
	for {
		_ = make([]byte, 1<<16)
		runtime.Gosched()
	}
}

func main() {
	for i := 0; i < 3; i++ {
		go busy()
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	vm := request(kvm.Fd(), createVM, 0)
	memory, _ := syscall.Mmap(-1, 0, 0x2000, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	// mov $0x2000,%si; mov $0x3f8,%dx; mov $3,%cx; rep outsb; hlt
	copy(memory, []byte{0xbe, 0x00, 0x20, 0xba, 0xf8, 0x03, 0xb9, 0x03, 0x00, 0xf3, 0x6e, 0xf4})
	region := [4]uint64{0, 0x1000, 0x2000, uint64(uintptr(unsafe.Pointer(&memory[0])))}
	request(vm, setMemoryRegion, uintptr(unsafe.Pointer(&region)))
	copy(memory[0x1000:], "go\n")
	vcpu := request(vm, createVCPU, 0)
	state, _ := syscall.Mmap(int(vcpu), 0, int(request(kvm.Fd(), vcpuMmapSize, 0)),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	var sregs [0x138]byte
	request(vcpu, getSregs, uintptr(unsafe.Pointer(&sregs)))
	for i := 0; i < 14; i++ { // struct kvm_segment cs: base, limit, selector
		if i < 8 || i >= 12 {
			sregs[i] = 0
		}
	}
	request(vcpu, setSregs, uintptr(unsafe.Pointer(&sregs)))
	regs := [18]uint64{16: 0x1000, 17: 2} // rip, rflags
	request(vcpu, setRegs, uintptr(unsafe.Pointer(&regs)))
	for {
		request(vcpu, run, 0)
		reason := *(*uint32)(unsafe.Pointer(&state[8]))
		if reason == exitHLT {
			return
		}
		if reason != exitIO {
			fmt.Fprintln(os.Stderr, "exit", reason)
			os.Exit(1)
		}
		// direction, size, port, count, data_offset
		size, count := int(state[33]), int(*(*uint32)(unsafe.Pointer(&state[36])))
		offset := int(*(*uint64)(unsafe.Pointer(&state[40])))
		os.Stdout.Write(state[offset : offset+size*count])
	}
}
