package banlist

import (
	"bytes"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Whatever the nodes decide, and in whatever order they hear of each other: once
// each has heard of all, all have the same, and that is the latest of what was
// decided.
func TestAnyOrderOfMergesConverges(t *testing.T) {
	names := []string{"north", "south", "east", "west"}
	rapid.Check(t, func(t *rapid.T) {
		lists := make([]*List, rapid.IntRange(2, len(names)).Draw(t, "nodes"))
		for i := range lists {
			lists[i] = new(List)
		}
		now := began
		latest := map[string]Entry{} // of each prefix, of all that was ever decided
		note := func(e Entry) {
			if before, there := latest[e.From.String()]; !there || e.newer(&before) {
				latest[e.From.String()] = e
			}
		}
		node := rapid.IntRange(0, len(lists)-1)
		merge := func(t *rapid.T, to, of int) {
			if to == of {
				return
			}
			before := lists[to].Entries(now)
			m, err := lists[to].Merge(lists[of].Export(now), now)
			if err != nil || m.Ahead != 0 || m.NoRoom != 0 {
				t.Fatalf("%+v, %v", m, err)
			}
			after := lists[to].Entries(now)
			for _, c := range m.Changes { // undone, what was there before is left
				at, _ := slices.BinarySearchFunc(after, c.New, byPrefix)
				if after[at] != c.New {
					t.Fatalf("want %+v taken, got %+v", c.New, after[at])
				}
				if after[at] = c.Old; !c.Old.From.IsValid() {
					after = slices.Delete(after, at, at+1)
				}
			}
			if !slices.Equal(before, after) {
				t.Fatalf("want all changes told: before %+v, after without them %+v", before, after)
			}
			if again, err := lists[to].Merge(lists[of].Export(now), now); err != nil || len(again.Changes) != 0 {
				t.Fatalf("want nothing new the second time, got %+v, %v", again, err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"ban": func(t *rapid.T) {
				i := node.Draw(t, "node")
				skew := time.Duration(rapid.IntRange(-3, 3).Draw(t, "skew")) * time.Millisecond
				until := time.Time{}
				if rapid.Bool().Draw(t, "ends") {
					until = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour * 1000)
				}
				e, err := lists[i].Set(many(rapid.IntRange(0, 3).Draw(t, "prefix")), until, rapid.SampledFrom([]string{"", "loud"}).Draw(t, "reason"), names[i], now.Add(skew))
				if err != nil {
					t.Fatal(err)
				}
				note(e)
			},
			"lift": func(t *rapid.T) {
				i := node.Draw(t, "node")
				if e, err := lists[i].Lift(many(rapid.IntRange(0, 3).Draw(t, "prefix")), names[i], now); err == nil {
					note(e)
				}
			},
			"merge": func(t *rapid.T) { merge(t, node.Draw(t, "to"), node.Draw(t, "of")) },
			"restart": func(t *rapid.T) {
				i := node.Draw(t, "node")
				saved := lists[i].Entries(now)
				lists[i] = new(List)
				if n := lists[i].Restore(saved, now); n != len(saved) {
					t.Fatalf("want %d restored, got %d", len(saved), n)
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) { // one digest if and only if the entries are the same
				for i, l := range lists {
					for _, other := range lists[:i] {
						same := slices.Equal(l.Entries(now), other.Entries(now))
						if same != (l.Digest(now) == other.Digest(now)) || same != bytes.Equal(l.Export(now), other.Export(now)) {
							t.Fatalf("the digests are %x and %x, of %+v and %+v", l.Digest(now), other.Digest(now), l.Entries(now), other.Entries(now))
						}
					}
				}
			},
		})
		// Pairs in some order, until each has heard of each by all ways there are.
		var pairs [][2]int
		for range bits.Len(uint(len(lists))) {
			for i := range lists {
				for j := range lists {
					pairs = append(pairs, [2]int{i, j})
				}
			}
		}
		for _, pair := range rapid.Permutation(pairs).Draw(t, "order") {
			merge(t, pair[0], pair[1])
		}
		for i := range lists { // that each has heard of all at last
			for j := range lists {
				merge(t, i, j)
			}
		}
		for i := range lists {
			merge(t, i, len(lists)-1)
		}
		want := []Entry{}
		for _, e := range latest {
			want = append(want, e)
		}
		slices.SortFunc(want, byPrefix)
		for i, l := range lists {
			if got := l.Entries(now); !slices.Equal(got, want) {
				t.Fatalf("node %d: want %+v, got %+v", i, want, got)
			}
		}
	})
}

// FuzzMerge holds Merge to this: it never panics, an error is one line and takes
// nothing, and what is taken is what was there, written in one form.
func FuzzMerge(f *testing.F) {
	var l List
	l.Restore(shown, shown[0].At)
	good := l.Export(shown[0].At)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("north"), []byte("n\xff\\u0000"), 1))
	f.Add(bytes.Replace(good, []byte("2001:db8"), []byte("::ffff:198.51"), 1))
	f.Add(bytes.Replace(good, []byte(`"at_ms":1`), []byte(`"at_ms":9`), 1))
	f.Add(bytes.Replace(good, []byte("too loud"), []byte(`\"<\u002f>`), 1))
	f.Add(append(bytes.Clone(good), good...))
	f.Add([]byte("null\n"))
	now := shown[0].At.Add(time.Minute)
	f.Fuzz(func(t *testing.T, p []byte) {
		var l List
		m, err := l.Merge(p, now)
		taken := l.Export(now)
		if err != nil {
			if text := err.Error(); text == "" || strings.ContainsAny(text, "\n\r") || !utf8.ValidString(text) || len(text) > 2000 {
				t.Errorf("want one line, got %q", text)
			}
			if len(taken) != 0 || len(m.Changes) != 0 {
				t.Errorf("want nothing taken, got %s", taken)
			}
			return
		}
		for line := range bytes.Lines(taken) {
			if !bytes.Contains(p, line) {
				t.Errorf("%q was not there:\n%q", line, p)
			}
		}
		for _, e := range l.Entries(now) {
			if err := e.Check(); err != nil {
				t.Errorf("got %+v: %v", e, err)
			}
		}
		if lines := bytes.Count(p, []byte("\n")); len(m.Changes) != bytes.Count(taken, []byte("\n")) || len(m.Changes)+m.Ahead+m.NoRoom > lines {
			t.Errorf("want each entry told once, got %+v of %d", m, lines)
		}
		var other List
		if _, err := other.Merge(taken, now); err != nil || other.Digest(now) != l.Digest(now) {
			t.Errorf("want it taken from there, too, got %v:\n%s", err, taken)
		}
		if again, err := l.Merge(p, now); err != nil || len(again.Changes) != 0 || l.Digest(now) != other.Digest(now) {
			t.Errorf("want nothing new the second time, got %+v, %v", again, err)
		}
	})
}
