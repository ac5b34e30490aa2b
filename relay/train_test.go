package relay

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// someSizes draws the sizes of a batch: many equal ones, some at the limits.
func someSizes(t *rapid.T) []int {
	size := rapid.OneOf(
		rapid.SampledFrom([]int{1, 2, 200, 1472, 1473, 32753, 32754, 65506, 65507, 65508, 65527}),
		rapid.IntRange(1, 70000),
	)
	few := rapid.SliceOfN(size, 1, 4).Draw(t, "sizes to draw from")
	return rapid.SliceOfN(rapid.SampledFrom(few), 0, 2*maxBatch).Draw(t, "sizes")
}

// isTrain reports whether datagrams of these sizes can leave in one message.
func isTrain(sizes []int, longest int) bool {
	total := 0
	for i, size := range sizes {
		last := i == len(sizes)-1
		if size > sizes[0] || size < sizes[0] && !last {
			return false
		}
		total += size
	}
	return len(sizes) == 1 || len(sizes) <= longest && total <= maxTrainBytes
}

func TestCutKeepsEveryDatagramOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes, longest := someSizes(t), rapid.IntRange(1, maxBatch).Draw(t, "longest")
		next := 0
		for i, train := range cut(nil, sizes, longest) {
			if train.first != next || train.count < 1 {
				t.Fatalf("want train %d to begin with datagram %d; got %+v", i, next, train)
			}
			next += train.count
		}
		if next != len(sizes) {
			t.Fatalf("want all of %d datagrams in trains; got %d", len(sizes), next)
		}
	})
}

func TestCutMakesTrainsThatTheKernelTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes, longest := someSizes(t), rapid.IntRange(1, maxBatch).Draw(t, "longest")
		for _, train := range cut(nil, sizes, longest) {
			part := sizes[train.first:][:train.count]
			total := 0
			for _, size := range part {
				total += size
			}
			if !isTrain(part, longest) || train.size != part[0] || train.bytes != total {
				t.Fatalf("want trains of at most %d datagrams, %d bytes, equal in size but the last; got %+v for %v", longest, maxTrainBytes, train, part)
			}
		}
	})
}

// As few as can be: compared with the best of all ways to cut.
func TestCutMakesAsFewTrainsAsCanBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes, longest := someSizes(t), rapid.IntRange(1, maxBatch).Draw(t, "longest")
		fewest := make([]int, len(sizes)+1) // for the first so many datagrams
		for end := 1; end <= len(sizes); end++ {
			fewest[end] = end
			for begin := range end {
				if isTrain(sizes[begin:end], longest) {
					fewest[end] = min(fewest[end], fewest[begin]+1)
				}
			}
		}
		if got := len(cut(nil, sizes, longest)); got != fewest[len(sizes)] {
			t.Fatalf("want %d trains for %v; got %d", fewest[len(sizes)], sizes, got)
		}
	})
}

func TestCutAppends(t *testing.T) {
	before := []train{{first: 7, count: 1, size: 8, bytes: 8}}
	got := cut(slices.Clone(before), []int{5, 5}, maxBatch)
	want := append(before, train{first: 0, count: 2, size: 5, bytes: 10})
	if !slices.Equal(got, want) {
		t.Fatalf("want %+v; got %+v", want, got)
	}
}

func TestCutByExample(t *testing.T) {
	same := func(size, count int) []int { return slices.Repeat([]int{size}, count) }
	for _, example := range []struct {
		name    string
		sizes   []int
		longest int
		want    []int // datagrams in each train
	}{
		{"nothing", nil, 64, nil},
		{"a lone one", same(200, 1), 64, []int{1}},
		{"equal ones", same(200, 64), 64, []int{64}},
		{"more than the longest train", same(200, 65), 64, []int{64, 1}},
		{"no trains", same(200, 3), 1, []int{1, 1, 1}},
		{"a shorter one ends a train", []int{200, 200, 100, 200}, 64, []int{3, 1}},
		{"nothing follows a shorter one", []int{200, 100, 100, 50}, 64, []int{2, 2}},
		{"a longer one begins a train", []int{100, 200, 200}, 64, []int{1, 2}},
		{"ascending", []int{1, 2, 3, 4}, 64, []int{1, 1, 1, 1}},
		{"descending", []int{4, 3, 2, 1}, 64, []int{2, 2}},
		{"as many bytes as a message carries", same(1472, 45), 64, []int{44, 1}},
		{"as long as a message carries", []int{65507, 1}, 64, []int{1, 1}},
		{"longer than a train may be", []int{65527, 65527, 10, 10}, 64, []int{1, 1, 2}},
		{"to the byte", []int{32754, 32753, 1}, 64, []int{2, 1}},
	} {
		var got []int
		for _, train := range cut(nil, example.sizes, example.longest) {
			got = append(got, train.count)
		}
		if !slices.Equal(got, example.want) {
			t.Errorf("%s: want trains of %v; got %v", example.name, example.want, got)
		}
	}
}
