package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// unitTime is how long systemd may take for a unit.
const unitTime = 30 * time.Second

// StartUnit has systemd make the unit of the plan with the process pid in it. It
// returns when the process is there. It does nothing for a plan without a unit.
func (p *Plan) StartUnit(ctx context.Context, pid int) error {
	u := p.Unit
	if u == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, unitTime)
	defer cancel()
	b, err := dialSystemd(ctx, u.User)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	defer b.close()
	if err := b.startUnit(ctx, u, pid); err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	return u.check(pid)
}

// Enter does what is left to do after StartUnit: it executes the steps, attaches
// the device program, and moves the process into the v1 groups that systemd
// knows nothing of.
func (p *Plan) Enter(pid int) error {
	if err := Run(p.Steps); err != nil {
		return err
	}
	if p.Devices != nil {
		if err := ApplyDevices(p.Dir, p.Devices); err != nil {
			return err
		}
	}
	for _, file := range p.Tasks {
		procs := filepath.Join(filepath.Dir(file), "cgroup.procs")
		if err := writeFile(procs, strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// check makes sure that systemd put the process where the plan's steps will
// write.
func (u *Unit) check(pid int) error {
	if u.dir == "" {
		return nil // v1 only: the child joins the groups itself
	}
	pids, err := processesIn(u.dir)
	if err != nil {
		return fmt.Errorf("start unit %s: %w", u.Name, err)
	}
	if !slices.Contains(pids, pid) {
		return fmt.Errorf("start unit %s: systemd did not put process %d into %s", u.Name, pid, u.dir)
	}
	return nil
}

// stopUnit stops a unit and waits for it. A unit that is gone, as a scope is
// when its last process has ended, is no error.
func stopUnit(ctx context.Context, name string, user bool) error {
	b, err := dialSystemd(ctx, user)
	if err != nil {
		return fmt.Errorf("stop unit %s: %w", name, err)
	}
	defer b.close()
	err = b.job(ctx, "StopUnit", name, "replace")
	if isError(err, "NoSuchUnit") {
		err = nil
	}
	// A unit that failed stays in systemd's memory until it is reset.
	if resetErr := b.call(ctx, "ResetFailedUnit", name); resetErr != nil && !isError(resetErr, "NoSuchUnit") && err == nil {
		err = resetErr
	}
	if err != nil {
		return fmt.Errorf("stop unit %s: %w", name, err)
	}
	return nil
}

// setUnit changes properties of a running unit, not to be kept over a reboot.
func setUnit(ctx context.Context, name string, user bool, list []property) error {
	if len(list) == 0 {
		return nil
	}
	b, err := dialSystemd(ctx, user)
	if err != nil {
		return fmt.Errorf("set properties of unit %s: %w", name, err)
	}
	defer b.close()
	if err := b.call(ctx, "SetUnitProperties", name, true, wire(list, b.version)); err != nil {
		return fmt.Errorf("set properties of unit %s: %w", name, err)
	}
	return nil
}

// The names of systemd on the bus: org.freedesktop.systemd1(5).
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// systemd is a connection to a systemd.
type systemd struct {
	conn    *dbus.Conn
	manager dbus.BusObject
	version int
}

func (b *systemd) close() { _ = b.conn.Close() }

// dialSystemd connects to the machine's systemd or to the user's. Its own socket
// comes first, as for systemctl: it works without a bus daemon, which small
// devices do not have, but lets only root in.
func dialSystemd(ctx context.Context, user bool) (*systemd, error) {
	var failed []error
	for _, address := range systemdAddresses(user) {
		conn, err := dial(ctx, address)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", address.path, err))
			continue
		}
		b := &systemd{conn: conn, manager: conn.Object(systemdName, systemdPath)}
		if err := b.subscribe(ctx, address.private); err != nil {
			b.close()
			failed = append(failed, fmt.Errorf("%s: %w", address.path, err))
			continue
		}
		return b, nil
	}
	if len(failed) == 0 {
		return nil, errors.New("no D-Bus address: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	return nil, fmt.Errorf("connect to systemd: %w", errors.Join(failed...))
}

// address is a socket on which systemd can be reached.
type address struct {
	path    string // D-Bus address
	private bool   // systemd itself listens there, not a bus daemon
}

func systemdAddresses(user bool) []address {
	if !user {
		return []address{
			{"unix:path=/run/systemd/private", true},
			{"unix:path=/run/dbus/system_bus_socket", false},
		}
	}
	var list []address
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, address{"unix:path=" + dbus.EscapeBusAddressValue(filepath.Join(dir, "systemd/private")), true})
	}
	if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" {
		list = append(list, address{bus, false})
	} else if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, address{"unix:path=" + dbus.EscapeBusAddressValue(filepath.Join(dir, "bus")), false})
	}
	return list
}

