package keeper

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Engines are killed at random moments while children end: no exit is lost, and
// what is held stays. Now and then, keeper and engine are replaced meanwhile.
func TestNoExitIsLost(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	for _, upgrades := range []string{"", "20"} {
		t.Run("upgrades "+upgrades, func(t *testing.T) {
			r := startKeeper(t, "spawn", "TARE_TEST_UPGRADE="+upgrades)
			for n := range kills {
				r.awaitEngine(n + 1)
				time.Sleep(time.Duration(rand.IntN(int([]time.Duration{15, 60}[n%2] * time.Millisecond))))
				killNewest(t, r)
			}
			if err := os.WriteFile(filepath.Join(filepath.Dir(r.path), "stop"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			lines := r.await("all exits", func(lines [][]string) bool { return len(missing(lines)) == 0 && quiet(lines) })
			told, children, engines := count(lines)
			t.Logf("%d engines, %d children ended, %d exits told, %d again", engines, children, told, told-len(sequence(t, lines)))
			if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if status := r.ended(); status != 128+int(unix.SIGTERM) {
				t.Errorf("the keeper ended with %d, want the engine's", status)
			}
		})
	}
}

// killNewest kills the engine that the journal names last, if it still runs.
func killNewest(t *testing.T, r *running) {
	t.Helper()
	pid := 0
	for _, l := range r.lines() {
		if l[0] == "engine" {
			pid, _ = strconv.Atoi(l[1])
		}
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// Only if it is the keeper's child: the number may be another's by now.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if _, rest, _ := cutLast(string(stat), ")"); err != nil || strings.Fields(rest)[1] != strconv.Itoa(r.cmd.Process.Pid) {
		return
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// missing are the children and orphans that ended and whose exits nobody told.
func missing(lines [][]string) (list []string) {
	told := map[string]bool{}
	for _, l := range lines {
		if l[0] == "exit" {
			told[l[2]+" "+l[4]+" "+l[3]] = true // number, status, start
		}
	}
	for _, l := range lines {
		if l[0] != "child" && l[0] != "orphan" {
			continue
		}
		key := l[1] + " " + l[2] + " " + strconv.FormatUint(parseStart([]byte(strings.Join(l[3:], " "))), 10)
		if !told[key] {
			list = append(list, key)
		}
	}
	return list
}

// quiet tells whether no process ends any more that has not been told of: each
// child that leaves an orphan is followed by it.
func quiet(lines [][]string) bool {
	children, orphans := 0, 0
	for _, l := range lines {
		switch {
		case l[0] == "child" && len(l[2]) == 2 && l[2][0] == '2':
			children++
		case l[0] == "orphan":
			orphans++
		}
	}
	return children == orphans
}

func count(lines [][]string) (told, children, engines int) {
	for _, l := range lines {
		switch l[0] {
		case "exit":
			told++
		case "child", "orphan":
			children++
		case "engine":
			engines++
		}
	}
	return told, children, engines
}

// sequence checks that a Seq stands for one exit, which is not told after its
// Ack, and that none is left out.
func sequence(t *testing.T, lines [][]string) map[string]string {
	t.Helper()
	seen, acked := map[string]string{}, map[string]bool{}
	for _, l := range lines {
		acked[l[1]] = acked[l[1]] || l[0] == "ack"
		if l[0] != "exit" {
			continue
		}
		if acked[l[1]] {
			t.Errorf("exit %s is told again after its Ack", l[1])
		}
		rest := strings.Join(l[2:], " ")
		if was, ok := seen[l[1]]; ok && was != rest {
			t.Errorf("exit %s is of %q, and of %q", l[1], was, rest)
		}
		seen[l[1]] = rest
	}
	for n := range len(seen) {
		if seen[strconv.Itoa(n+1)] == "" {
			t.Errorf("exit %d of %d was never told", n+1, len(seen))
		}
	}
	return seen
}

func TestSignalsArePassedOn(t *testing.T) {
	r := startKeeper(t, "signals")
	r.awaitEngine(1)
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGTERM} {
		if err := r.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		r.await(sig.String(), func(lines [][]string) bool {
			last := lines[len(lines)-1]
			return last[0] == "signal" && last[1] == strconv.Itoa(int(sig)) || last[0] == "keeper"
		})
	}
	if status := r.ended(); status != 5 {
		t.Errorf("the keeper ended with %d, want the engine's 5", status)
	}
}

func TestEndOfTheContextIsASIGTERM(t *testing.T) {
	r := startKeeper(t, "signals", "TARE_TEST_CANCEL=300ms")
	if status := r.ended(); status != 5 {
		t.Errorf("the keeper ended with %d, want the engine's 5", status)
	}
}

// When the keeper is killed its engine learns it, and nothing else happens.
func TestEngineLearnsOfItsKeepersEnd(t *testing.T) {
	r := startKeeper(t, "orphan")
	pid, _ := r.awaitEngine(1)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	lines := r.await("the engine's last line", func(lines [][]string) bool { return lines[len(lines)-1][0] == "closed" })
	if last := lines[len(lines)-1]; last[1] != "true" {
		t.Errorf("engine %d: a request after that is no ErrGone", pid)
	}
}

// copyOfSelf is this test binary under another name.
func copyOfSelf(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUpgradeReplacesBoth(t *testing.T) {
	r := startProgram(t, copyOfSelf(t, "old"), "upgrade", "TARE_TEST_PROGRAM="+copyOfSelf(t, "new"))
	if _, line := r.awaitEngine(1); line[2] != "old" || line[3] != "old" {
		t.Fatalf("the first engine is %q", line)
	}
	engine, line := r.awaitEngine(2)
	if line[2] != "new" {
		t.Fatalf("the second engine is %q", line)
	}
	keeper := "/proc/" + strconv.Itoa(r.cmd.Process.Pid)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if exe, err := os.Readlink(keeper + "/exe"); err == nil && filepath.Base(exe) == "new" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the keeper is still the old program")
		}
	}
	if err := unix.Kill(engine, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, line = r.awaitEngine(3)
	if line[2] != "new" || line[3] != "new" || line[5] != "new" {
		t.Errorf("the third engine is %q, want all new", line)
	}
	ours, err := os.ReadFile(oomFile)
	if err != nil {
		t.Fatal(err)
	}
	if line[4] != strings.TrimSpace(string(ours)) {
		t.Errorf("the third engine's oom_score_adj is %s, want ours, %s", line[4], ours)
	}
	if may, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil || may == 0 || os.Geteuid() != 0 {
		return
	}
	r.await("the keeper's own oom_score_adj", func([][]string) bool { // it has the engine's while it forks
		b, err := os.ReadFile(keeper + "/oom_score_adj")
		return err == nil && strings.TrimSpace(string(b)) == "-1000"
	})
}

// Nobody need read what the keeper says.
func TestLogIsClosed(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	r := startLogging(t, write, "/proc/self/exe", "signals")
	_ = read.Close()
	for n := range 3 {
		pid, _ := r.awaitEngine(n + 1)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitEngine(4)
}

// A new program that does not run, or never connects, is given up.
func TestFailedUpgradeGoesBack(t *testing.T) {
	for name, program := range map[string]string{"ends": "/bin/true", "hangs": copyOfSelf(t, mute), "no program": "/etc/passwd"} {
		t.Run(name, func(t *testing.T) {
			patience := "20s"
			if name == "hangs" {
				patience = "300ms"
			}
			r := startProgram(t, copyOfSelf(t, "old"), "upgrade", "TARE_TEST_PROGRAM="+program, "TARE_TEST_PATIENCE="+patience)
			if name == "no program" { // the request itself fails
				for end := time.Now().Add(10 * time.Second); !strings.Contains(fmt.Sprint(r.lines()), "permission denied"); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("the journal has %q", r.lines())
					}
				}
				return
			}
			if _, line := r.awaitEngine(2); line[2] != "old" || line[3] != "old" || line[5] != "old" {
				t.Errorf("the second engine is %q, want the old program", line)
			}
			if said := r.said(); !strings.Contains(said, "new program") || strings.Contains(said, "has not connected for") != (name == "hangs") {
				t.Errorf("the keeper said %q", said)
			}
		})
	}
}

func TestPausesDouble(t *testing.T) {
	k, now := newKeeper(Options{Log: &strings.Builder{}}), time.Now()
	failed := unix.WaitStatus(1 << 8)
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		k.engine.since = now.Add(-time.Second)
		if done, _ := k.engineEnded(failed, now); done || k.due.Sub(now) != want*time.Millisecond {
			t.Errorf("pause of %v, want %v", k.due.Sub(now), want*time.Millisecond)
		}
	}
	k.engine.since = now.Add(-2 * time.Minute)
	if k.engineEnded(failed, now); k.due.Sub(now) != firstPause {
		t.Errorf("after a good life: pause of %v, want %v", k.due.Sub(now), firstPause)
	}
	if done, status := k.engineEnded(0, now); !done || status != 0 {
		t.Errorf("an engine that ends with 0: %v, %d, want the end", done, status)
	}
}
