package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	// LeastSize is the shortest datagram in bytes: each bears a stamp.
	LeastSize = stampBytes

	// MostSize is the longest, in bytes, that an IPv4 packet can carry.
	MostSize = 65507

	mostParts  = 64        // of a mix
	mostWeight = 1_000_000 // of a part
)

// A Mix says how long datagrams are. The zero value is 200 bytes.
type Mix struct{ parts []part }

// A part is a range of sizes, each as likely as the others, and how often it is
// taken beside other parts.
type part struct{ least, most, weight int }

const defaultSize = 200

// ParseMix reads a mix: a size such as 200, a range such as 40-400, or several
// of them with weights, such as 64:50,200:30,1400:20.
func ParseMix(text string) (Mix, error) {
	var m Mix
	for item := range strings.SplitSeq(text, ",") {
		sizes, weight, weighted := strings.Cut(item, ":")
		p := part{weight: 1}
		least, most, isRange := strings.Cut(sizes, "-")
		if !isRange {
			most = least
		}
		var err error
		if p.least, err = size(least); err != nil {
			return Mix{}, err
		}
		if p.most, err = size(most); err != nil {
			return Mix{}, err
		}
		if p.least > p.most {
			return Mix{}, fmt.Errorf("sizes %q go down; want %d-%d", sizes, p.most, p.least)
		}
		if weighted {
			if p.weight, err = number(weight); err != nil || p.weight < 1 || p.weight > mostWeight {
				return Mix{}, fmt.Errorf("weight %q: want 1 to %d", weight, mostWeight)
			}
		}
		if m.parts = append(m.parts, p); len(m.parts) > mostParts {
			return Mix{}, fmt.Errorf("more than %d sizes", mostParts)
		}
	}
	return m, nil
}

func size(text string) (int, error) {
	n, err := number(text)
	if err != nil || n < LeastSize || n > MostSize {
		return 0, fmt.Errorf("size %q: want %d to %d bytes", text, LeastSize, MostSize)
	}
	return n, nil
}

// number reads digits only: no sign, no space.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

// String returns the mix as ParseMix reads it.
func (m Mix) String() string {
	var items []string
	for _, p := range m.all() {
		item := strconv.Itoa(p.least)
		if p.most > p.least {
			item += "-" + strconv.Itoa(p.most)
		}
		if p.weight != 1 {
			item += ":" + strconv.Itoa(p.weight)
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}

func (m Mix) all() []part {
	if len(m.parts) == 0 {
		return []part{{defaultSize, defaultSize, 1}}
	}
	return m.parts
}

// longest returns the largest size of the mix.
func (m Mix) longest() (longest int) {
	for _, p := range m.all() {
		longest = max(longest, p.most)
	}
	return longest
}

// sizes returns count sizes in an order that is the same each time, so that two
// runs can be compared.
func (m Mix) sizes(count int) []int {
	parts, total := m.all(), 0
	for _, p := range parts {
		total += p.weight
	}
	random := rand.New(rand.NewPCG(7, uint64(total)))
	sizes := make([]int, count)
	for i := range sizes {
		at := random.IntN(total)
		for _, p := range parts {
			if at -= p.weight; at < 0 {
				sizes[i] = p.least + random.IntN(p.most-p.least+1)
				break
			}
		}
	}
	return sizes
}
