package logs

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// maxBytes and maxLines bound what waits to be written.
	maxBytes = 1 << 20
	maxLines = 4096

	// maxLine is well below the 48 KiB at which the journal breaks a line in
	// two, see LineMax= in journald.conf(5).
	maxLine = 32 << 10 // bytes

	// lateWait is how long a line that comes after Close may hold up who logs
	// it, so that the last words of a process are heard.
	lateWait = 100 * time.Millisecond
)

// A queue passes lines on to a writer that may hang or fail. Its own Write does
// neither.
type queue struct {
	w      io.Writer
	notice func(lost uint64) []byte // the line that says how many are lost

	mu    sync.Mutex
	lines []waiting
	bytes int           // of lines
	lost  uint64        // since the last line that fitted
	late  time.Duration // how long Write waits until all is written
	idle  chan struct{} // closed when nothing waits any more; nil: nothing waits

	// Of drain, or with mu and idle == nil of who has mu.
	unsaid uint64 // lines that are lost, beyond lost, of which no line says so yet
	torn   bool   // the last line was written in part
}

// A waiting line.
type waiting struct {
	text []byte
	lost uint64 // lines that did not fit right before it
}

// Write takes a line, or counts it as lost. It keeps no part of it.
func (q *queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if len(line) > maxLine || q.bytes+len(line) > maxBytes || len(q.lines) >= maxLines {
		q.lost++
	} else {
		q.lines = append(q.lines, waiting{bytes.Clone(line), q.lost})
		q.bytes += len(line)
		q.lost = 0
	}
	idle, wait := q.start(), q.late
	q.mu.Unlock()

	if wait > 0 && !within(wait, idle) {
		q.mu.Lock()
		q.late = 0 // nobody reads: no other line has to wait
		q.mu.Unlock()
	}
	return len(line), nil
}

// start sees to it that somebody writes what waits. The caller holds mu.
func (q *queue) start() (idle chan struct{}) {
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.drain()
	}
	return q.idle
}

// drain writes until nothing waits. Only one runs at a time.
func (q *queue) drain() {
	for {
		line, ok := q.next()
		if !ok {
			return
		}
		q.unsaid += line.lost
		if q.unsaid > 0 && q.write(q.notice(q.unsaid)) {
			q.unsaid = 0
		}
		if line.text != nil && !q.write(line.text) {
			q.unsaid++
		}
	}
}

// next takes the next line out; one without a text stands for lines that are
// lost. If there is none, the caller has to end.
func (q *queue) next() (line waiting, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.lines) > 0:
		line = q.lines[0]
		q.lines[0] = waiting{}
		q.lines = q.lines[1:]
		q.bytes -= len(line.text)
	case q.lost > 0:
		line.lost, q.lost = q.lost, 0
	default:
		q.lines = nil
		close(q.idle)
		q.idle = nil
		return waiting{}, false
	}
	return line, true
}

// write reports whether the line is written.
func (q *queue) write(line []byte) bool {
	if q.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := q.w.Write(line)
	if n > 0 || err == nil {
		q.torn = err != nil
	}
	return err == nil
}

// close waits for what waits, and reports whether all is written.
func (q *queue) close(timeout time.Duration) bool {
	q.mu.Lock()
	if q.idle == nil && q.unsaid > 0 { // the last lines failed; perhaps the system takes more now
		q.lost, q.unsaid = q.lost+q.unsaid, 0
		q.start()
	}
	idle := q.idle
	q.mu.Unlock()

	if idle != nil && !within(timeout, idle) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.late = lateWait
	return true
}

// within reports whether done is closed before timeout is over.
func within(timeout time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
