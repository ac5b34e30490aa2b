package config

import "strings"

// closest returns the one of words that text was most likely meant to be, or
// "" if none is near: a third of the letters may differ, or else one may be
// the beginning of the other.
func closest(text string, words []string) string {
	text = strings.ToLower(text)
	best, least := "", len(text)
	for _, word := range words {
		if d := distance(text, strings.ToLower(word)); d <= max(1, len(word)/3) && d < least {
			best, least = word, d
		}
	}
	if best != "" || len(text) < 3 {
		return best
	}
	for _, word := range words {
		if lower := strings.ToLower(word); strings.HasPrefix(lower, text) || strings.HasPrefix(text, lower) {
			return word
		}
	}
	return ""
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to make a into b (optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
