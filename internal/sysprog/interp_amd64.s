#include "textflag.h"

// func interp(pc, res uintptr)
//
// R12 points at the current op, R13 at the header. The stack is not touched
// between the first and the last instruction, so a child made by a clone in
// the list may share it. Registers survive clone(2) on both sides.
TEXT ·interp(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ pc+0(FP), R12
	MOVQ res+8(FP), R13
	JMP  ·loop(SB)

// loop is interp with its arguments in R12 and R13.
TEXT ·loop(SB), NOSPLIT|NOFRAME, $0-0
op:
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	MOVQ 56(R12), CX
	TESTQ CX, CX
	JZ   call
	BTQ  $0, CX
	JCC  2(PC)
	MOVQ (DI), DI
	BTQ  $1, CX
	JCC  2(PC)
	MOVQ (SI), SI
	BTQ  $2, CX
	JCC  2(PC)
	MOVQ (DX), DX
	BTQ  $3, CX
	JCC  2(PC)
	MOVQ (R10), R10
	BTQ  $4, CX
	JCC  2(PC)
	MOVQ (R8), R8
	BTQ  $5, CX
	JCC  2(PC)
	MOVQ (R9), R9

call:
	TESTQ AX, AX
	JLT   pseudo
	SYSCALL
	CMPQ  AX, $-4095
	JCC   failed          // unsigned >=

good:
	TESTQ AX, AX
	JNZ   store
	MOVQ  104(R12), CX    // zero
	TESTQ CX, CX
	JNZ   jump

store:
	MOVQ  64(R12), CX     // out
	TESTQ CX, CX
	JZ    2(PC)
	MOVQ  AX, (CX)

nonzero:
	MOVQ  112(R12), CX    // then
	TESTQ CX, CX
	JNZ   jump

next:
	ADDQ $128, R12
	JMP  op

jump:
	MOVQ CX, R12
	JMP  op

failed:
	NEGQ AX
	MOVQ 80(R12), CX      // to1
	MOVQ 72(R12), DX      // err1
	CMPQ AX, DX
	JEQ  tolerated
	CMPQ DX, $0xffff
	JEQ  tolerated
	MOVQ 96(R12), CX      // to2
	MOVQ 88(R12), DX      // err2
	CMPQ AX, DX
	JEQ  tolerated
	CMPQ DX, $0xffff
	JEQ  tolerated
	CMPQ 0(R13), $0       // only the first failure is kept
	JNE  2(PC)
	MOVQ AX, 8(R13)
	CMPQ 0(R13), $0
	JNE  2(PC)
	MOVQ R12, 0(R13)
	MOVQ 120(R12), CX     // fail
	TESTQ CX, CX
	JNZ  jump
	RET

tolerated:
	TESTQ CX, CX
	JNZ   jump
	JMP   next

pseudo:
	CMPQ AX, $-1
	JEQ  done
	CMPQ AX, $-2          // goto
	JEQ  nonzero
	CMPQ AX, $-3
	JEQ  compare
	CMPQ AX, $-4
	JEQ  status
	CMPQ AX, $-6
	JEQ  set
	MOVQ DI, AX           // raise(errno)
	NEGQ AX
	JMP  failed

set:
	MOVQ DI, AX
	JMP  good

compare:
	XORL AX, AX
	TESTQ DX, DX
	JZ   good
	MOVB (DI), CX
	CMPB CX, (SI)
	JNE  differ
	INCQ DI
	INCQ SI
	DECQ DX
	JMP  compare

differ:
	MOVQ $-22, AX         // EINVAL
	JMP  failed

status:
	MOVQ DI, AX
	ANDL $0x7f, AX
	JZ   exited
	ADDL $128, AX
	JMP  good

exited:
	MOVQ DI, AX
	SHRL $8, AX
	ANDL $0xff, AX
	JMP  good

done:
	RET

// func code() uintptr
TEXT ·code(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·loop(SB), AX
	MOVQ AX, ret+0(FP)
	RET
