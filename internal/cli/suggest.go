package cli

// nearest returns the candidate that word is most likely a mistyping of, or "".
// A candidate counts when at most a third of its letters (but at least one) differ.
func nearest(word string, candidates []string) string {
	best, bestCost := "", len(word)
	for _, c := range candidates {
		if cost := distance(word, c); cost < bestCost && cost <= max(1, len(c)/3) {
			best, bestCost = c, cost
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
