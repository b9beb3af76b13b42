#!/usr/bin/env bash
# Runs the stages of `make test`: all of them, or those named. A stage that fails does not stop the
# next; the end lists what failed, and the exit status is 1.
#
#   test/run.sh [check] [go] [arm] [vm] [vm-arm] [vm-old] [crash]
set -uo pipefail
cd "$(dirname "$0")/.."

# Most of it makes namespaces, mounts and control groups.
[[ $(id -u) -eq 0 ]] || exec sudo env "PATH=$PATH" "CI=${CI:-}" "CRASH_STATES=${CRASH_STATES:-}" "$0" "$@"

GO=${GO:-go}
export GOTOOLCHAIN=${GOTOOLCHAIN:-local}
export TARE_RUNTIME=$PWD/bin/tare-runtime # what the tests drive
failed=()

stage() { # stage NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  echo "==> $name"
  if "$@"; then
    echo "==> $name: ok, $((SECONDS - start)) s"
  else
    echo "==> $name: FAILED, $((SECONDS - start)) s"
    failed+=("$name")
    return 1
  fi
}

# The tests of packages and of the built program, on this machine's kernel. -count=1 because a cached
# result says nothing of the kernel or of a program that was built in between.
go_tests() {
  $GO build -o build/judge ./test/judge || return 1
  $GO test -count=1 -timeout 20m -v ./... 2>&1 | tee build/test.log | build/judge test/skips.txt
}

# The assembly of other CPUs under qemu-user. It runs what the CPU does; the kernel is this one's.
# TestEntry builds for every CPU itself and has run on this one.
arm_tests() {
  local status=0 arch emulator
  for arch in arm64:qemu-aarch64-static arm:qemu-arm-static; do
    emulator=${arch#*:} arch=${arch%:*}
    echo "GOARCH=$arch under $emulator"
    CGO_ENABLED=0 GOARCH=$arch $GO test -count=1 -timeout 10m -exec "$emulator" -skip "^TestEntry$" ./internal/sysprog || status=1
  done
  return $status
}

# Power cuts, in many more states of three file systems than go_tests has time for.
crash_tests() {
  TARE_CRASH_STATES=${CRASH_STATES:-1700} $GO test -count=1 -timeout 12h -v -run '^TestPowerCut' ./test/store
}

# Debian's kernels in virtual machines: test/vm/platform.go has the names.
vm_tests() { # vm_tests PLATFORM...
  TARE_VM_PLATFORMS=$* $GO test -count=1 -timeout 40m -tags vm -v ./test/vm
}

for name in "${@:-all}"; do
  case $name in
    all)
      stage install test/install.sh all
      stage build make --no-print-directory build
      stage check make --no-print-directory --keep-going check
      stage arm arm_tests
      stage vm vm_tests amd64
      stage vm-arm vm_tests arm64 armhf
      stage go go_tests
      ;;
    check) stage check make --no-print-directory --keep-going check ;;
    go) stage install test/install.sh base demo peers && stage build make --no-print-directory build && stage go go_tests ;;
    arm) stage install test/install.sh arm && stage arm arm_tests ;;
    vm) stage install test/install.sh vm && stage vm vm_tests amd64 ;;
    # With what `all` has no time for.
    vm-arm) stage install test/install.sh vm && TARE_VM_LONG=1 stage vm-arm vm_tests arm64 armhf ;;
    # Not part of all: a mirror need not have a release of Debian that is no longer maintained.
    vm-old) stage install test/install.sh vm && stage vm-old vm_tests amd64-5.10 ;;
    # Nor is this, which takes three minutes with an idle machine.
    crash) stage install test/install.sh base demo peers && stage build make --no-print-directory build && stage crash crash_tests ;;
    *) echo "run: no stage $name; there are: all check go arm vm vm-arm vm-old crash" >&2; exit 2 ;;
  esac
done

if [[ ${#failed[@]} -gt 0 ]]; then
  echo "FAIL: ${failed[*]}"
  exit 1
fi
echo "PASS"
