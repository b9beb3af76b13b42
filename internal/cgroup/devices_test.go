package cgroup

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// runProgram executes a device program as the kernel would, and fails the test
// where the kernel's verifier would refuse it: on a jump out of the program or
// backwards, on an unknown instruction, on an unset register.
func runProgram(t *testing.T, program []byte, kind byte, major, minor uint32, asked access) bool {
	t.Helper()
	types := map[byte]uint32{'b': bpfBlock, 'c': bpfChar}
	context := []uint32{uint32(asked)<<16 | types[kind], major, minor}
	var reg [11]uint64
	set := [11]bool{regContext: true}
	for pc := 0; ; {
		if pc < 0 || pc*8 >= len(program) {
			t.Fatalf("program leaves its bounds at instruction %d", pc)
		}
		b := program[pc*8:]
		dst, src := b[1]&15, b[1]>>4
		off := int(int16(binary.NativeEndian.Uint16(b[2:])))
		imm := int32(binary.NativeEndian.Uint32(b[4:]))
		pc++
		jump := func(yes bool) {
			if off < 0 {
				t.Fatalf("jump backwards at instruction %d", pc-1)
			}
			if yes {
				pc += off
			}
		}
		if b[0] != opMoveConst && b[0] != opMoveWord && b[0] != opJump && b[0] != opExit && b[0] != opLoadWord && b[0] != opMove && !set[dst] {
			t.Fatalf("register %d is not set at instruction %d", dst, pc-1)
		}
		switch b[0] {
		case opLoadWord:
			reg[dst], set[dst] = uint64(context[off/4]), true
		case opMove:
			reg[dst], set[dst] = reg[src], set[src]
		case opMoveConst:
			reg[dst], set[dst] = uint64(int64(imm)), true
		case opMoveWord:
			reg[dst], set[dst] = uint64(uint32(imm)), true
		case opAndConst:
			reg[dst] &= uint64(int64(imm))
		case opShiftDown:
			reg[dst] >>= uint(imm)
		case opJump:
			jump(true)
		case opJumpNe:
			jump(reg[dst] != uint64(int64(imm)))
		case opJumpNeReg:
			jump(reg[dst] != reg[src])
		case opJumpSet:
			jump(reg[dst]&uint64(int64(imm)) != 0)
		case opExit:
			if !set[regResult] {
				t.Fatal("no result")
			}
			return reg[regResult] != 0
		default:
			t.Fatalf("opcode %#x at instruction %d", b[0], pc-1)
		}
	}
}

// checkReachable fails when an instruction cannot be reached: the verifier
// refuses such a program.
func checkReachable(t *testing.T, program []byte) {
	t.Helper()
	reached := make([]bool, len(program)/8+1)
	reached[0] = true
	for pc := range len(program) / 8 {
		if !reached[pc] {
			t.Fatalf("instruction %d of %d cannot be reached", pc, len(program)/8)
		}
		b := program[pc*8:]
		off := int(int16(binary.NativeEndian.Uint16(b[2:])))
		switch b[0] {
		case opExit:
		case opJump:
			reached[pc+1+off] = true
		case opJumpNe, opJumpNeReg, opJumpSet:
			reached[pc+1+off] = true
			reached[pc+1] = true
		default:
			reached[pc+1] = true
		}
	}
	if reached[len(program)/8] {
		t.Fatal("the program runs off its end")
	}
}

// numbers are the device numbers of random rules and questions: few, so that
// they meet, and at the edges of what an immediate operand holds.
var numbers = []int64{0, 1, 3, 136, 1<<31 - 1, 1 << 31, 1<<32 - 1}

func randomRules(r *rand.Rand) []deviceRule {
	rules := make([]deviceRule, r.IntN(8))
	number := func() int64 {
		if r.IntN(3) == 0 {
			return anyNumber
		}
		return numbers[r.IntN(len(numbers))]
	}
	for i := range rules {
		rules[i] = deviceRule{
			allow: r.IntN(2) == 0, kind: "abc"[r.IntN(3)], major: number(), minor: number(), access: access(1 + r.IntN(7)),
		}
		if r.IntN(6) == 0 {
			rules[i] = deviceRule{allow: r.IntN(2) == 0, kind: 'a', major: anyNumber, minor: anyNumber, access: mayAll}
		}
	}
	return rules
}

