package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"tare.dev/tare/test/output"
	"tare.dev/tare/test/vm/suite"
)

// A Machine is a virtual machine to be booted once.
type Machine struct {
	Platform Platform
	Kernel   Kernel
	Initrd   string
	Disks    []string // raw images; what the machine writes to them is thrown away
	Console  string   // file that gets what the kernel says
	Accel    string   // "kvm" or "tcg"
}

// Accel returns "kvm" if a virtual machine truly runs with it here, else "tcg". A /dev/kvm that opens
// proves little: below another hypervisor the guest often hangs at its first instructions.
func Accel(ctx context.Context, p Platform, kernel Kernel) string {
	if p.GOARCH != runtime.GOARCH {
		return "tcg"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	f.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// Without a root file system the kernel panics, restarts and so ends QEMU.
	args := append(p.hardware("kvm"), "-m", "256M", "-kernel", kernel.Image,
		"-append", "panic=-1 console="+p.console, "-serial", "stdio")
	out, err := exec.CommandContext(ctx, p.qemu[0], args...).Output()
	if err == nil && strings.Contains(string(out), "Linux version") {
		return "kvm"
	}
	return "tcg"
}

func (p Platform) hardware(accel string) []string {
	args := append([]string{"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot"}, p.qemu[1:]...)
	if accel == "kvm" {
		return append(args, "-accel", "kvm", "-cpu", "host")
	}
	return append(args, "-accel", "tcg,thread=multi", "-cpu", p.cpu)
}

// Run boots the machine and hands each line of its output to show. It returns when the machine ends
// by itself, or with the context's error. The results come over a port of their own (guest/run.go);
// QEMU's "stdio" would close it at the end of its standard input.
func (m Machine) Run(ctx context.Context, show func(line string)) (*suite.Reader, error) {
	p := m.Platform
	args := append(p.hardware(m.Accel), "-m", "2G", "-smp", "2",
		"-kernel", m.Kernel.Image, "-initrd", m.Initrd,
		"-append", "panic=-1 quiet loglevel=4 cgroup_no_v1=all psi=1 console="+p.console,
		"-serial", "file:"+m.Console,
		"-device", "virtio-serial-pci", "-chardev", "file,id=results,path=/dev/stdout", "-device", "virtserialport,chardev=results")
	for _, disk := range m.Disks {
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,cache=unsafe,file="+disk)
	}
	cmd := exec.CommandContext(ctx, p.qemu[0], args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var message strings.Builder
	cmd.Stderr = &message
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	reader := &suite.Reader{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if line := reader.Line(lines.Text()); line != "" {
			show(line)
		}
	}
	err = errors.Join(lines.Err(), cmd.Wait(), ctx.Err())
	if err != nil {
		err = fmt.Errorf("qemu: %w %s", err, message.String())
	}
	return reader, err
}

// complaints returns one sentence for each thing wrong with a suite's result.
func complaints(r suite.Result, rules []output.Rule) []string {
	var all []string
	if r.Status != 0 {
		all = append(all, fmt.Sprintf("exit status %d", r.Status))
	}
	if output.Passed(r.Output) == 0 {
		all = append(all, "no test passed")
	}
	return append(all, output.Unexpected(r.Name, output.Skips(r.Output), rules)...)
}
