package filetransfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"udprelay/peers"
)

const (
	// DefaultTransfers is how many files come at once.
	DefaultTransfers = 16

	// leastRate is how many bytes per second have to come from a sender, on average
	// over the timeout: one that sends a byte now and then keeps no place.
	leastRate = 100

	// refusing is how many more connections are told that there are too many.
	refusing = 64

	// Words of refusal get this long to arrive: what the sender sends meanwhile
	// is dropped, for to close at once would take them back.
	farewell, lastFarewell = 2 * time.Second, 200 * time.Millisecond
)

// A Receiver receives files into a directory. Its fields are set before
// [Receiver.Serve].
type Receiver struct {
	Overwrite bool          // a file takes the place of one of the same name
	Checked   bool          // only from senders that say size and hash
	Once      bool          // one file
	MaxSize   int64         // bytes of a file; 0: no limit
	Transfers int           // at once; 0: DefaultTransfers
	Timeout   time.Duration // without anything from a sender; 0: DefaultTimeout
	Pause     time.Duration // that ends a name without a newline; 0: Pause

	// Ended, if not nil, is told of each transfer, one call at a time, when the
	// sender has its answer.
	Ended func(Received, error)

	in      *directory
	mu      sync.Mutex
	names   map[string]bool    // that are coming
	hosts   map[peers.Host]int // how many come from each
	coming  int                // from all
	telling sync.Mutex
	keeping sync.Mutex // with Once, while a file gets its name
	kept    bool
}

// Received is a file that came.
type Received struct {
	From    netip.AddrPort
	Name    string // "" if it did not come or was refused itself
	Bytes   int64
	Sum     Sum
	Checked bool // the sender said size and hash, and they were right
	Took    time.Duration
}

// NewReceiver returns a receiver of files into the directory path. It removes
// what a receiver that was killed has left there. The receiver has to be closed.
func NewReceiver(path string) (*Receiver, error) {
	in, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	return &Receiver{in: in, names: make(map[string]bool), hosts: make(map[peers.Host]int)}, nil
}

// Close lets go of the directory.
func (r *Receiver) Close() { r.in.close() }

