#include "textflag.h"

// entry is where the kernel starts the program when it is linked with
// -E=tare.dev/tare/internal/sysprog.entry. See entry_amd64.s.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	JMP _rt0_riscv64_linux(SB)
