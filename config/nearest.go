package config

import (
	"slices"
	"strings"
)

// Limits of what is offered for a word that nobody knows.
const (
	maxOffered = 12 // known words in a hint
	maxWord    = 64 // bytes of a word that is compared at all
)

// didYouMean offers the nearest of the known words, or all of them where none is near and they are few.
func didYouMean(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 0 || len(known) > maxOffered {
		return ""
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	return "known: " + strings.Join(sorted, ", ")
}

// nearest is the known word with the smallest edit distance, of at most a third of its length and one; "" is none.
func nearest(word string, known []string) string {
	best, least := "", maxWord
	if len(word) > maxWord {
		return ""
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted) // of two equally near the first in order
	for _, k := range sorted {
		if d := distance(strings.ToLower(word), k); d < least && d <= len(k)/3+1 {
			best, least = k, d
		}
	}
	return best
}

// distance counts the bytes to add, drop, change, or swap with their neighbour.
func distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			now[j] = min(change, last[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