// everyQuestion calls f with each device and access of interest.
func everyQuestion(f func(kind byte, major, minor int64, asked access)) {
	for _, kind := range []byte("bc") {
		for _, major := range numbers {
			for _, minor := range numbers {
				for asked := access(1); asked <= mayAll; asked++ {
					f(kind, major, minor, asked)
				}
			}
		}
	}
}

func FuzzDeviceProgram(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rules := randomRules(rand.New(rand.NewPCG(seed, 1)))
		program, err := deviceProgram(rules)
		if err != nil {
			t.Fatal(err)
		}
		checkReachable(t, program)
		everyQuestion(func(kind byte, major, minor int64, asked access) {
			got := runProgram(t, program, kind, uint32(major), uint32(minor), asked)
			if want := permitted(rules, kind, major, minor, asked); got != want {
				t.Fatalf("rules %+v: %c %d:%d %v = %v, want %v", rules, kind, major, minor, asked, got, want)
			}
		})
	})
}

// kernelV1 is the v1 devices controller of security/device_cgroup.c, in short.
type kernelV1 struct {
	allowAll bool
	list     []deviceRule
}

// write takes one line of devices.allow or devices.deny.
func (k *kernelV1) write(t *testing.T, allow bool, line string) {
	t.Helper()
	if line[0] == 'a' {
		*k = kernelV1{allowAll: allow}
		return
	}
	rules, ok := parseDevicesList(line)
	if !ok || len(rules) != 1 {
		t.Fatalf("line %q cannot be read", line)
	}
	r := rules[0]
	same := func(e deviceRule) bool { return e.kind == r.kind && e.major == r.major && e.minor == r.minor }
	i := slices.IndexFunc(k.list, same)
	switch {
	case allow != k.allowAll && i >= 0:
		k.list[i].access |= r.access
	case allow != k.allowAll:
		k.list = append(k.list, r)
	case i >= 0:
		if k.list[i].access &^= r.access; k.list[i].access == 0 {
			k.list = slices.Delete(k.list, i, i+1)
		}
	}
}

// permits answers for one kind of access. (For several at once the kernel wants
// a single exception that has them all.)
func (k *kernelV1) permits(kind byte, major, minor int64, asked access) bool {
	for _, e := range k.list {
		if e.covers(kind, major, minor) && e.access&asked != 0 {
			return !k.allowAll
		}
	}
	return k.allowAll
}

// devicesList writes the state as the file devices.list shows it.
func (k *kernelV1) devicesList() string {
	if k.allowAll {
		return "a *:* rwm\n"
	}
	var b strings.Builder
	for _, r := range k.list {
		b.WriteString(r.line() + "\n")
	}
	return b.String()
}

func (k *kernelV1) run(t *testing.T, steps []Step) {
	t.Helper()
	for _, s := range steps {
		k.write(t, strings.HasSuffix(s.Path, "devices.allow"), s.Value)
	}
}

// What the v1 lines bring about is what the rules say, or the rules are refused.
func FuzzDevicesV1(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		check := func(k *kernelV1, rules []deviceRule) {
			everyQuestion(func(kind byte, major, minor int64, asked access) {
				if asked&(asked-1) != 0 {
					return
				}
				if got, want := k.permits(kind, major, minor, asked), permitted(rules, kind, major, minor, asked); got != want {
					t.Fatalf("rules %+v: %c %d:%d %v = %v, want %v; list:\n%s", rules, kind, major, minor, asked, got, want, k.devicesList())
				}
			})
		}
		k := &kernelV1{allowAll: true}
		first := randomRules(r)
		steps, err := devicesV1("d", first)
		if err != nil {
			return
		}
		k.run(t, steps)
		check(k, first)
		second := randomRules(r)
		steps, _, err = changeDevicesV1("d", k.devicesList(), second)
		if err != nil {
			return
		}
		k.run(t, steps)
		check(k, second)
	})
}

