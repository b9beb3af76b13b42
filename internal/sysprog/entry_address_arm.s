#include "textflag.h"

// Read only: the place that the linker's flag -E names.
DATA ·entryAddress(SB)/4, $·entry(SB)
GLOBL ·entryAddress(SB), NOPTR|RODATA, $4
