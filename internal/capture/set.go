package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// setTime is the time in the name of a file of a set.
	setTime = "20060102150405"

	// mostNumber is the largest number in the name of a file of a set, for
	// Wireshark wants five digits. After it comes 0.
	mostNumber = 99999
)

// A member is a file of a set: one whose name is as ToFiles makes them.
type member struct {
	name   string
	number int
	began  string
}

// memberOf takes the name of a file apart that is between the beginning and the
// end of a set's names.
func memberOf(name, beginning, end string) (m member, ok bool) {
	middle, ok := strings.CutPrefix(name, beginning+"_")
	if !ok {
		return member{}, false
	}
	if middle, ok = strings.CutSuffix(middle, end); !ok || len(middle) != len("00001_")+len(setTime) || middle[5] != '_' {
		return member{}, false
	}
	number, err := strconv.ParseUint(middle[:5], 10, 32)
	began, wrong := strconv.ParseUint(middle[6:], 10, 64)
	return member{name, int(number), fmt.Sprintf("%014d", began)}, err == nil && wrong == nil
}

// members returns the files of the set that are there, the oldest first.
func members(directory, beginning, end string) ([]member, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	var all []member
	for _, entry := range entries {
		if m, ok := memberOf(entry.Name(), beginning, end); ok && entry.Type().IsRegular() {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.began, b.began), cmp.Compare(a.number, b.number))
	})
	return all, nil
}

// another makes the next file of the set, and removes the oldest.
func (o *Output) another() (*os.File, error) {
	end := filepath.Ext(o.name)
	beginning := strings.TrimSuffix(o.name, end)
	if o.files == 0 {
		directory := filepath.Dir(o.name)
		earlier, err := members(directory, filepath.Base(beginning), end)
		if err != nil {
			return nil, err
		}
		for _, m := range earlier {
			o.kept, o.number = append(o.kept, filepath.Join(directory, m.name)), m.number
		}
	}
	for range mostNumber {
		if o.number++; o.number > mostNumber {
			o.number = 0
		}
		name := fmt.Sprintf("%s_%05d_%s%s", beginning, o.number, time.Now().Format(setTime), end)
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue // of another recording that has begun in this second
		}
		if err != nil {
			return nil, err
		}
		lock(file)
		o.kept = append(o.kept, name)
		o.thin()
		return file, nil
	}
	return nil, &fs.PathError{Op: "open", Path: o.name, Err: fs.ErrExist}
}

// thin removes the oldest files of the set until there are as many as are to be
// kept. One that another recording still writes, or that cannot be removed, is
// left alone from now on.
func (o *Output) thin() {
	for len(o.kept) > o.keep {
		if oldest := o.kept[0]; !locked(oldest) {
			_ = os.Remove(oldest) // somebody may have taken it away
		}
		o.kept = o.kept[1:]
	}
}
