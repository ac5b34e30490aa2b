package state

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// A Damaged is the error of [Load] for a file that does not hold what [Save]
// writes. [SetAside] puts the file out of the way.
type Damaged struct {
	File   string
	Line   int // from 1; 0: the file as a whole
	Reason string

	// Foreign: there is nothing in the file that says that it was ever one of
	// learned peers. It may be somebody else's.
	Foreign bool

	// Newer: a newer udprelay has written the file.
	Newer bool
}

// Error names the file and the line.
func (e *Damaged) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// parse reads a file. What is wrong with it comes without the file's name.
func parse(data []byte, now moment) (*Snapshot, *Damaged) {
	if len(data) == 0 {
		return nil, &Damaged{Reason: "the file is empty: want a first line that says what it is"}
	}
	head, rest, ended := strings.Cut(string(data), "\n")
	foreign := !strings.HasPrefix(head, keyOurs) && !strings.HasPrefix(keyOurs, string(data)) && strings.Trim(string(data), "\x00") != ""
	if len(head) > maxLine {
		damaged := tooLong(1)
		damaged.Foreign = foreign
		return nil, damaged
	}
	h, err := parseHeader(head)
	if err != nil {
		if !ended && strings.HasPrefix(head, keyIs) {
			err = errCutOff
		}
		damaged := &Damaged{Line: 1, Reason: err.Error(), Foreign: foreign}
		if other := (*versionError)(nil); errors.As(err, &other) {
			damaged.Newer = other.version > version
		}
		return nil, damaged
	}
	// What is cut off is told as that, before the checksum speaks of it too.
	switch lines := strings.Count(rest, "\n"); {
	case !ended || rest != "" && rest[len(rest)-1] != '\n':
		return nil, &Damaged{Line: lines + 1 + min(1, len(rest)), Reason: errCutOff.Error()}
	case lines != h.lines():
		return nil, &Damaged{Line: lines + 1, Reason: fmt.Sprintf("the file has %d peers, names and bans: want %d, as its first line says", lines, h.lines())}
	}
	if sum := checksum(data, h.sumAt); sum != h.sum {
		return nil, &Damaged{Line: 1, Reason: fmt.Sprintf("the checksum of the file is %s: want %s, as it says; something in it was changed", sum, h.sum)}
	}

	s := h.snapshot
	s.Saved = h.saved.wall
	s.Away, s.SameBoot = away(h.saved, now)
	s.Peers = make([]Peer, 0, h.peers)
	if h.names > 0 {
		s.Names = make([]Name, 0, h.names)
	}
	since := time.Duration(0) // how long after the save peers may have been heard
	if !s.Clean {
		since = min(s.Every, s.Away)
	}
	for line := 2; rest != ""; line++ {
		var text string
		text, rest, _ = strings.Cut(rest, "\n")
		if len(text) > maxLine {
			return nil, tooLong(line)
		}
		var err error
		switch before := line - 2; {
		case before < h.peers:
			var p Peer
			var joined, heard time.Duration
			p, joined, heard, err = parsePeer(text)
			p.Joined = now.wall.Add(-min(joined+s.Away, maxAge))
			p.Heard = now.wall.Add(-min(heard+s.Away-since, maxAge))
			s.Peers = append(s.Peers, p)
		case before < h.peers+h.names:
			var n Name
			n, err = parseName(text)
			s.Names = append(s.Names, n)
		case before < h.peers+h.names+h.bans:
			var b Ban
			var began, left time.Duration
			b, began, left, err = parseBan(text)
			s.addBan(b, began, left, now.wall)
		default:
			var e banlist.Entry
			e, err = parseShared(text)
			s.Shared = append(s.Shared, e)
		}
		if err != nil {
			return nil, &Damaged{Line: line, Reason: err.Error()}
		}
	}
	return &s, nil
}

func tooLong(line int) *Damaged {
	return &Damaged{Line: line, Reason: fmt.Sprintf("the line has more than %d bytes", maxLine)}
}

// A header is the first line of a file.
type header struct {
	snapshot Snapshot // but for what has lines of its own
	saved    moment
	peers    int
	names    int
	bans     int
	shared   int
	sum      string
	sumAt    int // where the checksum begins
}

// lines returns how many lines follow.
func (h *header) lines() int { return h.peers + h.names + h.bans + h.shared }

// A versionError is a file of another version of the format.
type versionError struct{ version int64 }

func (e *versionError) Error() string {
	return fmt.Sprintf("the file has version %d, and this udprelay reads version %d", e.version, version)
}

