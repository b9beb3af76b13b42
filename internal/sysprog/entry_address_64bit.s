//go:build amd64 || arm64

#include "textflag.h"

// Read only: the place that the linker's flag -E names.
DATA ·entryAddress(SB)/8, $·entry(SB)
GLOBL ·entryAddress(SB), NOPTR|RODATA, $8
