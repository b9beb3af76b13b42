package seccomp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// haveGate tells that calls of another ABI can be made.
const haveGate = true

// A gate makes i386 calls from a 64-bit program: a page of code with int $0x80,
// and the registers beside it.
type gate struct {
	page []byte
	fn   func()
}

const gateRegs = 2048 // eax ebx ecx edx esi edi ebp, and eax after the call

func newGate() *gate {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	code := []byte{0x55, 0x53, 0x49, 0xbc} // push rbp; push rbx; mov r12, regs
	code = binary.LittleEndian.AppendUint64(code, uint64(uintptr(unsafe.Pointer(&page[gateRegs]))))
	code = append(code,
		0x41, 0x8b, 0x04, 0x24, // mov eax, [r12]
		0x41, 0x8b, 0x5c, 0x24, 4, // mov ebx, [r12+4]
		0x41, 0x8b, 0x4c, 0x24, 8, // ecx
		0x41, 0x8b, 0x54, 0x24, 12, // edx
		0x41, 0x8b, 0x74, 0x24, 16, // esi
		0x41, 0x8b, 0x7c, 0x24, 20, // edi
		0x41, 0x8b, 0x6c, 0x24, 24, // ebp
		0xcd, 0x80, // int 0x80
		0x41, 0x89, 0x44, 0x24, 28, // mov [r12+28], eax
		0x5b, 0x5d, 0xc3, // pop rbx; pop rbp; ret
	)
	copy(page, code)
	entry := unsafe.Pointer(&page[0])
	closure := &entry // a func value points to its code pointer
	return &gate{page: page, fn: *(*func())(unsafe.Pointer(&closure))}
}

//go:nosplit
//go:norace
func (g *gate) call(c *call) (errno int) {
	regs := g.page[gateRegs:]
	binary.LittleEndian.PutUint32(regs, c.Nr)
	for i, a := range c.Args {
		binary.LittleEndian.PutUint32(regs[4+4*i:], uint32(a))
	}
	g.fn()
	if ret := int32(binary.LittleEndian.Uint32(regs[28:])); ret < 0 && ret >= -maxErrno {
		return int(-ret)
	}
	return 0
}