// Serve receives files until ctx is done, and then ends the transfers that are
// under way; nothing of them stays. It closes listener, which is one of TCP, and
// returns an error if that cannot accept any more.
func (r *Receiver) Serve(ctx context.Context, listener net.Listener) error {
	if r.Transfers <= 0 {
		r.Transfers = DefaultTransfers
	}
	if r.Timeout <= 0 {
		r.Timeout = DefaultTimeout
	}
	if r.Pause <= 0 {
		r.Pause = Pause
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer func() {
		stop()
		listener.Close()
	}()
	refusals := make(chan struct{}, refusing)
	for {
		accepted, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				accepted.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			select { // there are no file descriptors, say
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		c := newConn(ctx, accepted.(*net.TCPConn), r.Timeout)
		c.least = leastRate
		from := c.from().Addr()
		why := r.enter(from)
		if why == "" {
			running.Go(func() {
				defer r.leave(from)
				r.transfer(c)
			})
			continue
		}
		select {
		case refusals <- struct{}{}:
			running.Go(func() {
				defer func() { <-refusals }()
				c.refuse(why)
			})
		default:
			c.abort()
		}
	}
}

// enter takes a place for a transfer from an address, or says why there is none.
// Half of the places are for hosts that have none yet, so a single one cannot keep
// all others out. Connections from this machine may come through a tunnel.
func (r *Receiver) enter(from netip.Addr) (why string) {
	host := peers.HostOf(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.coming >= r.Transfers:
		return fmt.Sprintf("there are %d transfers already; try again later", r.coming)
	case r.hosts[host] > 0 && !from.IsLoopback() && r.coming >= (r.Transfers+1)/2:
		return fmt.Sprintf("there are %d transfers already, and the places that are left are for other addresses; try again later", r.coming)
	}
	r.coming++
	r.hosts[host]++
	return ""
}

func (r *Receiver) leave(from netip.Addr) {
	host := peers.HostOf(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.coming--
	if r.hosts[host]--; r.hosts[host] == 0 {
		delete(r.hosts, host)
	}
}

// refuse says why there will be no file, and ends the connection.
func (c *conn) refuse(why string) {
	defer c.finish()
	c.stop() // from here on the time is short anyway
	patience := farewell
	if c.ctx.Err() != nil {
		patience = lastFarewell
	}
	_ = c.TCPConn.SetDeadline(time.Now().Add(patience)) // what is not told is not told
	if _, err := io.WriteString(c.TCPConn, answer{why: why}.String()); err != nil {
		return
	}
	if c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, onlyReader{c.TCPConn})
	}
}

// confirm says what has come, also when the receiver is being stopped: the file
// is there. A plain sender may not wait for it.
func (c *conn) confirm(got Received) {
	defer c.finish()
	c.stop()
	_ = c.TCPConn.SetDeadline(time.Now().Add(farewell))
	_, _ = io.WriteString(c.TCPConn, answer{received: true, count: got.Bytes, sum: got.Sum}.String())
	_ = c.CloseWrite()
}

type onlyReader struct{ io.Reader }

// transfer receives one file and tells how it went.
func (r *Receiver) transfer(c *conn) {
	begun := time.Now()
	got := Received{From: c.from()}
	err := r.receive(c, &got)
	got.Took = time.Since(begun)
	if err == nil {
		c.confirm(got)
	} else if why := forSender(err); why != "" {
		c.refuse(why)
	} else {
		c.abort()
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	if r.Ended != nil {
		r.Ended(got, err)
	}
}

// forSender returns what the sender is told; "": it is gone.
func forSender(err error) string {
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return refused.Why
	}
	if disk := (*DiskError)(nil); errors.As(err, &disk) {
		return "the file cannot be written: " + disk.Err.Error()
	}
	switch {
	case errors.Is(err, ErrStopped):
		return "the receiver was stopped"
	case errors.Is(err, ErrSilent):
		return ErrSilent.Error()
	case errors.Is(err, ErrSlow):
		return ErrSlow.Error()
	}
	return ""
}

// A BrokenError is a sender that went away before its file was complete.
type BrokenError struct {
	After int64 // bytes
	Err   error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("broke off after %d bytes: %v; nothing is kept", e.After, e.Err)
}

// Unwrap returns the error of the connection.
func (e *BrokenError) Unwrap() error { return e.Err }

// receive receives one file; with nil it is there, on the disk.
func (r *Receiver) receive(c *conn, got *Received) error {
	h, rest, err := readHello(c.hello(), time.Now().Add(r.Timeout), r.Pause)
	switch broken := (net.Error)(nil); {
	case err == nil:
	case errors.As(err, &broken) || err == errNoName || errors.Is(err, ErrStopped):
		return &BrokenError{0, c.why(err)}
	default:
		return &RefusedError{Why: err.Error()}
	}
	if err := CheckName(h.name); err != nil {
		return &RefusedError{Why: err.Error()}
	}
	got.Name = h.name
	switch {
	case r.Checked && !h.checked:
		return &RefusedError{Why: "only files with size and hash are received here (udprelay file send --checked)"}
	case h.checked && r.MaxSize > 0 && h.size > r.MaxSize:
		return tooLarge(r.MaxSize)
	case !r.reserve(h.name):
		return &RefusedError{Why: "a file of that name is being received"}
	}
	defer r.release(h.name)
	if err := r.in.refuses(h.name, r.Overwrite); err != nil {
		return err
	}
	t, err := r.in.create()
	if err != nil {
		return &DiskError{h.name, reason(err)}
	}
	defer t.discard()
	ok := "ok"
	if h.line {
		ok = "ok\n"
	}
	if _, err := io.WriteString(c, ok); err != nil {
		return &BrokenError{0, err}
	}
	return r.keep(c, t, h, io.MultiReader(strings.NewReader(string(rest)), c), got)
}

// keep receives the bytes and gives the file its name.
func (r *Receiver) keep(c *conn, t *temporary, h hello, in io.Reader, got *Received) (err error) {
	size := int64(-1)
	if h.checked {
		size = h.size
	}
	got.Bytes, got.Sum, err = t.fill(in, size, r.MaxSize)
	read, refused := (*readError)(nil), (*RefusedError)(nil)
	switch {
	case errors.As(err, &read):
		return &BrokenError{got.Bytes, read.error}
	case errors.As(err, &refused):
		return err
	case err != nil:
		return &DiskError{h.name, reason(err)}
	case h.checked && got.Bytes < size:
		return &BrokenError{got.Bytes, fmt.Errorf("%d are missing", size-got.Bytes)}
	}
	if h.checked {
		var trailer [hexSum + 1]byte
		switch _, err := io.ReadFull(in, trailer[:]); {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return &BrokenError{got.Bytes, errors.New("the hash is missing")}
		case err != nil:
			return &BrokenError{got.Bytes, err}
		}
		if string(trailer[:]) != got.Sum.String()+"\n" {
			return &RefusedError{Why: "the bytes that came do not have the SHA-256 that the sender says"}
		}
		got.Checked = true
	}
	if c.ctx.Err() != nil {
		return ErrStopped
	}
	if err := t.sync(); err != nil {
		return &DiskError{h.name, reason(err)}
	}
	if r.Once {
		r.keeping.Lock()
		defer r.keeping.Unlock()
		if r.kept {
			return &RefusedError{Why: "the one file that was wanted has come"}
		}
	}
	err = t.publish(h.name, r.Overwrite)
	if err != nil && !errors.As(err, &refused) {
		err = &DiskError{h.name, reason(err)}
	}
	if r.Once {
		r.kept = err == nil
	}
	return err
}

// reserve notes that a file of this name is coming, unless one is.
func (r *Receiver) reserve(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] {
		return false
	}
	r.names[name] = true
	return true
}

func (r *Receiver) release(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
}

// hello is the connection with deadlines that the reader sets.
func (c *conn) hello() greeted { return greeted{c} }

type greeted struct{ c *conn }

func (g greeted) Read(p []byte) (int, error)          { return g.c.TCPConn.Read(p) }
func (g greeted) SetReadDeadline(end time.Time) error { return g.c.SetReadDeadline(end) }
