#include "textflag.h"

// entry is where the kernel starts the program when it is linked with
// -E=tare.dev/tare/internal/sysprog.entry. If a stored program (see Store)
// fits the command line, the loop runs it and Go never starts; in every other
// case, and when the program gives up, Go starts as if nothing had been.
//
// BX keeps the stack pointer that the kernel gave, R15 the file.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, BX
	MOVQ 0(BX), CX        // argc
	CMPQ CX, $2
	JLT  gostart

	// A container may be told to execute /proc/self/exe, which is this file,
	// and could then write to it (CVE-2019-5736). So root runs it from a
	// read-only copy of its mount: the same pages, but nobody can open it for
	// writing. On a device with a read-only root nothing is to be done.
	SUBQ $128, SP
	MOVQ $0x65732f636f72702f, CX // /proc/se
	MOVQ CX, 0(SP)
	MOVQ $0x00006578652f666c, CX // lf/exe
	MOVQ CX, 8(SP)
	MOVQ $1, 16(SP)       // struct mount_attr: set MOUNT_ATTR_RDONLY
	MOVQ $0, 24(SP)
	MOVQ $0, 32(SP)
	MOVQ $0, 40(SP)

	MOVQ $269, AX         // faccessat(AT_FDCWD, /proc/self/exe, W_OK): EROFS is what we want
	MOVQ $-100, DI
	MOVQ SP, SI
	MOVQ $2, DX
	SYSCALL
	TESTQ AX, AX
	JNZ  protected
	MOVQ $107, AX         // geteuid
	SYSCALL
	TESTQ AX, AX
	JNZ  protected
	MOVQ $428, AX         // open_tree(.., OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)
	MOVQ $-100, DI
	MOVQ SP, SI
	MOVQ $0x80001, DX
	SYSCALL
	TESTQ AX, AX
	JLT  gostart          // Go has another way
	MOVQ AX, R15
	MOVQ $442, AX         // mount_setattr(fd, "", AT_EMPTY_PATH, attr, 32)
	MOVQ R15, DI
	LEAQ 14(SP), SI
	MOVQ $0x1000, DX
	LEAQ 16(SP), R10
	MOVQ $32, R8
	SYSCALL
	TESTQ AX, AX
	JNZ  unprotected
	MOVQ $322, AX         // execveat(fd, "", argv, envp, AT_EMPTY_PATH)
	MOVQ R15, DI
	LEAQ 14(SP), SI
	LEAQ 8(BX), DX
	MOVQ 0(BX), CX
	LEAQ 16(BX)(CX*8), R10
	MOVQ $0x1000, R8
	SYSCALL

unprotected:
	MOVQ $3, AX           // close
	MOVQ R15, DI
	SYSCALL
	JMP  gostart

protected:
	MOVQ BX, SP

	// FNV-1a of the arguments, NUL bytes included.
	MOVQ $0xcbf29ce484222325, AX
	MOVQ $0x100000001b3, R9
	LEAQ 8(BX), SI

argument:
	MOVQ  (SI), DI
	ADDQ  $8, SI
	TESTQ DI, DI
	JZ    environment

letter:
	MOVBLZX (DI), CX
	XORQ  CX, AX
	IMULQ R9, AX
	INCQ  DI
	TESTL CX, CX
	JNZ   letter
	JMP   argument

	// LISTEN_FDS and NOTIFY_SOCKET change what a start does.
environment:
	MOVQ $0x465f4e455453494c, R10 // LISTEN_F
	MOVQ $0x535f594649544f4e, R11 // NOTIFY_S

variable:
	MOVQ  (SI), DI
	ADDQ  $8, SI
	TESTQ DI, DI
	JZ    path
	MOVQ  (DI), CX
	CMPQ  CX, R10
	JEQ   gostart
	CMPQ  CX, R11
	JEQ   gostart
	JMP   variable

path:
	SUBQ $512, SP
	MOVQ $0x7261742f6e75722f, CX  // /run/tar
	MOVQ CX, 0(SP)
	MOVQ $0x2f74726174732f65, CX  // e/start/
	MOVQ CX, 8(SP)
	LEAQ 16(SP), DI
	MOVQ $16, CX

digit:
	ROLQ $4, AX
	MOVL AX, DX
	ANDL $15, DX
	ADDL $48, DX
	CMPL DX, $57
	JLE  2(PC)
	ADDL $39, DX
	MOVB DX, (DI)
	INCQ DI
	DECQ CX
	JNZ  digit
	MOVB $0, (DI)

	MOVQ $257, AX         // openat(AT_FDCWD, path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW)
	MOVQ $-100, DI
	MOVQ SP, SI
	MOVQ $0xa0000, DX
	XORL R10, R10
	SYSCALL
	TESTQ AX, AX
	JLT  gostart
	MOVQ AX, R15

	MOVQ $5, AX           // fstat: it must be root's, and nobody else may write it
	MOVQ R15, DI
	LEAQ 128(SP), SI
	SYSCALL
	TESTQ AX, AX
	JNZ  unfit
	MOVL (128+28)(SP), CX // st_uid
	TESTL CX, CX
	JNZ  unfit
	MOVL (128+24)(SP), CX // st_mode
	TESTL $0x12, CX
	JNZ  unfit
	MOVQ (128+48)(SP), CX // st_size
	MOVQ CX, 400(SP)

	MOVQ $107, AX         // geteuid
	SYSCALL
	TESTQ AX, AX
	JNZ  unfit

	MOVQ $17, AX          // pread64 of the header
	MOVQ R15, DI
	LEAQ 128(SP), SI
	MOVQ $64, DX
	XORL R10, R10
	SYSCALL
	CMPQ AX, $64
	JNE  unfit
	MOVQ $0x3030657261742f01, CX // storedMagic
	CMPQ CX, (128+16)(SP)
	JNE  unfit
	MOVQ (128+32)(SP), CX // the program must be whole
	CMPQ CX, 400(SP)
	JNE  unfit

	MOVQ $9, AX           // mmap at the program's address
	MOVQ (128+24)(SP), DI
	MOVQ (128+32)(SP), SI
	MOVQ $3, DX           // PROT_READ|PROT_WRITE
	MOVQ $0x108002, R10   // MAP_PRIVATE|MAP_POPULATE|MAP_FIXED_NOREPLACE
	MOVQ R15, R8
	XORL R9, R9
	SYSCALL
	CMPQ AX, (128+24)(SP)
	JNE  unfit
	MOVQ AX, R13
	MOVQ (128+40)(SP), R12
	MOVQ 8(BX), CX
	MOVQ CX, 48(R13)      // the arguments, for the program to compare

	MOVQ $3, AX           // close
	MOVQ R15, DI
	SYSCALL
	CALL ·loop(SB)

	MOVQ $11, AX          // munmap; the program has undone what it did
	MOVQ (128+24)(SP), DI
	MOVQ (128+32)(SP), SI
	SYSCALL
	JMP  gostart

unfit:
	MOVQ $3, AX
	MOVQ R15, DI
	SYSCALL

gostart:
	MOVQ BX, SP
	JMP  _rt0_amd64_linux(SB)
