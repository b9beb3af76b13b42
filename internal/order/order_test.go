package order

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSortsAsSlicesDoes(t *testing.T) {
	type item struct{ key, at int }
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		all := make([]item, n)
		for i := range all {
			all[i] = item{r.IntN(10), i}
		}
		byKey := func(a, b item) int { return cmp.Compare(a.key, b.key) }
		want, got := slices.Clone(all), slices.Clone(all)
		slices.SortStableFunc(want, byKey)
		Stably(got, byKey)
		if !slices.Equal(got, want) {
			t.Fatalf("Stably: %v, want %v", got, want)
		}
		By(all, func(a, b item) int { return cmp.Or(byKey(a, b), cmp.Compare(a.at, b.at)) })
		if !slices.Equal(all, want) {
			t.Fatalf("By: %v, want %v", all, want)
		}
	}
}
