#!/usr/bin/env bash
# Installs the Debian packages that tests and the demo need, from this machine's own package sources.
# Quiet and quick when all of them are there. Needs root or sudo only when one is missing.
#
#   test/install.sh GROUP...     base demo peers vm arm, or all
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A groups=(
  [base]="make gcc libc6-dev ca-certificates busybox-static erofs-utils iproute2 procps util-linux"
  [demo]="busybox-static mmdebstrap debian-archive-keyring crun docker-registry docker-compose"
  [peers]="iptables libseccomp-dev $(cat test/*/packages.txt bench/*/packages.txt | tr '\n' ' ')"
  [vm]="qemu-system-x86 qemu-system-arm mmdebstrap debian-archive-keyring busybox-static e2fsprogs cpio kmod"
  [arm]="qemu-user-static"
)

packages=()
for group in "$@"; do
  if [[ $group == all ]]; then
    for list in "${groups[@]}"; do read -ra names <<<"$list"; packages+=("${names[@]}"); done
  elif [[ -v groups[$group] ]]; then
    read -ra names <<<"${groups[$group]}"; packages+=("${names[@]}")
  else
    echo "install: no group $group; there are: all ${!groups[*]}" >&2
    exit 2
  fi
done

if ! command -v dpkg-query >/dev/null; then
  echo "install: this is no Debian machine; provide by hand: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || true
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "install: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
echo "install: ${missing[*]}" >&2

# A daemon that a package brings must not start: the tests start their own, with their own state.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
  "${root[@]}" chmod 755 "$policy"
  trap '"${root[@]}" rm -f "$policy"' EXIT
fi

apt() {
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 \
    -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" </dev/null
}
log=$(mktemp)
# The lists may be absent or too old for the archive: then the first attempt fails, and is not news.
if ! apt install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
  { apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    cat "$log" >&2
    rm -f "$log"
    echo "install: apt-get could not install: ${missing[*]}" >&2
    exit 1
  }
fi
rm -f "$log"
