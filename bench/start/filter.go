package main

import specs "github.com/opencontainers/runtime-spec/specs-go"

func writeFilter(p *specs.LinuxSeccomp, file string) (string, error) { return "", nil }
