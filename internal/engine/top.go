package engine

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// Top lists the container's processes by the host's numbers. There may be no ps on a device, so the
// columns are ours: those of ps -ef, or of "aux" and of -o with the columns that are known.
func (c *Container) Top(args []string) (*container.TopResponse, error) {
	v := c.View()
	if !v.Running() {
		return nil, Errorf(Conflict, "container %s is not running", c.id)
	}
	r, err := c.e.runtime.Load(c.id)
	if err != nil {
		return nil, err
	}
	pids, err := r.Pids()
	if err != nil {
		return nil, err
	}
	columns, err := topColumns(args)
	if err != nil {
		return nil, err
	}
	out := &container.TopResponse{Processes: [][]string{}}
	for _, col := range columns {
		out.Titles = append(out.Titles, strings.ToUpper(col))
	}
	slices.Sort(pids)
	for _, pid := range pids {
		p, err := readProcess(pid)
		if err != nil {
			continue // it has just ended
		}
		row := make([]string, 0, len(columns))
		for _, col := range columns {
			row = append(row, p[col])
		}
		out.Processes = append(out.Processes, row)
	}
	c.publish("top")
	return out, nil
}

// topColumns reads what of ps's arguments is known.
func topColumns(args []string) ([]string, error) {
	full := []string{"uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"}
	if len(args) == 0 || args[0] == "-ef" {
		return full, nil
	}
	if strings.Contains(args[0], "aux") {
		return []string{"user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "start", "time", "command"}, nil
	}
	for i, a := range args {
		list, ok := strings.CutPrefix(a, "-o")
		if !ok {
			list, ok = strings.CutPrefix(a, "o")
		}
		if !ok {
			continue
		}
		if list == "" && i+1 < len(args) {
			list = args[i+1]
		}
		var columns []string
		for _, name := range strings.Split(list, ",") {
			columns = append(columns, strings.TrimSuffix(strings.ToLower(name), "="))
		}
		return columns, nil
	}
	return nil, Errorf(Invalid, "ps %s: want -ef, aux or -o COLUMNS", strings.Join(args, " "))
}

// readProcess is what can be shown of a process, by the names of columns: proc_pid_stat(5).
func readProcess(pid int) (map[string]string, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		return nil, err
	}
	open, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	f := strings.Fields(string(text[end+1:]))
	if open < 0 || len(f) < 22 {
		return nil, fmt.Errorf("%sstat: %q", dir, text)
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(f[i-3], 10, 64); return n }
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, err
	}
	command := string(text[open+1 : end])
	if line, err := os.ReadFile(dir + "cmdline"); err == nil && len(line) > 0 {
		command = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
	} else {
		command = "[" + command + "]"
	}
	owner := strconv.Itoa(int(st.Uid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	seconds := (number(14) + number(15)) / 100
	var si unix.Sysinfo_t
	_ = unix.Sysinfo(&si) // it fails for a bad address alone
	began := time.Now().Add(time.Duration(number(22)*1e7) - time.Duration(si.Uptime)*time.Second)
	age := max(time.Since(began).Seconds(), 1)
	cpu := float64(number(14)+number(15)) / age
	rss := number(24) * int64(os.Getpagesize())
	clock := fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	return map[string]string{
		"uid": owner, "user": owner, "pid": strconv.Itoa(pid), "ppid": f[1], "c": strconv.Itoa(int(cpu)), "stime": began.Format("15:04"),
		"tty": terminalName(number(7)), "tt": terminalName(number(7)), "time": clock, "cmd": command, "args": command, "command": command,
		"comm": string(text[open+1 : end]), "stat": f[0], "s": f[0], "start": began.Format("15:04"),
		"%cpu": fmt.Sprintf("%.1f", cpu), "pcpu": fmt.Sprintf("%.1f", cpu),
		"%mem": fmt.Sprintf("%.1f", 100*float64(rss)/float64(totalMemory())),
		"vsz":  strconv.FormatInt(number(23)>>10, 10), "rss": strconv.FormatInt(rss>>10, 10), "ni": f[16], "nlwp": f[17],
	}, nil
}

func terminalName(n int64) string {
	if major, minor := n>>8&0xfff, n&0xff|n>>12&0xfff00; major >= 136 && major <= 143 {
		return "pts/" + strconv.FormatInt((major-136)<<8+minor, 10)
	}
	return "?"
}