func dial(ctx context.Context, a address) (*dbus.Conn, error) {
	conn, err := dbus.Dial(a.path, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	// The peer compares with the credentials of the socket, which it sees in its
	// own user namespace.
	uid := strconv.Itoa(hostUID(os.Geteuid()))
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(uid)}); err == nil && !a.private {
		err = conn.Hello()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// hostUID is the number of a user of this user namespace outside of it.
func hostUID(uid int) int {
	text, err := readFile("/proc/self/uid_map")
	if err != nil {
		return uid
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && uid >= inside && uid-inside < count {
			return outside + uid - inside
		}
	}
	return uid
}

// subscribe asks for signals about jobs and reads the version.
func (b *systemd) subscribe(ctx context.Context, private bool) error {
	if !private {
		// A bus daemon passes on only what is asked for.
		match := []dbus.MatchOption{
			dbus.WithMatchInterface(systemdManager), dbus.WithMatchMember("JobRemoved"),
			dbus.WithMatchObjectPath(systemdPath),
		}
		if err := b.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return err
		}
		if err := b.call(ctx, "Subscribe"); err != nil {
			return err
		}
	}
	v, err := b.manager.GetProperty(systemdManager + ".Version")
	if err != nil {
		return err
	}
	text, _ := v.Value().(string)
	b.version = systemdVersion(text)
	return nil
}

// systemdVersion reads the number out of texts such as "252.39-1~deb12u1" and
// "v245.4-1.fc32"; 0 when there is none.
func systemdVersion(text string) int {
	digits := strings.TrimLeft(text, `v"`)
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	n, _ := strconv.Atoi(digits)
	return n
}

func (b *systemd) call(ctx context.Context, method string, args ...any) error {
	return b.manager.CallWithContext(ctx, systemdManager+"."+method, 0, args...).Err
}

// job calls a method that returns a job and waits until the job is done.
func (b *systemd) job(ctx context.Context, method string, args ...any) error {
	signals := make(chan *dbus.Signal, 64)
	b.conn.Signal(signals)
	defer b.conn.RemoveSignal(signals)
	var path dbus.ObjectPath
	if err := b.manager.CallWithContext(ctx, systemdManager+"."+method, 0, args...).Store(&path); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", method, ctx.Err())
		case s, ok := <-signals:
			if !ok {
				return fmt.Errorf("%s: connection to systemd lost", method)
			}
			if result, ok := removedJob(s, path); ok {
				if result != "done" {
					return fmt.Errorf("%s: job ended as %q", method, result)
				}
				return nil
			}
		}
	}
}

// removedJob reports the result of the job at path when s is about it.
// JobRemoved has the arguments id, job, unit, result.
func removedJob(s *dbus.Signal, path dbus.ObjectPath) (result string, ok bool) {
	if s.Name != systemdManager+".JobRemoved" || len(s.Body) < 4 {
		return "", false
	}
	job, ok1 := s.Body[1].(dbus.ObjectPath)
	result, ok2 := s.Body[3].(string)
	return result, ok1 && ok2 && job == path
}

// startUnit makes the scope. A failed unit of the same name, left over from an
// earlier container, is cleared away once.
func (b *systemd) startUnit(ctx context.Context, u *Unit, pid int) error {
	list := append([]property{
		{name: "Description", value: "container " + u.Name},
		{name: "Slice", value: u.Slice},
		{name: "Delegate", value: true},
		{name: "PIDs", value: []uint32{uint32(pid)}},
		{name: "MemoryAccounting", value: true},
		{name: "CPUAccounting", value: true},
		{name: "TasksAccounting", value: true},
		{name: "IOAccounting", value: true},
		// Not to be ended before other units at shutdown, nor bound to slices.
		{name: "DefaultDependencies", value: false},
	}, u.properties...)
	aux := []struct {
		Name       string
		Properties []wireProperty
	}{}
	start := func() error {
		return b.job(ctx, "StartTransientUnit", u.Name, "replace", wire(list, b.version), aux)
	}
	err := start()
	if isError(err, "UnitExists") && b.call(ctx, "ResetFailedUnit", u.Name) == nil {
		err = start()
	}
	return err
}

// wireProperty is a property on the bus, (sv).
type wireProperty struct {
	Name  string
	Value dbus.Variant
}

// wire prepares properties for a systemd of the given version. Of two values for
// one property the last counts.
func wire(list []property, version int) []wireProperty {
	var out []wireProperty
	for _, p := range list {
		if version < p.since {
			continue
		}
		w := wireProperty{p.name, dbus.MakeVariant(p.value)}
		if i := slices.IndexFunc(out, func(o wireProperty) bool { return o.Name == p.name }); i >= 0 {
			out[i] = w
			continue
		}
		out = append(out, w)
	}
	return out
}

// parseProperty reads a property's value from an annotation. Times are given in
// seconds under a name that ends with Sec and sent in microseconds, as runc does.
func parseProperty(name, text string) (property, error) {
	v, err := dbus.ParseVariant(text, dbus.Signature{})
	if err != nil {
		return property{}, err
	}
	p := property{name: name, value: v.Value()}
	short, ok := strings.CutSuffix(name, "Sec")
	if !ok || strings.HasSuffix(short, "U") {
		return p, nil
	}
	seconds, err := strconv.ParseFloat(fmt.Sprint(v.Value()), 64)
	if err != nil || seconds < 0 {
		return property{}, fmt.Errorf("%s is not a number of seconds", text)
	}
	return property{name: short + "USec", value: uint64(seconds * 1e6)}, nil
}

// isError reports whether err is the bus error of systemd with that name.
func isError(err error, name string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == systemdName+"."+name
}
