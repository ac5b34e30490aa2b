package state

import (
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"udprelay/internal/banlist"
	"udprelay/peers"
)

// Parts of a file, which are written and read in one place each.
const (
	version   = 1
	keyOurs   = `{"udprelay":"peers"`
	keyIs     = keyOurs + `,"version":`
	keySaved  = `,"saved":"`
	keyBoot   = `","boot":"`
	keyUp     = `","boottime_ms":`
	keyClean  = `,"clean":`
	keyEvery  = `,"every_ms":`
	keyListen = `,"listen":"`
	keySocket = `","socket":"`
	keyDrops  = `","kernel_drops":`
	keySecret = `,"secret":"`
	keyPeers  = `","peers":`
	keyNames  = `,"names":`
	keyBans   = `,"bans":`
	keyShared = `,"shared":`
	keySum    = `,"crc32c":"`
	headerEnd = `"}`

	keyAddress = `{"address":"`
	keySource  = `","source":"`
	keyLink    = `","link":`
	keyProof   = `,"proof":"`
	keyJoined  = `","joined_ms":`
	keyHeard   = `,"heard_ms":`
	peerEnd    = `}`

	keyName      = `{"name":"`
	keyNameIsNow = `","address":"`
	nameEnd      = `"}`

	keyBan      = `{"ban":"`
	keySince    = `","since_ms":`
	keyLeft     = `,"left_ms":`
	keyIsShared = `,"shared":true`
	keyReason   = `,"reason":"`
	banEnd      = `"}`

	savedLayout = "2006-01-02T15:04:05.000Z" // UTC
	sumDigits   = 8
)

// buffers are what files are written in, so that a save every few hundred
// milliseconds leaves no garbage.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns that of a file whose digits of it begin at.
func checksum(file []byte, at int) string {
	sum := crc32.Update(crc32.Checksum(file[:at], castagnoli), castagnoli, file[at+sumDigits:])
	return fmt.Sprintf("%0*x", sumDigits, sum)
}

// appendSnapshot appends the file of s, saved at now, to b, which is empty.
func appendSnapshot(b []byte, s *Snapshot, now moment) ([]byte, error) {
	if len(s.Peers) > MaxPeers {
		return nil, &tooManyError{len(s.Peers)}
	}
	if len(s.Names) > MaxNames {
		return nil, fmt.Errorf("there are %d names of static peers, and a file holds %d at most", len(s.Names), MaxNames)
	}
	if len(s.Bans) > peers.MaxBans {
		return nil, fmt.Errorf("there are %d bans, and a file holds %d at most", len(s.Bans), peers.MaxBans)
	}
	if len(s.Shared) > banlist.MaxEntries {
		return nil, fmt.Errorf("there are %d bans of the cluster, and a file holds %d at most", len(s.Shared), banlist.MaxEntries)
	}
	b, sumAt, err := appendHeader(b, s, now)
	if err != nil {
		return nil, err
	}
	for i := range s.Peers {
		if b, err = appendPeer(b, &s.Peers[i], now.wall); err != nil {
			return nil, fmt.Errorf("peer %v: %w", s.Peers[i].Addr, err)
		}
		b = append(b, '\n')
	}
	for i := range s.Names {
		if b, err = appendName(b, &s.Names[i]); err != nil {
			return nil, fmt.Errorf("static peer %s: %w", excerpt(s.Names[i].Text), err)
		}
		b = append(b, '\n')
	}
	for i := range s.Bans {
		if b, err = appendBan(b, &s.Bans[i], now.wall); err != nil {
			return nil, fmt.Errorf("ban of %v: %w", s.Bans[i].From, err)
		}
		b = append(b, '\n')
	}
	for i := range s.Shared {
		if b, err = appendShared(b, &s.Shared[i]); err != nil {
			return nil, fmt.Errorf("ban of the cluster, of %v: %w", s.Shared[i].From, err)
		}
		b = append(b, '\n')
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file would have more than %d bytes", maxFile)
	}
	copy(b[sumAt:], checksum(b, sumAt))
	return b, nil
}

// appendHeader leaves the checksum zero, and says where it is.
func appendHeader(b []byte, s *Snapshot, now moment) (_ []byte, sumAt int, err error) {
	saved := now.wall.UTC()
	if year := saved.Year(); year < 0 || year > 9999 {
		return nil, 0, fmt.Errorf("the clock says that this is the year %d", year)
	}
	if s.Secret != "" && !isFingerprint(s.Secret) {
		return nil, 0, errors.New("the fingerprint of the secret is not one of Fingerprint")
	}
	if err := checkZone(s.Listen.Addr()); err != nil {
		return nil, 0, fmt.Errorf("listen %v: %w", s.Listen, err)
	}
	b = append(b, keyIs...)
	b = strconv.AppendInt(b, version, 10)
	b = append(b, keySaved...)
	b = saved.AppendFormat(b, savedLayout)
	b = append(b, keyBoot...)
	b = append(b, now.boot...)
	b = append(b, keyUp...)
	b = appendAge(b, now.up)
	b = append(b, keyClean...)
	b = strconv.AppendBool(b, s.Clean)
	b = append(b, keyEvery...)
	b = appendAge(b, min(s.Every, maxAge)+time.Millisecond-1) // rather too long
	b = append(b, keyListen...)
	if s.Listen.IsValid() {
		b = appendAddrPort(b, s.Listen)
	}
	b = append(b, keySocket...)
	drops := uint64(0)
	if s.Socket != 0 {
		b = strconv.AppendUint(b, s.Socket, 16)
		drops = uint64(s.KernelDrops)
	}
	b = append(b, keyDrops...)
	b = strconv.AppendUint(b, drops, 10)
	b = append(b, keySecret...)
	b = append(b, s.Secret...)
	b = append(b, keyPeers...)
	b = strconv.AppendInt(b, int64(len(s.Peers)), 10)
	b = append(b, keyNames...)
	b = strconv.AppendInt(b, int64(len(s.Names)), 10)
	b = append(b, keyBans...)
	b = strconv.AppendInt(b, int64(len(s.Bans)), 10)
	if len(s.Shared) > 0 { // a relay that was in no cluster writes what it always wrote
		b = append(b, keyShared...)
		b = strconv.AppendInt(b, int64(len(s.Shared)), 10)
	}
	b = append(b, keySum...)
	sumAt = len(b)
	b = append(b, "00000000"...)
	b = append(b, headerEnd...)
	return append(b, '\n'), sumAt, nil
}

