package command

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A column is a column of a table. Its cells are printable ASCII, so that each
// byte takes one place of a line.
type column struct {
	title string
	right bool // numbers stand at the right
	cells []string

	// Of the columns that do not fit, those with the highest rank go first,
	// together. Those of rank 0 stay.
	rank int

	// least is how wide the column is at least, so that a table that is drawn
	// again stands still.
	least int

	// shortest is down to what its cells may be cut; 0: they are not.
	shortest int
}

// tableOf returns what makes columns whose cells are of a list of things, a row
// for each.
func tableOf[T any](things []T) func(title string, rank, least int, cell func(*T) string) column {
	return func(title string, rank, least int, cell func(*T) string) column {
		c := column{title: title, rank: rank, least: least}
		for i := range things {
			c.cells = append(c.cells, cell(&things[i]))
		}
		return c
	}
}

// right returns c with its cells at the right.
func right(c column) column {
	c.right = true
	return c
}

// natural returns how wide c is with nothing cut.
func (c *column) natural() int {
	width := max(c.least, len(c.title))
	for _, cell := range c.cells {
		width = max(width, len(cell))
	}
	return width
}

// smallest returns how wide c is with all cut that may be.
func (c *column) smallest() int {
	if c.shortest == 0 {
		return c.natural()
	}
	return min(c.natural(), max(c.shortest, len(c.title)))
}

// between parts columns.
const between = 2

// layOut returns the lines of a table, a title and then a line for each cell,
// that fit into width as far as that can be; 0: any width does. What does not
// fit is cut where it may be, and whole columns are left out.
func layOut(columns []column, width int) []string {
	kept := make([]*column, len(columns))
	for i := range columns {
		kept[i] = &columns[i]
	}
	spare := func() int {
		left := width + between
		for _, c := range kept {
			left -= c.smallest() + between
		}
		return left
	}
	for width > 0 && spare() < 0 {
		last := 0
		for _, c := range kept {
			last = max(last, c.rank)
		}
		if last == 0 {
			break
		}
		kept = slices.DeleteFunc(kept, func(c *column) bool { return c.rank == last })
	}
	left := spare()
	widths := make([]int, len(kept))
	for i, c := range kept {
		widths[i] = c.natural()
		if width > 0 {
			more := min(max(left, 0), widths[i]-c.smallest())
			widths[i] = c.smallest() + more
			left -= more
		}
	}
	rows := 0
	if len(kept) > 0 {
		rows = len(kept[0].cells)
	}
	lines := make([]string, 0, rows+1)
	for row := -1; row < rows; row++ {
		var line strings.Builder
		for i, c := range kept {
			cell := c.title
			if row >= 0 {
				cell = c.cells[row]
			}
			if i > 0 {
				line.WriteString(strings.Repeat(" ", between))
			}
			if cell = cut(cell, widths[i]); c.right {
				fmt.Fprintf(&line, "%*s", widths[i], cell)
			} else {
				fmt.Fprintf(&line, "%-*s", widths[i], cell)
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// cut returns text, which is printable ASCII, in no more than width places; 0:
// as many as it takes.
func cut(text string, width int) string {
	if width <= 0 || len(text) <= width {
		return text
	}
	if width <= 3 {
		return text[:width]
	}
	return text[:width-2] + ".."
}

// printable returns text with all escaped that is no printable ASCII.
func printable(text string) string {
	quoted := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// counted returns n with its digits in groups of three: 1,234.
func counted[N int | uint64](n N) string {
	digits := strconv.FormatUint(uint64(max(n, 0)), 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// datagrams returns n with the word for it.
func datagrams(n uint64) string { return numbered(n, "datagram", "datagrams") }

// short returns n in five places: 999, 1.23k, 12.3k, 123k, 1.23M.
func short(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	return scaled(float64(n))
}

// shortRate returns a number per second in five places: 0, <0.1, 0.1, 10, 1.23k.
func shortRate(rate float64) string {
	switch {
	case !(rate > 0):
		return "0"
	case rate < 0.05:
		return "<0.1"
	case rate < 9.95:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	case rate < 999.5:
		return strconv.FormatFloat(rate, 'f', 0, 64)
	}
	return scaled(rate)
}

// scaled returns x, which is 999.5 or more, with three digits and an SI prefix.
func scaled(x float64) string {
	const prefixes = "kMGTPE"
	for i := range len(prefixes) {
		if x /= 1000; x < 999.5 || i == len(prefixes)-1 {
			digits := 0
			switch {
			case x < 9.995:
				digits = 2
			case x < 99.95:
				digits = 1
			}
			return strconv.FormatFloat(x, 'f', digits, 64) + prefixes[i:i+1]
		}
	}
	return "" // not reached
}

// bytesOf writes a short number as one of bytes: 1.23 MB.
func bytesOf(number string) string {
	if last := len(number) - 1; strings.ContainsAny(number[last:], "kMGTPE") {
		return number[:last] + " " + number[last:] + "B"
	}
	return number + " B"
}

// memory returns bytes as the configuration writes them: 8 MiB.
func memory(bytes int) string {
	x := float64(max(bytes, 0))
	for i, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if i == 3 || x < 1024 {
			return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) + " " + unit
		}
		x /= 1024
	}
	return "" // not reached
}

// shortTime returns a duration, which is not known if it is 0, in few places:
// 0.3ms, 12ms, 1.2s.
func shortTime(d time.Duration) string {
	milliseconds := float64(d) / float64(time.Millisecond)
	switch {
	case d <= 0:
		return "-"
	case milliseconds < 0.05:
		return "<0.1ms"
	case milliseconds < 9.95:
		return strconv.FormatFloat(milliseconds, 'f', 1, 64) + "ms"
	case milliseconds < 999.5:
		return strconv.FormatFloat(milliseconds, 'f', 0, 64) + "ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
}

// lasting returns a duration with the two largest of its units: 2d 3h.
func lasting(d time.Duration) string {
	seconds := int64(max(d, 0) / time.Second)
	units := []struct {
		letter string
		of     int64
	}{{"d", 24 * 60 * 60}, {"h", 60 * 60}, {"m", 60}, {"s", 1}}
	for i, unit := range units[:3] {
		if seconds >= unit.of {
			next := units[i+1]
			return fmt.Sprintf("%d%s %d%s", seconds/unit.of, unit.letter, seconds%unit.of/next.of, next.letter)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}

// ago returns how long before now at was, with one unit: 3s ago.
func ago(at, now time.Time) string {
	long, _, _ := strings.Cut(lasting(now.Sub(at)), " ")
	return long + " ago"
}

// moment returns t as a person reads it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
