//go:build !nocluster

package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"
)

const (
	// maxLine is the length of the longest line that a NATS server may say. The
	// longest tells of all servers of a deployment.
	maxLine = 1 << 20

	// maxForeign is the size of the longest message that a NATS server may pass
	// on, of whoever is allowed to speak there: as much as such a server can be
	// set to take.
	maxForeign = 64 << 20
)

var (
	errLine    = errors.New("the NATS server says a line of more than 1 MiB: the connection is made again")
	errForeign = errors.New("the NATS server tells of a message of more than 64 MiB: the connection is made again")
)

// A guard reads what a NATS server says before the client of NATS does, which
// makes room for a message of any size that the server tells of, and for a line
// of any length. A size that no memory has room for would end the program. Over
// TLS it sees nothing: only the server itself could say that there.
type guard struct {
	net.Conn
	stop func() bool       // called when it is closed
	said func(text string) // told what the server says is wrong; nil: nobody is

	off    bool   // what follows can not be read
	secure bool   // TLS begins after the first line
	line   []byte // what there is of one that has not ended
	skip   int    // of the payload of a message
	end    bool   // the payload is over, its line is not
}

// mayBePlain reports whether what servers say can be read: ws frames it.
func mayBePlain(urls string) bool {
	for part := range strings.SplitSeq(urls, ",") {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(part)), "ws") {
			return false
		}
	}
	return true
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.check(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

func (g *guard) Close() error {
	g.stop()
	return g.Conn.Close()
}

// check follows what the server says. It takes for a message what the client
// does; what is none of the protocol the client refuses.
func (g *guard) check(p []byte) error {
	for len(p) > 0 && !g.off {
		if g.skip > 0 {
			n := min(g.skip, len(p))
			g.skip, p = g.skip-n, p[n:]
			continue
		}
		i := bytes.IndexByte(p, '\n')
		if g.end { // what follows the payload is passed over
			if i < 0 {
				return nil
			}
			g.end, p = false, p[i+1:]
			continue
		}
		part := p[:i+1]
		if i < 0 {
			part = p
		}
		if len(g.line)+len(part) > maxLine {
			return errLine
		}
		if i < 0 {
			g.line = append(g.line, part...)
			return nil
		}
		line := part
		if len(g.line) > 0 {
			line = append(g.line, part...)
		}
		if err := g.lineOver(line); err != nil {
			return err
		}
		g.line, p = g.line[:0], p[i+1:]
	}
	return nil
}

// lineOver notes what a line means.
func (g *guard) lineOver(line []byte) error {
	op, rest, _ := bytes.Cut(line, []byte(" "))
	if tab := bytes.IndexByte(op, '\t'); tab >= 0 {
		op, rest = op[:tab], line[tab:]
	}
	switch strings.ToUpper(string(op[:min(len(op), 5)])) {
	case "INFO":
		var info struct {
			TLS bool `json:"tls_required"`
		}
		// One that is no JSON the client refuses.
		g.off = json.Unmarshal(rest, &info) == nil && info.TLS || g.secure
	case "-ERR":
		if g.said != nil {
			g.said(string(rest))
		}
	case "MSG", "HMSG":
		fields := bytes.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
		if len(fields) == 0 {
			return nil // the client refuses it
		}
		size, err := strconv.ParseUint(string(fields[len(fields)-1]), 10, 31)
		if err != nil && errors.Is(err, strconv.ErrSyntax) {
			return nil // the client refuses it
		}
		if err != nil || size > maxForeign {
			return errForeign
		}
		g.skip, g.end = int(size), true
	}
	return nil
}