func parseHeader(line string) (h header, err error) {
	c := cursor{rest: line}
	if c.literal(keyIs); c.err != nil {
		return h, fmt.Errorf("this is no file of learned peers: want it to begin with %s1", keyIs)
	}
	if v := c.number("version", math.MaxInt32); c.err == nil && v != version {
		return h, &versionError{v}
	}
	c.literal(keySaved)
	saved := c.text()
	if h.saved.wall, err = time.Parse(savedLayout, saved); err != nil || h.saved.wall.Format(savedLayout) != saved {
		c.wrong("saved", "a time such as 2026-01-31T12:00:00.000Z", saved)
	}
	c.literal(keyBoot)
	if h.saved.boot = c.text(); h.saved.boot != "" && !isBoot(h.saved.boot) {
		c.wrong("boot", "36 lower-case hex digits and dashes, or nothing", h.saved.boot)
	}
	c.literal(keyUp)
	h.saved.up = c.age("boottime_ms")
	c.literal(keyClean)
	if h.snapshot.Clean = c.has("true"); !h.snapshot.Clean {
		c.literal("false")
	}
	c.literal(keyEvery)
	h.snapshot.Every = c.age("every_ms")
	c.literal(keyListen)
	if listen := c.text(); listen != "" {
		var ok bool
		if h.snapshot.Listen, ok = parseAddrPort(listen); !ok {
			c.wrong("listen", "an address and port such as [::]:9000, or nothing", listen)
		} else if err := checkZone(h.snapshot.Listen.Addr()); err != nil {
			c.fail(fmt.Errorf("listen %s: %w", excerpt(listen), err))
		}
	}
	c.literal(keySocket)
	if socket := c.text(); socket != "" {
		var ok bool
		if h.snapshot.Socket, ok = parseSocket(socket); !ok {
			c.wrong("socket", "up to 16 lower-case hex digits without zeros before them, or nothing", socket)
		}
	}
	c.literal(keyDrops)
	if h.snapshot.KernelDrops = uint32(c.number("kernel_drops", math.MaxUint32)); h.snapshot.KernelDrops != 0 && h.snapshot.Socket == 0 {
		c.fail(fmt.Errorf("kernel_drops is %d: want 0, for the file names no socket", h.snapshot.KernelDrops))
	}
	c.literal(keySecret)
	if h.snapshot.Secret = c.text(); h.snapshot.Secret != "" && !isFingerprint(h.snapshot.Secret) {
		c.wrong("secret", "32 hex digits, a colon and 16 more, or nothing", h.snapshot.Secret)
	}
	c.literal(keyPeers)
	h.peers = int(c.number("peers", MaxPeers))
	c.literal(keyNames)
	h.names = int(c.number("names", MaxNames))
	c.literal(keyBans)
	h.bans = int(c.number("bans", peers.MaxBans))
	if c.has(keyShared) {
		if h.shared = int(c.number("shared", banlist.MaxEntries)); h.shared == 0 {
			c.wrong("shared", "1 at least, or none of it", "0")
		}
	}
	c.literal(keySum)
	h.sumAt = len(line) - len(c.rest)
	if h.sum = c.text(); len(h.sum) != sumDigits || !isHex(h.sum) {
		c.wrong("crc32c", "8 lower-case hex digits", h.sum)
	}
	c.literal(headerEnd)
	return h, c.end()
}

func parsePeer(line string) (p Peer, joined, heard time.Duration, err error) {
	c := cursor{rest: line}
	c.literal(keyAddress)
	address := c.text()
	var ok bool
	if p.Addr, ok = parseAddrPort(address); !ok {
		c.wrong("address", "an address and port such as 192.0.2.7:40000 or [2001:db8::7]:40000", address)
	} else if err := checkAddress(p.Addr); err != nil {
		c.fail(fmt.Errorf("address %s: %w", excerpt(address), err))
	}
	if c.has(keySource) {
		source := c.text()
		if p.Source, ok = parseAddr(source); !ok {
			c.wrong("source", "an address such as 192.0.2.1 or 2001:db8::1", source)
		} else if err := checkSource(p.Source); err != nil {
			c.fail(err)
		}
	}
	if p.Source.IsValid() && c.has(keyLink) {
		if p.Link = uint32(c.number("link", math.MaxUint32)); p.Link == 0 {
			c.wrong("link", "the number of an interface", "0")
		}
	} else {
		c.literal(`"`)
	}
	c.literal(keyProof)
	if p.Proof, err = peers.ParseJoin(c.text()); err != nil {
		c.fail(fmt.Errorf("proof: %w", err))
	}
	c.literal(keyJoined)
	joined = c.age("joined_ms")
	c.literal(keyHeard)
	heard = c.age("heard_ms")
	c.literal(peerEnd)
	if heard > joined {
		c.fail(fmt.Errorf("heard_ms is %d: want joined_ms, %d, at most, for nobody is heard before it joins", heard.Milliseconds(), joined.Milliseconds()))
	}
	return p, joined, heard, c.end()
}

