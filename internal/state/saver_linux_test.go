package state

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"udprelay/internal/testneed"
)

func TestTheSaverOnAFullDisk(t *testing.T) {
	directory := testneed.SmallDisk(t, "16k")
	name := filepath.Join(directory, "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		few := r.Collect
		var many atomic.Bool
		r.Collect = func() *Snapshot {
			if s := few(); !many.Load() {
				return s
			}
			return manyPeers(1000, time.Now())
		}
		r.run(t)
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		many.Store(true)
		for range 10 {
			r.changes.Add(1)
			r.passes(lookEvery)
		}
		r.wantSaves(t, 11)
		r.wantLog(t, `level=WARN msg="peers are not saved" error="save peers to `+name+": write "+name+`.new: no space left on device" hint="make room on the file system of `+directory+`"`)
		wantFile(t, name, before)
		wantFiles(t, directory, "peers")

		many.Store(false)
		r.changes.Add(1)
		r.passes(lookEvery)
		r.wantLog(t, `level=INFO msg="peers are saved again" file=`+quoted(name)+" failures=10")
		r.stop()
		if !r.loaded(t).Clean {
			t.Fatal("want a clean file")
		}
		r.wantLog(t)
	})
}
