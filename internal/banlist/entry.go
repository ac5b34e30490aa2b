package banlist

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"udprelay/peers"
)

const (
	// MaxName is how many bytes the name of a node may have.
	MaxName = 64

	// KeepLifted is how long an entry that was lifted is kept at most.
	KeepLifted = 30 * 24 * time.Hour

	maxLine = 1024                // bytes of an entry, which never has as many
	maxTime = 253_402_300_799_999 // in milliseconds: the last one of the year 9999
)

// An Entry says what holds for a prefix. Its times are of whole milliseconds,
// in UTC.
type Entry struct {
	From   netip.Prefix // masked; IPv4-mapped ones are IPv4
	Until  time.Time    // when the ban ends, or would have ended; zero: for ever
	Reason string       // as [CheckReason] wants it; empty if Lifted
	By     string       // the name of the node where it was decided
	At     time.Time    // when that was
	Lifted bool         // the ban was ended before its time
}

// end returns when e is forgotten; zero: never.
func (e *Entry) end() time.Time {
	if !e.Lifted {
		return e.Until
	}
	if kept := e.At.Add(KeepLifted); e.Until.IsZero() || kept.Before(e.Until) {
		return kept
	}
	return e.Until
}

// over reports whether e is forgotten at the time now.
func (e *Entry) over(now time.Time) bool {
	end := e.end()
	return !end.IsZero() && !now.Before(end)
}

// newer reports whether e is kept, and not other, which is of the same prefix.
func (e *Entry) newer(other *Entry) bool {
	if !e.At.Equal(other.At) {
		return e.At.After(other.At)
	}
	return bytes.Compare(e.Append(nil), other.Append(nil)) > 0
}

// Check says why there is no such entry.
func (e *Entry) Check() error {
	switch {
	case !e.From.IsValid() || e.From.Addr().Is4In6() || e.From != e.From.Masked():
		return errors.New("from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it")
	case !inTime(e.At):
		return errors.New("at_ms: want milliseconds since 1970, up to the year 9999")
	case !e.Until.IsZero() && !inTime(e.Until):
		return errors.New("until_ms: want milliseconds since 1970, up to the year 9999, or none for a ban without an end")
	case e.Lifted && e.Reason != "":
		return errors.New("reason: want none of what was lifted")
	}
	if err := checkName(e.By); err != nil {
		return fmt.Errorf("by: %w", err)
	}
	if err := CheckReason(e.Reason); err != nil {
		return fmt.Errorf("reason: %w", err)
	}
	return nil
}

func inTime(t time.Time) bool { return t.UnixMilli() > 0 && t.UnixMilli() <= maxTime }

func checkName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("it has %d bytes; want the name of a node, of 1 to %d", len(name), MaxName)
	}
	return checkText(name)
}

// CheckReason says what is wrong with the reason of a ban, which is shown to
// people on terminals and in logs: want [peers.MaxReason] bytes at most, of
// characters that can be shown.
func CheckReason(reason string) error {
	if len(reason) > peers.MaxReason {
		return fmt.Errorf("it has %d bytes; want %d at most", len(reason), peers.MaxReason)
	}
	return checkText(reason)
}

func checkText(text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s is no UTF-8", excerpt(text))
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the character %+q cannot be shown; want letters, digits, signs and blanks", r)
		}
	}
	return nil
}

// excerpt quotes the begin of a text.
func excerpt(text string) string {
	const most = 40
	if text == "" {
		return "nothing"
	}
	if len(text) > most {
		return strconv.QuoteToASCII(text[:most]) + "…"
	}
	return strconv.QuoteToASCII(text)
}

// A written is an entry as it is written.
type written struct {
	From   netip.Prefix `json:"from"`
	At     int64        `json:"at_ms"`
	By     string       `json:"by"`
	Until  int64        `json:"until_ms,omitempty"`
	Reason string       `json:"reason,omitempty"`
	Lifted bool         `json:"lifted,omitempty"`
}

// Append appends e to b, as [Parse] reads it, without the end of a line.
func (e *Entry) Append(b []byte) []byte {
	w := written{From: e.From, At: e.At.UnixMilli(), By: e.By, Reason: e.Reason, Lifted: e.Lifted}
	if !e.Until.IsZero() {
		w.Until = e.Until.UnixMilli()
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(w); err != nil {
		panic(err) // of a prefix, texts and numbers none fails
	}
	return append(b, bytes.TrimSuffix(line.Bytes(), []byte("\n"))...)
}

// Parse reads a line that [Entry.Append] has written, and nothing else.
func Parse(line []byte) (Entry, error) {
	if len(line) > maxLine {
		return Entry{}, fmt.Errorf("it has %d bytes; want %d at most", len(line), maxLine)
	}
	var w written
	if err := json.Unmarshal(line, &w); err != nil {
		return Entry{}, fmt.Errorf("%s is no entry; want a JSON object", excerpt(string(line)))
	}
	e := Entry{From: w.From, At: milliseconds(w.At), By: w.By, Reason: w.Reason, Lifted: w.Lifted}
	if w.Until != 0 {
		e.Until = milliseconds(w.Until)
	}
	if err := e.Check(); err != nil {
		return Entry{}, err
	}
	want := e.Append(nil)
	if bytes.Equal(want, line) {
		return e, nil
	}
	same := 0
	for same < len(want) && same < len(line) && want[same] == line[same] {
		same++
	}
	return Entry{}, fmt.Errorf("want %s here, got %s", excerpt(string(want[same:])), excerpt(string(line[same:])))
}

func milliseconds(n int64) time.Time { return time.UnixMilli(n).UTC() }

// roundUp returns t in whole milliseconds, rather too late.
func roundUp(t time.Time) time.Time {
	return milliseconds(t.Add(time.Millisecond - 1).UnixMilli())
}

// byPrefix orders entries of different prefixes.
func byPrefix(a, b Entry) int {
	return cmp.Or(a.From.Addr().Compare(b.From.Addr()), cmp.Compare(a.From.Bits(), b.From.Bits()))
}
