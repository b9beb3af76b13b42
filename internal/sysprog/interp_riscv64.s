#include "textflag.h"

// func interp(pc, res uintptr)
//
// As in interp_amd64.s. X18 is the current op, X19 the header.
TEXT ·interp(SB), NOSPLIT|NOFRAME, $0-16
	MOV pc+0(FP), X18
	MOV res+8(FP), X19

loop:
	MOV  0(X18), X17
	MOV  8(X18), X10
	MOV  16(X18), X11
	MOV  24(X18), X12
	MOV  32(X18), X13
	MOV  40(X18), X14
	MOV  48(X18), X15
	MOV  56(X18), X5
	BEQZ X5, call
	AND  $1, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X10), X10
	AND  $2, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X11), X11
	AND  $4, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X12), X12
	AND  $8, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X13), X13
	AND  $16, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X14), X14
	AND  $32, X5, X6
	BEQZ X6, 2(PC)
	MOV  (X15), X15

call:
	BLT  X17, ZERO, pseudo
	ECALL
	MOV  $-4095, X5
	BGEU X10, X5, failed

good:
	BNEZ X10, store
	MOV  104(X18), X5     // zero
	BNEZ X5, jump

store:
	MOV  64(X18), X5      // out
	BEQZ X5, 2(PC)
	MOV  X10, (X5)

nonzero:
	MOV  112(X18), X5     // then
	BNEZ X5, jump

next:
	ADD $128, X18
	JMP loop

jump:
	MOV X5, X18
	JMP loop

failed:
	NEG  X10, X10
	MOV  $0xffff, X7
	MOV  80(X18), X5      // to1
	MOV  72(X18), X6      // err1
	BEQ  X10, X6, tolerated
	BEQ  X6, X7, tolerated
	MOV  96(X18), X5      // to2
	MOV  88(X18), X6      // err2
	BEQ  X10, X6, tolerated
	BEQ  X6, X7, tolerated
	MOV  0(X19), X6       // only the first failure is kept
	BNEZ X6, kept
	MOV  X10, 8(X19)
	MOV  X18, 0(X19)

kept:
	MOV  120(X18), X5     // fail
	BNEZ X5, jump
	RET

tolerated:
	BNEZ X5, jump
	JMP  next

pseudo:
	MOV $-1, X5
	BEQ X17, X5, done
	MOV $-2, X5           // goto
	BEQ X17, X5, nonzero
	MOV $-3, X5
	BEQ X17, X5, compare
	MOV $-4, X5
	BEQ X17, X5, status
	MOV $-6, X5
	BEQ X17, X5, good     // set
	NEG X10, X10          // raise(errno)
	JMP failed

compare:
	BEQZ X12, equal
	MOVBU (X10), X5
	MOVBU (X11), X6
	BNE  X5, X6, differ
	ADD  $1, X10
	ADD  $1, X11
	SUB  $1, X12
	JMP  compare

equal:
	MOV $0, X10
	JMP good

differ:
	MOV $-22, X10         // EINVAL
	JMP failed

status:
	AND  $0x7f, X10, X5
	BEQZ X5, exited
	ADD  $128, X5, X10
	JMP  good

exited:
	SRL $8, X10, X10
	AND $0xff, X10, X10
	JMP good

done:
	RET

// func code() uintptr
TEXT ·code(SB), NOSPLIT|NOFRAME, $0-8
	MOV $·interp(SB), X5
	MOV X5, ret+0(FP)
	RET
