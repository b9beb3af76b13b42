package cgroup

import (
	"encoding/binary"
	"fmt"
)

// maxProgram is the number of instructions that kernels before 5.2 take.
const maxProgram = 4096

// insn is one eBPF instruction, struct bpf_insn of linux/bpf.h.
type insn struct {
	code     uint8
	dst, src uint8
	off      int16
	imm      int32
}

// Opcodes, from linux/bpf.h and linux/bpf_common.h: class | size or operation |
// source.
const (
	opLoadWord  = 0x61 // BPF_LDX | BPF_MEM | BPF_W: dst = *(u32 *)(src + off)
	opMove      = 0xbf // BPF_ALU64 | BPF_MOV | BPF_X: dst = src
	opMoveConst = 0xb7 // BPF_ALU64 | BPF_MOV | BPF_K: dst = imm
	opAndConst  = 0x57 // BPF_ALU64 | BPF_AND | BPF_K: dst &= imm
	opShiftDown = 0x77 // BPF_ALU64 | BPF_RSH | BPF_K: dst >>= imm
	opMoveWord  = 0xb4 // BPF_ALU | BPF_MOV | BPF_K: dst = (u32)imm
	opJump      = 0x05 // BPF_JMP | BPF_JA: skip off
	opJumpNe    = 0x55 // BPF_JMP | BPF_JNE | BPF_K: if dst != imm, skip off
	opJumpNeReg = 0x5d // BPF_JMP | BPF_JNE | BPF_X: if dst != src, skip off
	opJumpSet   = 0x45 // BPF_JMP | BPF_JSET | BPF_K: if dst & imm, skip off
	opExit      = 0x95 // BPF_JMP | BPF_EXIT: return r0
)

// The registers of the program, after r1, which holds the context.
const (
	regResult  = 0
	regContext = 1
	regType    = 2 // BPF_DEVCG_DEV_BLOCK or _CHAR
	regNeed    = 3 // access bits that no rule has decided yet
	regMajor   = 4
	regMinor   = 5
	regOther   = 6 // a number of more than 31 bits to compare with
)

// The device types of struct bpf_cgroup_dev_ctx, linux/bpf.h.
const (
	bpfBlock = 1
	bpfChar  = 2
)

// deviceProgram compiles rules to the eBPF program that the kernel asks on each
// access to a device (BPF_PROG_TYPE_CGROUP_DEVICE), in the byte order of this
// machine. It looks at the rules from the last to the first and stops as soon as
// every kind of access that is asked for is decided: see permitted.
func deviceProgram(rules []deviceRule) ([]byte, error) {
	// The context is three 32-bit words: access<<16 | type, major, minor.
	program := []insn{
		{code: opLoadWord, dst: regType, src: regContext, off: 0},
		{code: opMove, dst: regNeed, src: regType},
		{code: opAndConst, dst: regType, imm: 0xffff},
		{code: opShiftDown, dst: regNeed, imm: 16},
		{code: opLoadWord, dst: regMajor, src: regContext, off: 4},
		{code: opLoadWord, dst: regMinor, src: regContext, off: 8},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		block, final := ruleBlock(rules[i])
		program = append(program, block...)
		if final {
			// Nothing can follow: the verifier refuses unreachable instructions.
			return encodeProgram(program)
		}
	}
	program = append(program, verdict(false)...)
	return encodeProgram(program)
}

// verdict ends the program.
func verdict(allow bool) []insn {
	var v int32
	if allow {
		v = 1
	}
	return []insn{{code: opMoveConst, dst: regResult, imm: v}, {code: opExit}}
}

// ruleBlock compiles one rule; final says that no access comes out at its end.
func ruleBlock(r deviceRule) (block []insn, final bool) {
	decide := verdict(r.allow)
	switch {
	case r.access == mayAll:
		// Every bit that is left is decided now.
	case r.allow:
		// Take the bits off; go on with the next rule while some are left.
		decide = append([]insn{
			{code: opAndConst, dst: regNeed, imm: int32(mayAll &^ r.access)},
			{code: opJumpNe, dst: regNeed, imm: 0, off: 2},
		}, decide...)
	default:
		// Deny when one of the bits is still needed, else skip the verdict:
		// "jump if set" goes over the jump that skips.
		decide = append([]insn{
			{code: opJumpSet, dst: regNeed, imm: int32(r.access), off: 1},
			{code: opJump, off: 2},
		}, decide...)
	}
	block = append(match(r, len(decide)), decide...)
	return block, len(block) == 2 // an unconditional verdict
}

// match compiles the tests on the device; when one fails it jumps over the size
// instructions that follow.
func match(r deviceRule, size int) []insn {
	var tests [][]insn
	switch r.kind {
	case 'b':
		tests = append(tests, compare(regType, bpfBlock))
	case 'c':
		tests = append(tests, compare(regType, bpfChar))
	}
	if r.major != anyNumber {
		tests = append(tests, compare(regMajor, r.major))
	}
	if r.minor != anyNumber {
		tests = append(tests, compare(regMinor, r.minor))
	}
	var block []insn
	for i := len(tests) - 1; i >= 0; i-- {
		test := tests[i]
		test[len(test)-1].off = int16(size + len(block))
		block = append(test, block...)
	}
	return block
}

// compare jumps, by an offset to be filled in, unless reg holds v.
func compare(reg uint8, v int64) []insn {
	if v < 1<<31 {
		return []insn{{code: opJumpNe, dst: reg, imm: int32(v)}}
	}
	// The operand of a jump is sign-extended to 64 bits: a number that would
	// turn negative goes through a register, where the upper half is cleared.
	return []insn{
		{code: opMoveWord, dst: regOther, imm: int32(uint32(v))},
		{code: opJumpNeReg, dst: reg, src: regOther},
	}
}

// encodeProgram lays the instructions out as the kernel reads them.
func encodeProgram(program []insn) ([]byte, error) {
	if len(program) > maxProgram {
		return nil, fmt.Errorf("devices: %d instructions are more than the %d a kernel takes: too many rules",
			len(program), maxProgram)
	}
	order := binary.NativeEndian
	var b []byte
	for _, i := range program {
		b = append(b, i.code, i.dst|i.src<<4) // all our CPUs are little-endian: dst is the low nibble
		b = order.AppendUint16(b, uint16(i.off))
		b = order.AppendUint32(b, uint32(i.imm))
	}
	return b, nil
}
