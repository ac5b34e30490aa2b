package filetransfer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// Pause ends a name without a newline. A sender that writes the newline by
	// itself has it wait (Nagle) for the acknowledgement of the name: 40 ms and a
	// round trip.
	Pause = 500 * time.Millisecond

	// DefaultTimeout is how long the other side may be silent.
	DefaultTimeout = 30 * time.Second

	magic     = "udprelay-file/1 "
	maxHello  = len(magic) + 20 + MaxName + len("\r\n")
	maxAnswer = 1024 // bytes of an answer that are kept
	hexSum    = 64
)

// A Sum is a SHA-256.
type Sum [32]byte

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// A hello is what a sender says first.
type hello struct {
	name    string
	line    bool  // it ended with a newline
	checked bool  // size is known, and the hash follows
	size    int64 // of the checked way
}

// parseHello reads what a sender said first, without the newline; line says
// whether there was one. The name is not checked.
func parseHello(text string, line bool) (hello, error) {
	h := hello{name: text, line: line}
	if line {
		h.name = strings.TrimSuffix(text, "\r")
	}
	rest, ok := strings.CutPrefix(h.name, magic)
	if !ok || !line {
		return h, nil
	}
	size, name, ok := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(size, 10, 63)
	if !ok || err != nil || size != strconv.FormatUint(n, 10) {
		return hello{line: true}, errors.New("the first line cannot be understood; want udprelay-file/1 SIZE NAME")
	}
	return hello{name: name, line: true, checked: true, size: int64(n)}, nil
}

func (h hello) String() string {
	switch {
	case h.checked:
		return fmt.Sprintf("%s%d %s\n", magic, h.size, h.name)
	case h.line:
		return h.name + "\n"
	}
	return h.name
}

var errNoName = errors.New("the connection ended before a name had come")

// readHello reads what a sender says first, until the time end, and what had
// come behind it. A name without newline ends with a pause.
func readHello(conn interface {
	io.Reader
	SetReadDeadline(time.Time) error
}, end time.Time, pause time.Duration) (h hello, rest []byte, err error) {
	buffer := make([]byte, 0, maxHello+1)
	for {
		if at := bytes.IndexByte(buffer, '\n'); at >= 0 {
			h, err = parseHello(string(buffer[:at]), true)
			return h, buffer[at+1:], err
		}
		if len(buffer) > maxHello {
			return h, nil, fmt.Errorf("the name is too long; at most %d bytes are allowed", MaxName)
		}
		until := end
		if soon := time.Now().Add(pause); len(buffer) > 0 && soon.Before(end) {
			until = soon
		}
		if err := conn.SetReadDeadline(until); err != nil {
			return h, nil, err
		}
		n, err := conn.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded) && len(buffer) > 0 && until != end:
			h, err = parseHello(string(buffer), false)
			return h, nil, err
		case err == io.EOF:
			return h, nil, errNoName
		case err != nil:
			return h, nil, err
		}
	}
}

// An answer is what a receiver says after ok.
type answer struct {
	received bool
	count    int64
	sum      Sum
	why      string // of an error
	text     string // anything else
}

// parseAnswer reads the last words of a receiver. A plain receiver may say
// anything or nothing.
func parseAnswer(said string) (a answer) {
	line, _, whole := strings.Cut(strings.TrimLeft(said, " \r\n"), "\n")
	line = strings.TrimSuffix(line, "\r")
	if why, ok := strings.CutPrefix(line, "error: "); ok {
		a.why = oneLine(why)
		return a
	}
	parts := strings.Split(line, " ")
	if whole && len(parts) == 3 && parts[0] == "received" && len(parts[2]) == hexSum {
		count, err := strconv.ParseUint(parts[1], 10, 63)
		_, wrong := hex.Decode(a.sum[:], []byte(parts[2]))
		if err == nil && wrong == nil {
			a.received, a.count = true, int64(count)
			return a
		}
	}
	return answer{text: oneLine(line)}
}

func (a answer) String() string {
	switch {
	case a.received:
		return fmt.Sprintf("received %d %v\n", a.count, a.sum)
	case a.why != "":
		return "error: " + oneLine(a.why) + "\n"
	}
	return a.text
}

// oneLine returns what a terminal can show of a text from the network.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "..."
	}
	return text
}
