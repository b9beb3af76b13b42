// Package vm runs test programs in a virtual machine with Debian's kernel and control groups v2 only.
// One boot runs all of them. A machine that stops early, a suite that does not end, and a test that
// skips without a listed reason are failures.
// What the machine does inside is package guest's; what the tests test is theirs.
package vm
