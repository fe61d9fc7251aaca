package demo

import "strings"

// bars are the eighths of a character cell.
var bars = [...]rune{' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'}

// graph draws counts as columns, height lines high, the largest filling them. A
// column of 0 is a dot on the ground, so that a stall can be seen; one below 0,
// which is not known, is blank. Before column mark, if it is not negative, stands
// a line.
func graph(counts []int, height, mark int) []string {
	top := 1
	for _, n := range counts {
		top = max(top, n)
	}
	lines := make([]string, height)
	for row := range height {
		var b strings.Builder
		ground := (height - 1 - row) * 8 // eighths below this line
		for i, n := range counts {
			if i == mark {
				b.WriteRune('┊')
			}
			eighths := 0
			if n > 0 {
				eighths = max(1, n*height*8/top)
			}
			switch {
			case n == 0 && ground == 0:
				b.WriteRune('·')
			default:
				b.WriteRune(bars[min(max(eighths-ground, 0), 8)])
			}
		}
		lines[row] = b.String()
	}
	return lines
}

// perSecond is the mean of the last n known counts as a rate.
func perSecond(counts []int, n int) float64 {
	sum, seen := 0, 0
	for i := len(counts) - 1; i >= 0 && seen < n; i-- {
		if counts[i] >= 0 {
			sum += counts[i]
			seen++
		}
	}
	if seen == 0 {
		return 0
	}
	return float64(sum) / (float64(seen) * recentWidth.Seconds())
}
