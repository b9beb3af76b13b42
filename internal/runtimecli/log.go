package runtimecli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// logger writes messages in the two formats of runc's log, which are those of
// the logrus library: containerd, conmon and dockerd read the JSON one.
//
// The file is opened with the first message, so that a command with nothing to
// say makes no file. A message that the file does not take goes to standard error.
type logger struct {
	path        string // "" for standard error
	format      string // "text" or "json"
	formatGiven bool
	debug       bool
	program     string
	likeRunc    bool
	stderr      io.Writer
	now         func() time.Time

	file   *os.File
	broken bool // the file cannot be opened; said once
}

// check finds a log that can never be there, before a container is made whose
// messages would be missed. It makes no file.
func (l *logger) check() error {
	if l.path == "" {
		return nil
	}
	_, err := os.Stat(filepath.Dir(l.path))
	if err != nil {
		return fmt.Errorf("--log %s: %w", l.path, err)
	}
	return nil
}

// error puts the message both into the log and before the person who called.
func (l *logger) error(err error) {
	logged := l.toFile("error", err.Error())
	switch {
	case l.path == "" && (l.likeRunc || l.formatGiven && l.format == "json"):
		l.toStderr(l.line("error", err.Error()))
	case l.path != "" && logged && l.likeRunc:
		l.toStderr(err.Error() + "\n")
	default:
		l.toStderr(l.program + ": " + err.Error() + "\n")
	}
}

// warn is for what a person should look at although the work goes on.
func (l *logger) warn(msg string) { l.note("warning", msg) }

func (l *logger) debugf(format string, args ...any) {
	if l.debug {
		l.note("debug", fmt.Sprintf(format, args...))
	}
}

// note writes to the log alone, which may be standard error.
func (l *logger) note(level, msg string) {
	switch {
	case l.toFile(level, msg):
	case l.path == "" && (l.likeRunc || l.formatGiven):
		l.toStderr(l.line(level, msg))
	default:
		l.toStderr(l.program + ": " + level + ": " + msg + "\n")
	}
}

// toFile says whether the log has the message now.
func (l *logger) toFile(level, msg string) bool {
	if l.path == "" || l.broken {
		return false
	}
	if l.file == nil {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return l.breaks(err)
		}
		l.file = f
	}
	if _, err := io.WriteString(l.file, l.line(level, msg)); err != nil {
		return l.breaks(err)
	}
	return true
}

// breaks gives the file up. A full disk must not keep a container from being
// stopped, so this is not an error of the command.
func (l *logger) breaks(err error) bool {
	l.broken = true
	l.toStderr(fmt.Sprintf("%s: warning: log: %v\n", l.program, err))
	return false
}

func (l *logger) toStderr(s string) {
	w := l.stderr
	if w == nil {
		w = os.Stderr
	}
	_, _ = io.WriteString(w, s) // there is nowhere left to complain
}

func (l *logger) line(level, msg string) string {
	at := l.now().Format(time.RFC3339)
	if l.format == "json" {
		b, err := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, msg, at})
		if err == nil { // strings always encode
			return string(b) + "\n"
		}
	}
	return fmt.Sprintf("time=%q level=%s msg=%q\n", at, level, msg)
}
