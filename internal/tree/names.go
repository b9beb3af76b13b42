package tree

import "strings"

// names keeps strings side by side in large pieces of memory, where each of its own would take
// half as much again.
type names struct{ piece strings.Builder }

const namesPiece = 16 << 10

func (n *names) keep(s string) string {
	if n.piece.Cap()-n.piece.Len() < len(s) {
		n.piece = strings.Builder{}
		n.piece.Grow(max(namesPiece, len(s)))
	}
	at := n.piece.Len()
	n.piece.WriteString(s)
	return n.piece.String()[at:]
}
