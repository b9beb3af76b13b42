// Package seccomp compiles the linux.seccomp part of an OCI config to a
// classic BPF program.
// A compiled filter gives for every ABI, call and argument the verdict that the
// profile's rules give when they are read one by one, as below.
// It loads nothing: the program that starts the process does.
//
// # What a profile means
//
// Profiles mean what they mean under runc, that is to libseccomp; the tests
// compare with it where it is installed.
//
//   - Names that an ABI does not have are left out there. Names that no ABI has
//     are left out with a warning.
//   - A rule whose action and value are the default's has no effect.
//   - Tests of one rule must all pass. But if two of them are of the same
//     argument, each test makes a rule of its own.
//   - If a call has rules without tests, the first of these decides it and all
//     its other rules are void, with a warning. Likewise a rule is void if
//     another one has the same leading tests (by argument) and fewer in all.
//     Two actions under the same tests are an error.
//   - Other rules of a call are tried in this order, whatever their order in the
//     profile: the one that tests the later argument; tests for equality, with a
//     mask and for inequality before LT and LE before GT and GE; the tighter
//     range, or else the larger value; then the next test likewise.
//   - The native ABI is always listed. Calls through an ABI that is not are
//     killed (SCMP_ACT_KILL, one thread), x32 calls on x86_64 included. Listed
//     ABIs that this kernel cannot report cost nothing.
//   - ABIs with 32-bit arguments, x32 and n32 compare the lower 32 bits.
//   - Calls newer than the newest one that the profile names on an ABI fail with
//     ENOSYS, unless the default action lets them through: profiles lag behind
//     C libraries, which try new calls first and take EPERM for an answer. This
//     is runc's rule; crun has none.
//   - Without "flags", SPEC_ALLOW is set, as by runc and crun.
//
// # Where it differs from libseccomp and runc
//
//   - A rule with tests on a call that i386, s390, ppc or mips programs also
//     make through socketcall(2) or ipc(2): its tests cannot be made there,
//     where the arguments are behind a pointer. Such a rule holds for the
//     multiplexed call if its action is stricter than the default, and does
//     not if it is weaker. libseccomp replaces the first test and makes the
//     others on registers that mean something else.
//   - runc's ENOSYS never comes into force on 32-bit arm for a profile that
//     names set_tls, as Docker's does, since its number is 0xf0005. Here these
//     private calls count apart.
//   - The number -1, with which a tracer skips a call, is no x32 call.
//   - Where rules with different actions and ranges, masks or inequalities meet,
//     libseccomp's merging of rules departs from its own order at times.
//   - A value for an action that takes none, an errno above 4095, an empty list
//     of names and metadata for no listener are errors, as the spec wants.
//
// Since Linux 6.14 the kernel lets uretprobe(2) and uprobe(2) of x86_64 pass by
// all filters.
//
// # The program
//
// Per AUDIT_ARCH value, call numbers are cut into spans of equal outcome, which
// are searched by halves; single calls within a span are tested beside it. For
// Docker's profile with three ABIs that comes to a quarter of the instructions
// that libseccomp needs, and the kernel runs each number through them once
// when it loads a filter.
package seccomp
