package filetransfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settling is how many timeouts the receiver may be silent at the end: it may
// have much to write to a slow disk.
const settling = 10

// A Sender sends files to one receiver, one after the other.
type Sender struct {
	Address string        // HOST:PORT
	Timeout time.Duration // without anything from the receiver; 0: DefaultTimeout
	Newline bool          // behind the name, for plain receivers that read lines
	Checked bool          // the receiver is one of ours: it is told size and hash

	// Progress, if not nil, is called, at most ten times a second, with how much
	// is sent.
	Progress func(sent, size int64)

	ours bool // the receiver has said what it got
}

// Sent is a file that was sent.
type Sent struct {
	Name     string
	Bytes    int64
	Sum      Sum
	Verified bool   // the receiver has said that it got just that
	Said     string // what it said instead; a plain one may say nothing
	Took     time.Duration
}

// Send sends the file at path under the name, or under its base name if that is
// "". A file that it returns an error for was not sent, or not as far as is
// known: a [*SourceError], [*RefusedError], [*NetworkError], [*MismatchError] or
// [ErrStopped], if ctx was done before the end.
func (s *Sender) Send(ctx context.Context, path, name string) (Sent, error) {
	if name == "" {
		name = filepath.Base(path)
	}
	file, info, err := openSource(path, name)
	if err != nil {
		return Sent{Name: name}, err
	}
	defer file.Close()
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	dialer := net.Dialer{Timeout: s.Timeout}
	dialed, err := dialer.DialContext(ctx, "tcp", s.Address)
	if ctx.Err() != nil {
		if err == nil {
			dialed.Close()
		}
		return Sent{Name: name}, ErrStopped
	}
	if err != nil {
		return Sent{Name: name}, &NetworkError{"no connection", err}
	}
	d := &delivery{
		conn:  newConn(ctx, dialed.(*net.TCPConn), s.Timeout),
		hello: hello{name: name, line: s.Newline, checked: s.Checked || s.ours, size: info.Size()},
		file:  file, path: path, before: info, progress: s.Progress,
	}
	defer d.conn.abort()
	begun := time.Now()
	sent := Sent{Name: name}
	err = d.deliver(&sent)
	sent.Took = time.Since(begun)
	if ctx.Err() != nil && err != nil {
		err = ErrStopped
	}
	s.ours = s.ours || sent.Verified
	return sent, err
}

// CheckSource returns why the file at path cannot be sent under name, or nil.
func CheckSource(path, name string) error {
	if name == "" {
		name = filepath.Base(path)
	}
	file, _, err := openSource(path, name)
	if err == nil {
		file.Close()
	}
	return err
}

// openSource opens a file that can be sent. One that is not regular is not
// opened: that may wait for a writer.
func openSource(path, name string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, &SourceError{path, reason(err)}
	}
	switch err := sendable(name); {
	case info.IsDir():
		return nil, nil, &SourceError{path, ErrDirectory}
	case !info.Mode().IsRegular():
		return nil, nil, &SourceError{path, ErrNotRegular}
	case err != nil:
		return nil, nil, &SourceError{path, fmt.Errorf("%w: %w", ErrName, err)}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, &SourceError{path, reason(err)}
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		file.Close()
		return nil, nil, &SourceError{path, reason(err)}
	}
	return file, info, nil
}

// A delivery is one file on its way.
type delivery struct {
	conn     *conn
	hello    hello
	file     *os.File
	path     string
	before   os.FileInfo
	progress func(sent, size int64)
}

// deliver returns nil when the receiver has closed after all was sent, or has
// said that it has all.
func (d *delivery) deliver(sent *Sent) error {
	if _, err := io.WriteString(d.conn, d.hello.String()); err != nil {
		return &NetworkError{"the connection broke", err}
	}
	if err := d.awaitOK(); err != nil {
		return err
	}
	// The receiver may say at any time that it cannot go on. It is listened to
	// from now on; before the last word, that ends the sending.
	d.conn.patience(0)
	last := make(chan said, 1)
	failed := make(chan struct{})
	go func() { last <- d.listen(failed) }()
	err := d.send(sent, failed)
	if err != nil {
		_ = d.conn.TCPConn.SetReadDeadline(time.Now().Add(lastFarewell)) // what it says of it may still come
		here := errors.As(err, new(*SourceError))
		if here {
			d.conn.abort()
		}
		if why := parseAnswer((<-last).text).why; why != "" && !here {
			return &RefusedError{why, true}
		}
		return err
	}
	d.conn.patience(settling * d.conn.timeout)
	return d.judge(<-last, sent)
}

