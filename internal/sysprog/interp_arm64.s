#include "textflag.h"

// func interp(pc, res uintptr)
//
// As in interp_amd64.s. R19 is the current op, R20 the header.
TEXT ·interp(SB), NOSPLIT|NOFRAME, $0-16
	MOVD pc+0(FP), R19
	MOVD res+8(FP), R20
	B    ·loop(SB)

// loop is interp with its arguments in R19 and R20.
TEXT ·loop(SB), NOSPLIT|NOFRAME, $0-0
op:
	MOVD 0(R19), R8
	MOVD 8(R19), R0
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	MOVD 56(R19), R9
	CBZ  R9, call
	TBZ  $0, R9, 2(PC)
	MOVD (R0), R0
	TBZ  $1, R9, 2(PC)
	MOVD (R1), R1
	TBZ  $2, R9, 2(PC)
	MOVD (R2), R2
	TBZ  $3, R9, 2(PC)
	MOVD (R3), R3
	TBZ  $4, R9, 2(PC)
	MOVD (R4), R4
	TBZ  $5, R9, 2(PC)
	MOVD (R5), R5

call:
	TBNZ $63, R8, pseudo
	SVC
	CMN  $4095, R0
	BHS  failed           // unsigned >= -4095

good:
	CBNZ R0, store
	MOVD 104(R19), R9     // zero
	CBNZ R9, jump

store:
	MOVD 64(R19), R9      // out
	CBZ  R9, 2(PC)
	MOVD R0, (R9)

nonzero:
	MOVD 112(R19), R9     // then
	CBNZ R9, jump

next:
	ADD $128, R19
	B   op

jump:
	MOVD R9, R19
	B    op

failed:
	NEG  R0, R0
	MOVD $0xffff, R12
	MOVD 80(R19), R9      // to1
	MOVD 72(R19), R11     // err1
	CMP  R11, R0
	BEQ  tolerated
	CMP  R12, R11
	BEQ  tolerated
	MOVD 96(R19), R9      // to2
	MOVD 88(R19), R11     // err2
	CMP  R11, R0
	BEQ  tolerated
	CMP  R12, R11
	BEQ  tolerated
	MOVD 0(R20), R11      // only the first failure is kept
	CBNZ R11, kept
	MOVD R0, 8(R20)
	MOVD R19, 0(R20)

kept:
	MOVD 120(R19), R9     // fail
	CBNZ R9, jump
	RET

tolerated:
	CBNZ R9, jump
	B    next

pseudo:
	CMN $1, R8
	BEQ done
	CMN $2, R8            // goto
	BEQ nonzero
	CMN $3, R8
	BEQ compare
	CMN $4, R8
	BEQ status
	CMN $6, R8            // set
	BEQ good
	NEG R0, R0            // raise(errno)
	B   failed

compare:
	CBZ  R2, equal
	MOVBU (R0), R9
	MOVBU (R1), R11
	CMP  R9, R11
	BNE  differ
	ADD  $1, R0
	ADD  $1, R1
	SUB  $1, R2
	B    compare

equal:
	MOVD $0, R0
	B    good

differ:
	MOVD $-22, R0         // EINVAL
	B    failed

status:
	AND  $0x7f, R0, R9
	CBZ  R9, exited
	ADD  $128, R9, R0
	B    good

exited:
	LSR  $8, R0, R0
	AND  $0xff, R0, R0
	B    good

done:
	RET

// func code() uintptr
TEXT ·code(SB), NOSPLIT|NOFRAME, $0-8
	MOVD $·loop(SB), R0
	MOVD R0, ret+0(FP)
	RET
