// Package order sorts slices of any type by one algorithm. slices.SortFunc is compiled anew for each type, 14 KB of the
// device's program every time; this costs half a KB, and is slower where comparing is cheap.
package order

import "sort"

// By sorts by a comparison as slices.SortFunc takes it.
func By[T any](s []T, cmp func(a, b T) int) { sort.Sort(&by[T]{s, cmp}) }

// Stably is By, and leaves equals as they stand.
func Stably[T any](s []T, cmp func(a, b T) int) { sort.Stable(&by[T]{s, cmp}) }

type by[T any] struct {
	s   []T
	cmp func(a, b T) int
}

func (b *by[T]) Len() int           { return len(b.s) }
func (b *by[T]) Less(i, j int) bool { return b.cmp(b.s[i], b.s[j]) < 0 }
func (b *by[T]) Swap(i, j int)      { b.s[i], b.s[j] = b.s[j], b.s[i] }
