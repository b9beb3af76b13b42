package seccomp

import "golang.org/x/sys/unix"

// Verdict runs the filter on a call as the kernel does: arch is an AUDIT_ARCH_*
// value, nr the call's number (with bit 30 for x32). It returns a SECCOMP_RET_*
// action with its data. A program that the kernel would not load kills.
func (f *Filter) Verdict(arch, nr uint32, args [6]uint64) uint32 {
	var a uint32
	for pc := 0; pc < len(f.Prog); pc++ {
		in := &f.Prog[pc]
		holds := false
		switch in.Code {
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			word, ok := f.word(in.K, arch, nr, &args)
			if !ok {
				return retKillProcess
			}
			a = word
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_JMP | unix.BPF_JA:
			if in.K >= uint32(len(f.Prog)) {
				return retKillProcess
			}
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = a == in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			holds = a > in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = a&in.K != 0
		default:
			return retKillProcess
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return retKillProcess
}

// word reads a word of struct seccomp_data. Nothing here reads the instruction
// pointer.
func (f *Filter) word(off, arch, nr uint32, args *[6]uint64) (uint32, bool) {
	switch {
	case off == offNr:
		return nr, true
	case off == offArch:
		return arch, true
	case off < offArgs || off >= offArgs+8*6 || off%4 != 0:
		return 0, false
	}
	v := args[(off-offArgs)/8]
	if upper := off%8 == 4; upper != f.bigEndian {
		v >>= 32
	}
	return uint32(v), true
}