func appendPeer(b []byte, p *Peer, now time.Time) ([]byte, error) {
	if err := checkAddress(p.Addr); err != nil {
		return b, err
	}
	b = append(b, keyAddress...)
	b = appendAddrPort(b, p.Addr)
	if p.Source.IsValid() {
		if err := checkSource(p.Source); err != nil {
			return b, err
		}
		b = append(b, keySource...)
		b = appendAddr(b, p.Source)
	}
	if p.Source.IsValid() && p.Link != 0 {
		b = append(b, keyLink...)
		b = strconv.AppendUint(b, uint64(p.Link), 10)
	} else {
		b = append(b, '"')
	}
	if !isJoin(p.Proof) {
		return b, fmt.Errorf("%v is no proof", p.Proof)
	}
	b = append(b, keyProof...)
	b = append(b, p.Proof.String()...)
	heard := now.Sub(p.Heard)
	b = append(b, keyJoined...)
	b = appendAge(b, max(now.Sub(p.Joined), heard)) // nobody is heard before it joins
	b = append(b, keyHeard...)
	b = appendAge(b, heard)
	return append(b, peerEnd...), nil
}

func appendName(b []byte, n *Name) ([]byte, error) {
	if err := checkName(n.Text); err != nil {
		return b, err
	}
	if err := checkAddress(n.Addr); err != nil {
		return b, err
	}
	b = append(b, keyName...)
	b = append(b, url.PathEscape(n.Text)...)
	b = append(b, keyNameIsNow...)
	b = appendAddrPort(b, n.Addr)
	return append(b, nameEnd...), nil
}

// appendAge appends d in milliseconds, within what is allowed.
func appendAge(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(b, min(max(d, 0), maxAge).Milliseconds(), 10)
}

func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	if a.Addr().Zone() == "" {
		return a.AppendTo(b)
	}
	b = append(b, '[')
	b = appendAddr(b, a.Addr())
	b = append(b, "]:"...)
	return strconv.AppendUint(b, uint64(a.Port()), 10)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Zone() == "" {
		return a.AppendTo(b)
	}
	b = a.WithZone("").AppendTo(b)
	b = append(b, '%')
	return append(b, url.PathEscape(a.Zone())...)
}

// parseSocket reads the number of a socket as appendHeader writes it, and
// nothing else.
func parseSocket(text string) (socket uint64, ok bool) {
	socket, err := strconv.ParseUint(text, 16, 64)
	return socket, err == nil && socket != 0 && strconv.FormatUint(socket, 16) == text
}

// cutZone takes the zone out of the text of an address, which ends before end.
func cutZone(text, end string) (without, zone string, err error) {
	before, after, found := strings.Cut(text, "%")
	if !found {
		return text, "", nil
	}
	if end != "" {
		i := strings.LastIndex(after, end)
		if i < 0 {
			return "", "", errors.New("no " + end)
		}
		after, end = after[:i], after[i:]
	}
	zone, err = url.PathUnescape(after)
	return before + end, zone, err
}

// parseAddrPort reads what appendAddrPort writes, and nothing else.
func parseAddrPort(text string) (a netip.AddrPort, ok bool) {
	without, zone, err := cutZone(text, "]")
	if err != nil {
		return a, false
	}
	if a, err = netip.ParseAddrPort(without); err != nil {
		return a, false
	}
	a = netip.AddrPortFrom(a.Addr().WithZone(zone), a.Port())
	var space [64]byte
	return a, string(appendAddrPort(space[:0], a)) == text
}

// parseAddr reads what appendAddr writes, and nothing else.
func parseAddr(text string) (a netip.Addr, ok bool) {
	without, zone, err := cutZone(text, "")
	if err != nil {
		return a, false
	}
	if a, err = netip.ParseAddr(without); err != nil {
		return a, false
	}
	a = a.WithZone(zone)
	var space [64]byte
	return a, string(appendAddr(space[:0], a)) == text
}

// A tooManyError is that there are more peers than a file holds.
type tooManyError struct{ n int }

func (e *tooManyError) Error() string {
	return fmt.Sprintf("there are %d peers, and a file holds %d at most", e.n, MaxPeers)
}