func TestDevicesV1RefusesWhatTheKernelIgnores(t *testing.T) {
	rules := []deviceRule{
		{allow: true, kind: 'c', major: 1, minor: anyNumber, access: mayAll},
		{allow: false, kind: 'c', major: 1, minor: 3, access: mayWrite},
	}
	if _, err := devicesV1("d", rules); err == nil || !strings.Contains(err.Error(), `"c 1:3 w" out of "c 1:* rwm"`) {
		t.Errorf("devicesV1 = %v", err)
	}
}

// A change of a running container's rules must not deny for a moment what both
// the old and the new rules allow.
func TestChangeDevicesV1WritesOnlyDifferences(t *testing.T) {
	rules := []deviceRule{
		{kind: 'a', major: anyNumber, minor: anyNumber, access: mayAll},
		{allow: true, kind: 'c', major: 1, minor: 3, access: mayAll},
		{allow: true, kind: 'b', major: 8, minor: 0, access: mayRead},
	}
	steps, whole, err := changeDevicesV1("d", "c 1:3 rwm\nb 8:0 rw\nc 5:0 r\n", rules)
	var got []string
	for _, s := range steps {
		got = append(got, s.String())
	}
	want := []string{`write "b 8:0 w" to d/devices.deny`, `write "c 5:0 r" to d/devices.deny`}
	if err != nil || whole || !slices.Equal(got, want) {
		t.Errorf("changeDevicesV1 = %q, %v, %v, want %q", got, whole, err, want)
	}
}

func TestDeviceRulesAreChecked(t *testing.T) {
	tests := []struct {
		d    specs.LinuxDeviceCgroup
		want string
	}{
		{specs.LinuxDeviceCgroup{Type: "p", Access: "r"}, "not a, b or c"},
		{specs.LinuxDeviceCgroup{Type: "c", Access: "rx"}, "not made of r, w and m"},
		{specs.LinuxDeviceCgroup{Type: "c"}, "cannot be empty"},
		{specs.LinuxDeviceCgroup{Access: "r", Major: ptr(int64(-2))}, "major number"},
		{specs.LinuxDeviceCgroup{Access: "r", Minor: ptr(int64(1 << 32))}, "minor number"},
	}
	for _, test := range tests {
		if _, err := deviceRules([]specs.LinuxDeviceCgroup{test.d}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("deviceRules(%+v) = %v, want an error with %q", test.d, err, test.want)
		}
	}
}

func TestDefaultDeviceRulesPermitWhatContainersNeed(t *testing.T) {
	rules, err := deviceRules(append([]specs.LinuxDeviceCgroup{{Access: "rwm"}}, DefaultDeviceRules()...))
	if err != nil {
		t.Fatal(err)
	}
	for question, want := range map[string]bool{
		"c 1 3 6": true, "c 1 5 6": true, "c 5 2 6": true, "c 136 7 6": true, // null, zero, ptmx, pts/7
		"b 8 0 1": true, "b 8 0 2": false, "c 1 1 2": false, "c 1 1 1": true, // sda and mem: mknod only
	} {
		var kind string
		var major, minor int64
		var asked access
		if _, err := fmt.Sscan(question, &kind, &major, &minor, &asked); err != nil {
			t.Fatal(err)
		}
		if got := permitted(rules, kind[0], major, minor, asked); got != want {
			t.Errorf("%s = %v, want %v", question, got, want)
		}
	}
}

func TestDeviceProgramSize(t *testing.T) {
	rules := make([]deviceRule, 2000)
	for i := range rules {
		rules[i] = deviceRule{allow: true, kind: 'c', major: int64(i), minor: 1, access: mayAll}
	}
	if _, err := deviceProgram(rules); err == nil {
		t.Error("a program that no kernel takes was made")
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 3)) }
