package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"udprelay/internal/framing"
	"udprelay/relay"
)

const (
	// A client is asked pingEvery whether it is there. If nothing comes from it,
	// not even the answer, within pongWithin, its connection is broken.
	pingEvery  = 15 * time.Second
	pongWithin = 30 * time.Second

	// closeWithin is how long a client has to answer that its WebSocket is
	// closed, before the connection is.
	closeWithin = time.Second

	// together is how many bytes of messages are written together, at most one
	// message more.
	together = 32 << 10

	// smallRoom is what a WebSocket always has for what comes; largeRoom holds
	// every message, the byte by which it is too long, and small ones after it.
	smallRoom = 4 << 10
	largeRoom = framing.MaxPayload + 1 + smallRoom
)

// largeRooms has the large rooms that no WebSocket needs now.
var largeRooms = sync.Pool{New: func() any { return new([largeRoom]byte) }}

// A webSocket is the wire of a client by WebSocket.
type webSocket struct {
	conn   *websocket.Conn
	outlet *outlet
	in     *bufio.Reader // of conn

	// Used by receive.
	small [smallRoom]byte
	large *[largeRoom]byte // nil: small is in use
	room  []byte           // what has been received, within the one in use

	marks []int64 // used by send: what the outlet was given after each message

	fault   atomic.Pointer[fault] // what was wrong with what came
	told    chan struct{}         // closed when receive has returned an error, which is verdict
	verdict error
	tell    sync.Once
	ending  sync.Once
	ended   chan struct{} // closed when close was called

	mu     sync.Mutex
	closed bool // guarded by mu: in is read by others now
}

// A fault is something that may not come, and the status code for it (RFC 6455,
// section 7.4.1).
type fault struct {
	code websocket.StatusCode
	text string
}

var (
	badFrame = &fault{websocket.StatusProtocolError, "a frame that RFC 6455 does not allow"}
	tooLong  = &fault{websocket.StatusMessageTooBig, "a message of more than 65,535 bytes, which a datagram can have"}
	badText  = &fault{websocket.StatusInvalidFramePayloadData, "a text that is not UTF-8; send bytes as a binary message"}
)

// acceptWebSocket answers the handshake. On an error the answer is given, too.
func acceptWebSocket(w http.ResponseWriter, r *http.Request, bare *paced, now func() int64) (*webSocket, error) {
	taken := &outletWriter{ResponseWriter: w, bare: bare, now: now}
	w.Header().Set("Connection", "close") // is replaced if all is well
	conn, err := websocket.Accept(taken, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the origin has been looked at
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1) // receive has its own
	return &webSocket{conn: conn, outlet: taken.outlet, in: taken.in, told: make(chan struct{}), ended: make(chan struct{})}, nil
}

// receive implements [wire].
func (w *webSocket) receive(batch []relay.Datagram) ([]relay.Datagram, error) {
	if w.large != nil {
		largeRooms.Put(w.large)
		w.large = nil
	}
	w.room = w.small[:0]
	for {
		payload, err := w.message()
		if err != nil {
			w.tell.Do(func() {
				w.verdict = err
				close(w.told)
			})
			return batch, err
		}
		batch = append(batch, relay.Datagram{Payload: payload})
		if len(batch) == cap(batch) || !w.waiting() {
			return batch, nil
		}
	}
}

// message waits for a message and returns it. It is in room.
func (w *webSocket) message() ([]byte, error) {
	kind, reader, err := w.conn.Reader(context.Background())
	if err != nil {
		return nil, w.meaning(err)
	}
	begin := len(w.room)
	for {
		if len(w.room) == cap(w.room) {
			w.large = largeRooms.Get().(*[largeRoom]byte)
			w.room = append(w.large[:0], w.room[begin:]...)
			begin = 0
		}
		// The library waits until what it is given is full, or the frame over.
		n, err := reader.Read(w.room[len(w.room):min(cap(w.room), begin+framing.MaxPayload+1)])
		w.room = w.room[:len(w.room)+n]
		switch {
		case len(w.room)-begin > framing.MaxPayload:
			w.fault.Store(tooLong)
			return nil, BadFrame
		case err == io.EOF && w.outlet.dry.Load():
			// The library takes the end of the connection for that of the message.
			w.fault.Store(badFrame)
			return nil, BadFrame
		case err == io.EOF:
			payload := w.room[begin:len(w.room):len(w.room)]
			if kind == websocket.MessageText && !utf8.Valid(payload) {
				w.fault.Store(badText)
				return nil, BadFrame
			}
			return payload, nil
		case err != nil:
			return nil, w.meaning(err)
		}
	}
}

