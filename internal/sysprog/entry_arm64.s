#include "textflag.h"

// entry is where the kernel starts the program when it is linked with
// -E=tare.dev/tare/internal/sysprog.entry. See entry_amd64.s.
//
// R21 keeps the stack pointer that the kernel gave, R22 the file.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	MOVD RSP, R21
	MOVD 0(R21), R0       // argc
	CMP  $2, R0
	BLT  gostart

	// Run from a read-only copy of our own mount: see entry_amd64.s.
	SUB  $128, RSP
	MOVD RSP, R23
	MOVD $0x65732f636f72702f, R4 // /proc/se
	MOVD R4, 0(R23)
	MOVD $0x00006578652f666c, R4 // lf/exe
	MOVD R4, 8(R23)
	MOVD $1, R4           // struct mount_attr: set MOUNT_ATTR_RDONLY
	MOVD R4, 16(R23)
	MOVD ZR, 24(R23)
	MOVD ZR, 32(R23)
	MOVD ZR, 40(R23)

	MOVD $48, R8          // faccessat(AT_FDCWD, /proc/self/exe, W_OK): EROFS is what we want
	MOVD $-100, R0
	MOVD R23, R1
	MOVD $2, R2
	SVC
	CBNZ R0, protected
	MOVD $175, R8         // geteuid
	SVC
	CBNZ R0, protected
	MOVD $428, R8         // open_tree(.., OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)
	MOVD $-100, R0
	MOVD R23, R1
	MOVD $0x80001, R2
	SVC
	TBNZ $63, R0, gostart // Go has another way
	MOVD R0, R22
	MOVD $442, R8         // mount_setattr(fd, "", AT_EMPTY_PATH, attr, 32)
	ADD  $14, R23, R1
	MOVD $0x1000, R2
	ADD  $16, R23, R3
	MOVD $32, R4
	SVC
	CBNZ R0, unprotected
	MOVD $281, R8         // execveat(fd, "", argv, envp, AT_EMPTY_PATH)
	MOVD R22, R0
	ADD  $14, R23, R1
	ADD  $8, R21, R2
	MOVD 0(R21), R4
	ADD  $16, R21, R3
	ADD  R4<<3, R3
	MOVD $0x1000, R4
	SVC

unprotected:
	MOVD $57, R8          // close
	MOVD R22, R0
	SVC
	B    gostart

protected:
	MOVD R21, RSP

	// FNV-1a of the arguments, NUL bytes included.
	MOVD $0xcbf29ce484222325, R1
	MOVD $0x100000001b3, R2
	ADD  $8, R21, R3

argument:
	MOVD 0(R3), R4
	ADD  $8, R3
	CBZ  R4, environment

letter:
	MOVBU 0(R4), R5
	EOR  R5, R1
	MUL  R2, R1
	ADD  $1, R4
	CBNZ R5, letter
	B    argument

	// LISTEN_FDS and NOTIFY_SOCKET change what a start does.
environment:
	MOVD $0x465f4e455453494c, R6 // LISTEN_F
	MOVD $0x535f594649544f4e, R7 // NOTIFY_S

variable:
	MOVD 0(R3), R4
	ADD  $8, R3
	CBZ  R4, path
	MOVD 0(R4), R5
	CMP  R6, R5
	BEQ  gostart
	CMP  R7, R5
	BEQ  gostart
	B    variable

path:
	SUB  $512, RSP
	MOVD RSP, R23
	MOVD $0x7261742f6e75722f, R4  // /run/tar
	MOVD R4, 0(R23)
	MOVD $0x2f74726174732f65, R4  // e/start/
	MOVD R4, 8(R23)
	ADD  $16, R23, R3
	MOVD $16, R6

digit:
	ROR  $60, R1, R1      // the next four bits come last
	AND  $15, R1, R5
	ADD  $48, R5
	CMP  $57, R5
	BLE  2(PC)
	ADD  $39, R5
	MOVB R5, 0(R3)
	ADD  $1, R3
	SUB  $1, R6
	CBNZ R6, digit
	MOVB ZR, 0(R3)

	MOVD $56, R8          // openat(AT_FDCWD, path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW)
	MOVD $-100, R0
	MOVD R23, R1
	MOVD $0x88000, R2
	MOVD $0, R3
	SVC
	TBNZ $63, R0, gostart
	MOVD R0, R22

	MOVD $80, R8          // fstat: it must be root's, and nobody else may write it
	ADD  $128, R23, R1
	SVC
	CBNZ R0, unfit
	MOVWU (128+24)(R23), R4 // st_uid
	CBNZ R4, unfit
	MOVWU (128+16)(R23), R4 // st_mode
	TST  $0x12, R4
	BNE  unfit
	MOVD (128+48)(R23), R4 // st_size
	MOVD R4, 400(R23)

	MOVD $175, R8         // geteuid
	SVC
	CBNZ R0, unfit

	MOVD $67, R8          // pread64 of the header
	MOVD R22, R0
	ADD  $128, R23, R1
	MOVD $64, R2
	MOVD $0, R3
	SVC
	CMP  $64, R0
	BNE  unfit
	MOVD $0x3030657261742f01, R4 // storedMagic
	MOVD (128+16)(R23), R5
	CMP  R4, R5
	BNE  unfit
	MOVD (128+32)(R23), R4 // the program must be whole
	MOVD 400(R23), R5
	CMP  R4, R5
	BNE  unfit

	MOVD $222, R8         // mmap at the program's address
	MOVD (128+24)(R23), R0
	MOVD (128+32)(R23), R1
	MOVD $3, R2           // PROT_READ|PROT_WRITE
	MOVD $0x108002, R3    // MAP_PRIVATE|MAP_POPULATE|MAP_FIXED_NOREPLACE
	MOVD R22, R4
	MOVD $0, R5
	SVC
	MOVD (128+24)(R23), R4
	CMP  R4, R0
	BNE  unfit
	MOVD R0, R20
	MOVD (128+40)(R23), R19
	MOVD 8(R21), R4
	MOVD R4, 48(R20)      // the arguments, for the program to compare

	MOVD $57, R8          // close
	MOVD R22, R0
	SVC
	BL   ·loop(SB)

	MOVD $215, R8         // munmap; the program has undone what it did
	MOVD (128+24)(R23), R0
	MOVD (128+32)(R23), R1
	SVC
	B    gostart

unfit:
	MOVD $57, R8
	MOVD R22, R0
	SVC

gostart:
	MOVD R21, RSP
	B    _rt0_arm64_linux(SB)