func parseName(line string) (n Name, err error) {
	c := cursor{rest: line}
	c.literal(keyName)
	written := c.text()
	if n.Text, err = url.PathUnescape(written); err != nil || url.PathEscape(n.Text) != written {
		c.wrong("name", "a host name and port such as collector.example:2055", written)
	} else if err := checkName(n.Text); err != nil {
		c.fail(err)
	}
	c.literal(keyNameIsNow)
	address := c.text()
	var ok bool
	if n.Addr, ok = parseAddrPort(address); !ok {
		c.wrong("address", "an address and port such as 192.0.2.7:2055 or [2001:db8::7]:2055", address)
	} else if err := checkAddress(n.Addr); err != nil {
		c.fail(fmt.Errorf("address %s: %w", excerpt(address), err))
	}
	c.literal(nameEnd)
	return n, c.end()
}

// checkName says why text is not the name of a static peer.
func checkName(text string) error {
	if text == "" || len(url.PathEscape(text)) > maxName {
		return fmt.Errorf("want a name of 1 to %d bytes, got %s", maxName, excerpt(text))
	}
	return nil
}

var (
	errCutOff     = errors.New("the file ends within this line")
	errNeverAPeer = errors.New("no peer can have this address")
	errMapped     = errors.New("an IPv4 address is written as one, not as IPv6")
	errZone       = fmt.Errorf("the zone has more than %d bytes", maxZone)
)

func checkZone(addr netip.Addr) error {
	if zone := addr.Zone(); zone != "" && len(url.PathEscape(zone)) > maxZone {
		return errZone
	}
	return nil
}

// checkAddress says why addr is that of no peer.
func checkAddress(addr netip.AddrPort) error {
	ip := addr.Addr().WithZone("") // IsUnspecified is false with a zone
	switch {
	case !addr.IsValid() || addr.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errNeverAPeer
	case ip.Is4In6():
		return errMapped
	}
	return checkZone(addr.Addr())
}

// checkSource says why addr is no local address that datagrams leave from.
func checkSource(addr netip.Addr) error {
	switch ip := addr.WithZone(""); {
	case ip.IsUnspecified() || ip.IsMulticast():
		return fmt.Errorf("source %s: no datagram leaves from this address", excerpt(addr.String()))
	case ip.Is4In6():
		return fmt.Errorf("source %s: %w", excerpt(addr.String()), errMapped)
	}
	if err := checkZone(addr); err != nil {
		return fmt.Errorf("source %s: %w", excerpt(addr.String()), err)
	}
	return nil
}

func isJoin(j peers.Join) bool { return int(j) < len(peers.JoinWords) }

// A cursor reads a line from its start. After an error it reads on, and what it
// returns means nothing; the first error stays.
type cursor struct {
	rest string
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *cursor) wrong(key, want, got string) {
	c.fail(fmt.Errorf("%s: want %s, got %s", key, want, excerpt(got)))
}

// has reads what is given if it comes next, and reports whether it does.
func (c *cursor) has(next string) (found bool) {
	c.rest, found = strings.CutPrefix(c.rest, next)
	return found
}

func (c *cursor) literal(want string) {
	if !c.has(want) {
		c.fail(fmt.Errorf("want %s here, got %s", want, excerpt(c.rest)))
	}
}

// text reads what comes before the next quotation mark.
func (c *cursor) text() (text string) {
	i := strings.IndexByte(c.rest, '"')
	if i < 0 {
		c.fail(fmt.Errorf(`want a " after %s`, excerpt(c.rest)))
		return ""
	}
	text, c.rest = c.rest[:i], c.rest[i:]
	return text
}

// number reads a whole number of at most the limit.
func (c *cursor) number(key string, limit int64) int64 {
	digits := c.rest[:len(c.rest)-len(strings.TrimLeft(c.rest, "-0123456789"))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > limit || digits[0] == '-' || digits[0] == '0' && len(digits) > 1 {
		got, _, _ := strings.Cut(c.rest, ",")
		c.wrong(key, fmt.Sprintf("a number from 0 to %d", limit), strings.TrimSuffix(got, peerEnd))
		return 0
	}
	c.rest = c.rest[len(digits):]
	return n
}

func (c *cursor) age(key string) time.Duration {
	return time.Duration(c.number(key, maxAge.Milliseconds())) * time.Millisecond
}

// end is called at the end of the line.
func (c *cursor) end() error {
	if c.rest != "" {
		c.fail(fmt.Errorf("want the end of the line here, got %s", excerpt(c.rest)))
	}
	return c.err
}

// excerpt quotes the begin of a text.
func excerpt(text string) string {
	const most = 60
	if text == "" {
		return "nothing"
	}
	if len(text) > most {
		return strconv.QuoteToASCII(text[:most]) + "…"
	}
	return strconv.QuoteToASCII(text)
}
