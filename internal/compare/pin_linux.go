package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processors are those of the load generator and of the relay.
type processors struct{ own, relay int }

// pin gives this process a processor of its own, and chooses one for the relays.
// Undo takes it back.
func pin() (p processors, undo func(), err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return p, nil, fmt.Errorf("processors of this process: %w", err)
	}
	if all.Count() < 2 {
		return p, nil, errors.New("only one processor is here, and the relay and the load generator need one each")
	}
	var found []int
	for at := 0; len(found) < 2; at++ {
		if all.IsSet(at) {
			found = append(found, at)
		}
	}
	p = processors{own: found[0], relay: found[1]}
	// Go would take the processor that is left for the only one there is.
	before := runtime.GOMAXPROCS(2)
	undo = func() {
		runtime.GOMAXPROCS(before)
		_ = pinThreads(&all) // all of them were in it before
	}
	only := only(p.own)
	if err := pinThreads(&only); err != nil {
		undo()
		return p, nil, err
	}
	return p, undo, nil
}

func only(processor int) (set unix.CPUSet) {
	set.Set(processor)
	return set
}

// pinThreads pins all threads of this process. Those that come later have the
// processors of the one that makes them.
func pinThreads(set *unix.CPUSet) error {
	for pinned := map[int]bool{}; ; {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		news := false
		for _, task := range tasks {
			thread, err := strconv.Atoi(task.Name())
			if err != nil || pinned[thread] {
				continue
			}
			if err := unix.SchedSetaffinity(thread, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("give thread %d a processor: %w", thread, err)
			}
			pinned[thread], news = true, true
		}
		if !news {
			return nil
		}
	}
}
