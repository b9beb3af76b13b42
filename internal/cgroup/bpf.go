package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BPFProgramName is the name that Tare's device programs bear in the kernel:
// by it an update finds the one to replace.
const BPFProgramName = "tare_devices"

// BPFLoad is the attribute of bpf(BPF_PROG_LOAD), union bpf_attr in linux/bpf.h
// up to the name (Linux 4.15). Insns and License are addresses. Size is what
// bpf(2) takes as its third argument: unsafe.Sizeof.
type BPFLoad struct {
	Type        uint32
	Count       uint32 // instructions of 8 bytes
	Insns       uint64
	License     uint64
	LogLevel    uint32
	LogSize     uint32
	LogBuf      uint64
	KernVersion uint32
	Flags       uint32
	Name        [16]byte
}

// BPFAttach is the attribute of bpf(BPF_PROG_ATTACH) and BPF_PROG_DETACH.
type BPFAttach struct {
	Target  uint32 // file descriptor of the group's directory
	Program uint32 // file descriptor of the program
	Type    uint32
	Flags   uint32
}

// NewBPFLoad is the attribute that loads a device program of size bytes at the
// address insns; license is the address of a terminated string.
func NewBPFLoad(insns, license uintptr, size int) BPFLoad {
	l := BPFLoad{
		Type: unix.BPF_PROG_TYPE_CGROUP_DEVICE, Count: uint32(size / 8),
		Insns: uint64(insns), License: uint64(license),
	}
	copy(l.Name[:], BPFProgramName)
	return l
}

// NewBPFAttach is the attribute that attaches a device program to a group beside
// those that are there: all of them must agree to an access.
func NewBPFAttach(target, program int) BPFAttach {
	return BPFAttach{
		Target: uint32(target), Program: uint32(program),
		Type: unix.BPF_CGROUP_DEVICE, Flags: unix.BPF_F_ALLOW_MULTI,
	}
}

// bpf is bpf(2).
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR, unix.EAGAIN: // the verifier gives up when a signal is pending
			continue
		}
		return -1, errno
	}
}

// ApplyDevices loads the program and attaches it to the v2 group at dir, then
// takes away the device program that Tare attached there before. Both are in
// force for a moment, so nothing is permitted that neither permits.
func ApplyDevices(dir string, insns []byte) error {
	group, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("device rules: open %s: %w", dir, err)
	}
	defer unix.Close(group)
	old, err := attachedPrograms(group)
	if err != nil {
		return fmt.Errorf("device rules of %s: %w", dir, err)
	}
	defer closeAll(old)
	program, err := loadProgram(insns)
	if err != nil {
		return fmt.Errorf("device rules of %s: load program: %w", dir, err)
	}
	defer unix.Close(program)
	attach := NewBPFAttach(group, program)
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return fmt.Errorf("device rules of %s: attach program: %w", dir, err)
	}
	for _, fd := range old {
		detach := BPFAttach{Target: uint32(group), Program: uint32(fd), Type: unix.BPF_CGROUP_DEVICE}
		if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&detach), unsafe.Sizeof(detach)); err != nil {
			return fmt.Errorf("device rules of %s: detach old program: %w", dir, err)
		}
	}
	return nil
}

// loadProgram gives the instructions to the kernel and returns a descriptor.
func loadProgram(insns []byte) (int, error) {
	if len(insns) == 0 || len(insns)%8 != 0 {
		panic(fmt.Sprintf("cgroup: device program of %d bytes", len(insns)))
	}
	license := []byte("Apache-2.0\x00") // the program calls nothing that is for GPL code only
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&insns[0])
	pin.Pin(&license[0])
	load := NewBPFLoad(uintptr(unsafe.Pointer(&insns[0])), uintptr(unsafe.Pointer(&license[0])), len(insns))
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
	if !errors.Is(err, unix.EPERM) {
		return fd, err
	}
	// Linux before 5.11 counts programs against RLIMIT_MEMLOCK and says EPERM.
	restore, limitErr := raiseMemlock()
	if limitErr != nil {
		return -1, err
	}
	defer restore()
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
}

// raiseMemlock lifts the limit on locked memory until restore is called.
func raiseMemlock() (restore func(), err error) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		return nil, err
	}
	none := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &none); err != nil {
		return nil, err
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old) }, nil
}

// bpfQuery is the attribute of bpf(BPF_PROG_QUERY).
type bpfQuery struct {
	target, kind, query, attachFlags uint32
	ids                              uint64 // address of []uint32
	count                            uint32 // room in, number out
	_                                uint32
}

// maxAttached is BPF_CGROUP_MAX_PROGS of the kernel.
const maxAttached = 64

// attachedPrograms opens the device programs of a group that bear our name.
// Others, such as systemd's, stay where they are.
func attachedPrograms(group int) ([]int, error) {
	ids := make([]uint32, maxAttached)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	q := bpfQuery{
		target: uint32(group), kind: unix.BPF_CGROUP_DEVICE,
		ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: maxAttached,
	}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&q), unsafe.Sizeof(q)); err != nil {
		return nil, fmt.Errorf("query programs: %w", err)
	}
	var ours []int
	for _, id := range ids[:q.count] {
		fd, name, err := openProgram(id)
		switch {
		case errors.Is(err, os.ErrNotExist): // detached since the query
		case err != nil:
			closeAll(ours)
			return nil, fmt.Errorf("open program %d: %w", id, err)
		case name == BPFProgramName:
			ours = append(ours, fd)
		default:
			_ = unix.Close(fd)
		}
	}
	return ours, nil
}

// openProgram returns a descriptor of the program and its name.
func openProgram(id uint32) (fd int, name string, err error) {
	byID := struct{ id, next, flags uint32 }{id: id}
	fd, err = bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID), unsafe.Sizeof(byID))
	if err != nil {
		return -1, "", err
	}
	// struct bpf_prog_info, of which only the name, at byte 64, is of interest.
	var info [80]byte
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&info[0])
	get := struct {
		fd, size uint32
		info     uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(&info[0])))}
	if _, err = bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&get), unsafe.Sizeof(get)); err != nil {
		_ = unix.Close(fd)
		return -1, "", err
	}
	return fd, unix.ByteSliceToString(info[64:80]), nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