// waiting reports whether a whole message is there that has room beside those
// received, so that it need not be waited for.
func (w *webSocket) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	there, _ := w.in.Peek(w.in.Buffered())
	size, ok := firstMessage(there)
	return ok && size < cap(w.room)-len(w.room)
}

// firstMessage returns the length of the message that frames begin with, if they
// begin with one in a single frame, and all of that is there.
func firstMessage(frames []byte) (size int, ok bool) {
	const (
		final, masked = 0x80, 0x80
		maskSize      = 4
	)
	if len(frames) < 2 || frames[0] != final|byte(websocket.MessageText) && frames[0] != final|byte(websocket.MessageBinary) || frames[1]&masked == 0 {
		return 0, false
	}
	head := 2
	size = int(frames[1] &^ masked)
	switch {
	case size == 127: // more than is ever there
		return 0, false
	case size == 126 && len(frames) < 4:
		return 0, false
	case size == 126:
		size = int(binary.BigEndian.Uint16(frames[2:]))
		head = 4
	}
	return size, len(frames) >= head+maskSize+size
}

// meaning returns what an error of the library in reading means to a client.
func (w *webSocket) meaning(err error) error {
	switch {
	case websocket.CloseStatus(err) != -1:
		return io.EOF
	case w.outlet.failed.Load() || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded):
		return err
	}
	w.fault.Store(badFrame)
	return BadFrame
}

// send implements [wire].
func (w *webSocket) send(frames []byte) (sent int, err error) {
	for len(frames) > 0 && err == nil {
		w.outlet.cork()
		w.marks = w.marks[:0]
		var bad error
		size := 0
		for rest := frames; len(rest) > 0 && size < together && bad == nil; {
			var payload []byte
			payload, rest, _ = framing.Next(rest)
			if bad = w.conn.Write(context.Background(), websocket.MessageBinary, payload); bad == nil {
				w.marks = append(w.marks, w.outlet.given())
				size = len(frames) - len(rest)
			}
		}
		var out int64
		if out, err = w.outlet.uncork(); err == nil {
			err = bad
		}
		for _, mark := range w.marks {
			if mark > out {
				break
			}
			payload, rest, _ := framing.Next(frames)
			sent += framing.HeaderSize + len(payload)
			frames = rest
		}
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The client may have said why it ends, or what it said was wrong; that
		// is known to receive.
		select {
		case <-w.told:
			err = w.verdict
		case <-time.After(closeWithin):
		}
	}
	return sent, err
}

// beat asks every now and then whether the client is there, until close is
// called.
func (w *webSocket) beat(every, within time.Duration) {
	next := time.NewTimer(every)
	defer next.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-next.C:
		}
		asked := w.outlet.now()
		ctx, cancel := context.WithTimeout(context.Background(), within)
		err := w.conn.Ping(ctx)
		cancel()
		if err != nil && (!errors.Is(err, context.DeadlineExceeded) || w.outlet.heard.Load() < asked) {
			w.outlet.abort()
			return
		}
		next.Reset(every)
	}
}

// close implements [wire]. It waits a moment for the client, so that this can
// read why.
func (w *webSocket) close(why Reason) {
	w.ending.Do(func() {
		close(w.ended)
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		if why == Stuck || why == Broken {
			w.outlet.reset()
			w.conn.CloseNow()
			return
		}
		late := time.AfterFunc(closeWithin, w.outlet.abort)
		defer late.Stop()
		if why == BadFrame { // receive has returned it, and is not called again
			w.outlet.deafen()
			w.in.Discard(w.in.Buffered())
		}
		f := w.fault.Load()
		if f == nil {
			f = farewells[why]
		}
		w.conn.Close(f.code, f.text)
	})
}

func (w *webSocket) abort() { w.outlet.abort() }

// farewells are what is told to clients.
var farewells = [reasons]*fault{
	NotLetIn:    {websocket.StatusPolicyViolation, "not let in: by a rule of access, a limit of the peers, or a ban"},
	Unproven:    {websocket.StatusPolicyViolation, "the secret was not shown in time"},
	BadProof:    {websocket.StatusPolicyViolation, "not the secret of this relay"},
	ClearSecret: {websocket.StatusPolicyViolation, "the secret is only taken by wss, where nobody can read it on its way"},
	Left:        {websocket.StatusNormalClosure, ""},
	TakenOut:    {websocket.StatusPolicyViolation, "kicked, banned, or not let in by new rules"},
	Silent:      {websocket.StatusPolicyViolation, "nothing was sent for too long; an empty message keeps alive"},
	BadFrame:    badFrame,
	Stopped:     {websocket.StatusGoingAway, "the relay stops"},
}
