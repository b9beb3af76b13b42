package seccomp

import (
	"strings"

	"golang.org/x/sys/unix"
)

//go:generate go run gen.go

const archPrefix = "SCMP_ARCH_"

// A family is the set of ABIs that one kernel can report. Programs hold code
// for the native ABI's family only.
type family uint8

const (
	famX86 family = iota
	famARM
	famMIPSBig
	famMIPSLittle
	famPPCBig
	famPPCLittle
	famS390
	famRISCV
	famLoong
	famOther // Go has no port, so no kernel we run on reports it
)

// x32Bit marks the calls of the x32 ABI, which share AUDIT_ARCH_X86_64 with
// those of x86_64.
const x32Bit = 0x40000000

// arm's private calls (cacheflush, set_tls and so on) are numbered apart.
const (
	armPrivate    = 0xf0000
	armPrivateEnd = 0x100000
)

// An arch is one ABI: what libseccomp calls an architecture.
type arch struct {
	name  string // without archPrefix
	token uint32 // AUDIT_ARCH_*, as the kernel reports it in seccomp_data
	fam   family
	row   int8 // row of numbers, -1 for none
	wide  bool // arguments have 64 bits
	big   bool // big-endian
}

// The order is the runtime-spec's.
var archs = [...]arch{
	{"X86", unix.AUDIT_ARCH_I386, famX86, row386, false, false},
	{"X86_64", unix.AUDIT_ARCH_X86_64, famX86, rowAMD64, true, false},
	{"X32", unix.AUDIT_ARCH_X86_64, famX86, rowX32, false, false},
	{"ARM", unix.AUDIT_ARCH_ARM, famARM, rowARM, false, false},
	{"AARCH64", unix.AUDIT_ARCH_AARCH64, famARM, rowARM64, true, false},
	{"MIPS", unix.AUDIT_ARCH_MIPS, famMIPSBig, rowMIPS, false, true},
	{"MIPS64", unix.AUDIT_ARCH_MIPS64, famMIPSBig, rowMIPS64, true, true},
	{"MIPS64N32", unix.AUDIT_ARCH_MIPS64N32, famMIPSBig, rowMIPSN32, false, true},
	{"MIPSEL", unix.AUDIT_ARCH_MIPSEL, famMIPSLittle, rowMIPS, false, false},
	{"MIPSEL64", unix.AUDIT_ARCH_MIPSEL64, famMIPSLittle, rowMIPS64, true, false},
	{"MIPSEL64N32", unix.AUDIT_ARCH_MIPSEL64N32, famMIPSLittle, rowMIPSN32, false, false},
	{"PPC", unix.AUDIT_ARCH_PPC, famPPCBig, rowPPC, false, true},
	{"PPC64", unix.AUDIT_ARCH_PPC64, famPPCBig, rowPPC64, true, true},
	{"PPC64LE", unix.AUDIT_ARCH_PPC64LE, famPPCLittle, rowPPC64, true, false},
	{"S390", unix.AUDIT_ARCH_S390, famS390, rowS390, false, true},
	{"S390X", unix.AUDIT_ARCH_S390X, famS390, rowS390X, true, true},
	{"PARISC", unix.AUDIT_ARCH_PARISC, famOther, -1, false, true},
	{"PARISC64", unix.AUDIT_ARCH_PARISC64, famOther, -1, true, true},
	{"RISCV64", unix.AUDIT_ARCH_RISCV64, famRISCV, rowRISCV64, true, false},
	{"LOONGARCH64", unix.AUDIT_ARCH_LOONGARCH64, famLoong, rowLoong64, true, false},
	{"M68K", unix.AUDIT_ARCH_M68K, famOther, -1, false, true},
	{"SH", unix.AUDIT_ARCH_SHEL, famOther, -1, false, false},
	{"SHEB", unix.AUDIT_ARCH_SH, famOther, -1, false, true},
}

// nativeArch returns the index in archs of goarch's own ABI, or -1.
func nativeArch(goarch string) int {
	var name string
	switch goarch {
	case "386":
		name = "X86"
	case "amd64":
		name = "X86_64"
	case "arm":
		name = "ARM"
	case "arm64":
		name = "AARCH64"
	case "mips":
		name = "MIPS"
	case "mips64":
		name = "MIPS64"
	case "mipsle":
		name = "MIPSEL"
	case "mips64le":
		name = "MIPSEL64"
	case "ppc64":
		name = "PPC64"
	case "ppc64le":
		name = "PPC64LE"
	case "s390x":
		name = "S390X"
	case "riscv64":
		name = "RISCV64"
	case "loong64":
		name = "LOONGARCH64"
	}
	return archIndex(name)
}

// archIndex returns the index in archs of a name without prefix, or -1.
func archIndex(name string) int {
	for i := range archs {
		if archs[i].name == name {
			return i
		}
	}
	return -1
}

// number returns a call's number as the kernel reports it.
func (a *arch) number(id nameID) (uint32, bool) {
	if a.row < 0 {
		return 0, false
	}
	n := word16(numbers, int(a.row)*nameCount+int(id))
	switch {
	case n == 0xffff:
		return 0, false
	case n >= 0xf000:
		return armPrivate | n&0xfff, true
	case a.row == rowX32:
		return n | x32Bit, true
	}
	return n, true
}

// A nameID is the place of a call's name in the sorted list of all names.
type nameID uint16

// lookupName finds a name that at least one ABI has.
func lookupName(name string) (nameID, bool) {
	lo, hi := 0, nameCount
	for lo < hi {
		mid := (lo + hi) / 2
		switch s := nameID(mid).String(); {
		case s == name:
			return nameID(mid), true
		case s < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

func (id nameID) String() string {
	return nameBlob[word16(nameOffs, int(id)):word16(nameOffs, int(id)+1)]
}

// word16 returns the i-th little-endian 16-bit number of a string.
func word16(s string, i int) uint32 {
	return uint32(s[2*i]) | uint32(s[2*i+1])<<8
}

// ABIs that have socketcall(2) and ipc(2) reach these calls through them too:
// the first argument is the place in the list, "-" fills holes.
const (
	socketCalls = "- socket bind connect listen accept getsockname getpeername socketpair send recv " +
		"sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
	ipcCalls = "- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - " +
		"shmat shmdt shmget shmctl"
)

// ipcMark tells the calls behind ipc from those behind socketcall in a selectors.
const ipcMark = 0x80

// selectors holds per name the first argument that selects it in socketcall,
// or in ipc with ipcMark added; 0 for all others.
type selectors [nameCount]uint8

func (s *selectors) fill() {
	for _, list := range [...]struct {
		names string
		mark  uint8
	}{{socketCalls, 0}, {ipcCalls, ipcMark}} {
		n := uint8(0)
		for name := range strings.FieldsSeq(list.names) {
			if id, ok := lookupName(name); ok {
				s[id] = n | list.mark
			}
			n++
		}
	}
}