// awaitOK waits for the receiver to take the name.
func (d *delivery) awaitOK() error {
	var text []byte
	buffer := make([]byte, maxAnswer)
	for !bytes.ContainsRune(text, '\n') && len(text) < maxAnswer {
		n, err := d.conn.Read(buffer)
		text = append(text, buffer[:n]...)
		if string(text) == "ok" || string(text) == "ok\n" || string(text) == "ok\r\n" {
			return nil
		}
		if errors.Is(err, ErrSilent) && len(text) == 0 {
			return &NetworkError{"the receiver does not answer to the name", err}
		}
		if err == io.EOF && len(text) == 0 {
			return &NetworkError{"the receiver does not answer to the name", errors.New("it has closed the connection")}
		}
		if err != nil && len(text) == 0 {
			return &NetworkError{"the connection broke", err}
		}
		if err != nil {
			break
		}
	}
	a := parseAnswer(string(text))
	if a.why != "" {
		return &RefusedError{a.why, true}
	}
	return &RefusedError{fmt.Sprintf("%q, not ok", oneLine(string(text))), true}
}

// said is what a receiver says after ok.
type said struct {
	text string
	err  error // that ended it; nil: it has closed
}

// listen reads to the end. It closes failed when the receiver says that it
// failed.
func (d *delivery) listen(failed chan<- struct{}) said {
	var text strings.Builder
	buffer := make([]byte, maxAnswer)
	for told := false; ; {
		n, err := d.conn.TCPConn.Read(buffer)
		text.Write(buffer[:min(n, maxAnswer-text.Len())])
		a := parseAnswer(text.String())
		if a.why != "" && !told && strings.Contains(text.String(), "\n") {
			told = true
			close(failed)
			_ = d.conn.SetWriteDeadline(longAgo)
		}
		switch {
		case a.received:
			return said{text.String(), nil} // it closes now, and need not be waited for
		case err == io.EOF:
			return said{text.String(), nil}
		case err != nil:
			return said{text.String(), d.conn.why(err)}
		}
	}
}

// send sends the bytes and closes this half of the connection.
func (d *delivery) send(sent *Sent, failed <-chan struct{}) error {
	hash, block, size := sha256.New(), make([]byte, blockSize), d.before.Size()
	shown := time.Time{}
	for sent.Bytes < size {
		want := block[:min(int64(len(block)), size-sent.Bytes)]
		if n, err := io.ReadFull(d.file, want); err == io.EOF || err == io.ErrUnexpectedEOF {
			return &SourceError{d.path, ErrChanged}
		} else if err != nil {
			return &SourceError{d.path, reason(err)}
		} else {
			hash.Write(want[:n])
		}
		n, err := d.conn.Write(want)
		sent.Bytes += int64(n)
		select {
		case <-failed:
			return errRefusedMidway
		default:
		}
		if err != nil {
			return &NetworkError{fmt.Sprintf("the receiver broke off after %d bytes", sent.Bytes), err}
		}
		if now := time.Now(); d.progress != nil && now.Sub(shown) >= 100*time.Millisecond {
			shown = now
			d.progress(sent.Bytes, size)
		}
	}
	if err := d.unchanged(); err != nil {
		return err
	}
	hash.Sum(sent.Sum[:0])
	var err error
	if d.hello.checked {
		_, err = io.WriteString(d.conn, sent.Sum.String()+"\n")
	}
	if err == nil {
		err = d.conn.CloseWrite()
	}
	if err != nil {
		return &NetworkError{"the receiver broke off at the end", err}
	}
	return nil
}

var errRefusedMidway = errors.New("the receiver refused the rest")

// unchanged makes sure that the file is the one that it was at the beginning.
func (d *delivery) unchanged() error {
	if n, _ := d.file.Read(make([]byte, 1)); n > 0 {
		return &SourceError{d.path, ErrChanged}
	}
	now, err := d.file.Stat()
	if err != nil {
		return &SourceError{d.path, reason(err)}
	}
	if now.Size() != d.before.Size() || !now.ModTime().Equal(d.before.ModTime()) {
		return &SourceError{d.path, ErrChanged}
	}
	return nil
}

// patience lets the receiver be silent for so long; 0: for ever.
func (c *conn) patience(d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	if c.SetReadDeadline(end) != nil {
		_ = c.TCPConn.SetReadDeadline(longAgo)
	}
}

// judge returns what the last words of the receiver mean.
func (d *delivery) judge(last said, sent *Sent) error {
	a := parseAnswer(last.text)
	switch {
	case a.why != "":
		return &RefusedError{a.why, true}
	case a.received && (a.count != sent.Bytes || a.sum != sent.Sum):
		return &MismatchError{sent.Bytes, a.count, sent.Sum, a.sum}
	case a.received:
		sent.Verified = true
	case last.err != nil:
		return &NetworkError{"all was sent, but the receiver broke off", last.err}
	case d.hello.checked:
		return &NetworkError{"all was sent, but the receiver does not say what it has", errors.New("it has closed the connection")}
	}
	if !sent.Verified {
		sent.Said = a.text
	}
	_ = d.conn.SetLinger(-1) // the connection is done
	return nil
}
