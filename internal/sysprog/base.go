package sysprog

const is64 = WordSize / 8 // 1 on 64-bit CPUs, else 0

// Base is where programs are assembled for: a fixed address, so that an
// assembled program can be stored and mapped again by another process.
// 128 GiB lies below Go's heap and inside the smallest (39-bit) arm64 address
// space; on 32-bit CPUs 1.25 GiB lies between the heap and the mmap area.
const Base = uintptr(is64*(0x20<<(is64*32)) + (1-is64)*0x50000000)
