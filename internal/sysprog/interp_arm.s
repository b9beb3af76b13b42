#include "textflag.h"

// func interp(pc, res uintptr)
//
// As in interp_amd64.s. R8 is the current op, R9 the header; R10 is g and
// stays; the call's number goes in R7, its arguments in R0 to R5.
TEXT ·interp(SB), NOSPLIT|NOFRAME, $0-8
	MOVW pc+0(FP), R8
	MOVW res+4(FP), R9
	B    ·loop(SB)

// loop is interp with its arguments in R8 and R9.
TEXT ·loop(SB), NOSPLIT|NOFRAME, $0-0
op:
	MOVW 0(R8), R7
	MOVW 4(R8), R0
	MOVW 8(R8), R1
	MOVW 12(R8), R2
	MOVW 16(R8), R3
	MOVW 20(R8), R4
	MOVW 24(R8), R5
	MOVW 28(R8), R6
	CMP  $0, R6
	BEQ  call
	TST  $1, R6
	MOVW.NE (R0), R0
	TST  $2, R6
	MOVW.NE (R1), R1
	TST  $4, R6
	MOVW.NE (R2), R2
	TST  $8, R6
	MOVW.NE (R3), R3
	TST  $16, R6
	MOVW.NE (R4), R4
	TST  $32, R6
	MOVW.NE (R5), R5

call:
	CMP  $0, R7
	BLT  pseudo
	SWI  $0
	MOVW $0xfffff001, R6
	CMP  R6, R0
	BCS  failed           // unsigned >=

good:
	CMP  $0, R0
	BNE  store
	MOVW 52(R8), R6       // zero
	CMP  $0, R6
	BNE  jump

store:
	MOVW 32(R8), R6       // out
	CMP  $0, R6
	MOVW.NE R0, (R6)

nonzero:
	MOVW 56(R8), R6       // then
	CMP  $0, R6
	BNE  jump

next:
	ADD $64, R8
	B   op

jump:
	MOVW R6, R8
	B    op

failed:
	RSB  $0, R0, R0
	MOVW $0xffff, R3
	MOVW 40(R8), R6       // to1
	MOVW 36(R8), R2       // err1
	CMP  R2, R0
	BEQ  tolerated
	CMP  R3, R2
	BEQ  tolerated
	MOVW 48(R8), R6       // to2
	MOVW 44(R8), R2       // err2
	CMP  R2, R0
	BEQ  tolerated
	CMP  R3, R2
	BEQ  tolerated
	MOVW 0(R9), R2        // only the first failure is kept
	CMP  $0, R2
	BNE  kept
	MOVW R0, 4(R9)
	MOVW R8, 0(R9)

kept:
	MOVW 60(R8), R6       // fail
	CMP  $0, R6
	BNE  jump
	RET

tolerated:
	CMP $0, R6
	BNE jump
	B   next

pseudo:
	CMN $1, R7
	BEQ done
	CMN $2, R7            // goto
	BEQ nonzero
	CMN $3, R7
	BEQ compare
	CMN $4, R7
	BEQ status
	CMN $6, R7            // set
	BEQ good
	RSB $0, R0, R0        // raise(errno)
	B   failed

compare:
	CMP   $0, R2
	BEQ   equal
	MOVBU (R0), R3
	MOVBU (R1), R4
	CMP   R3, R4
	BNE   differ
	ADD   $1, R0
	ADD   $1, R1
	SUB   $1, R2
	B     compare

equal:
	MOVW $0, R0
	B    good

differ:
	MOVW $-22, R0         // EINVAL
	B    failed

status:
	AND $0x7f, R0, R6
	CMP $0, R6
	BEQ exited
	ADD $128, R6, R0
	B   good

exited:
	MOVW R0>>8, R0
	AND  $0xff, R0, R0
	B    good

done:
	RET

// func code() uintptr
TEXT ·code(SB), NOSPLIT|NOFRAME, $0-4
	MOVW $·loop(SB), R0
	MOVW R0, ret+0(FP)
	RET
