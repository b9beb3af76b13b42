package sysprog

import (
	"fmt"
	"strconv"
	"strings"
)

// Text prints the list, a call a line, as strace(1) would show it.
// The same list gives the same text on every CPU with the same word size.
func (l *List) Text() string {
	at := map[int][]string{}
	for _, b := range l.labels {
		if b.index >= 0 {
			at[b.index] = append(at[b.index], b.name)
		}
	}
	var sb strings.Builder
	for i, op := range l.Ops {
		for _, name := range at[i] {
			if name == Again {
				continue // says itself where it is
			}
			sb.WriteString(name + ":\n")
		}
		if op.Mark != "" {
			sb.WriteString("  # " + op.Mark + "\n")
		}
		sb.WriteString("  " + op.text() + op.flow() + "\n")
	}
	for _, name := range at[len(l.Ops)] {
		sb.WriteString(name + ":\n")
	}
	return sb.String()
}

func (op *Op) text() string {
	var sb strings.Builder
	if op.Out != nil {
		sb.WriteString(op.Out.name + " = ")
	}
	if op.Call == Goto {
		return "goto " + op.Then.name
	}
	sb.WriteString(op.Call + "(")
	for i := range op.NArg {
		if i > 0 {
			sb.WriteString(", ")
		}
		if s, ok := structText(op.Call, i, op.Args[i].buf); ok {
			sb.WriteString(s)
		} else {
			sb.WriteString(op.Args[i].text(formatOf(op.Call, i)))
		}
	}
	sb.WriteString(")")
	return sb.String()
}

func (op *Op) flow() string {
	var sb strings.Builder
	for _, a := range op.Alt {
		if a.Err == 0 {
			continue
		}
		name := "any error"
		if a.Err != AnyErrno {
			name = errnoName(a.Err)
		}
		sb.WriteString("  ?" + name)
		if a.To != nil {
			sb.WriteString("->" + a.To.name)
		}
	}
	if op.Zero != nil {
		sb.WriteString("  0->" + op.Zero.name)
	}
	if op.Then != nil && op.Call != Goto {
		sb.WriteString("  ->" + op.Then.name)
	}
	return sb.String()
}

func (a Arg) text(f format) string {
	switch a.kind {
	case argStr:
		return strconv.Quote(a.s)
	case argVal:
		return a.slot.name
	case argHeader:
		return "&header"
	case argPtr:
		return a.buf.text(int(a.n))
	}
	return f.show(a.n)
}

// text shows a vector of strings as such, other memory as its bytes.
func (b *Buf) text(off int) string {
	if off > 0 {
		return fmt.Sprintf("&[%d bytes]+%d", len(b.Data), off)
	}
	if len(b.ptrs) > 0 && len(b.ptrs) == len(b.Data)/WordSize-1 {
		var s []string
		for _, p := range b.ptrs {
			s = append(s, p.arg.text(format{}))
		}
		return "[" + strings.Join(s, ", ") + "]"
	}
	if len(b.Data) > 64 || len(b.ptrs) > 0 || b.zero() {
		return fmt.Sprintf("&[%d bytes]", len(b.Data))
	}
	return fmt.Sprintf("&%x", b.Data)
}

func (b *Buf) zero() bool {
	for _, c := range b.Data {
		if c != 0 {
			return false
		}
	}
	return true
}
