package filetransfer

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// A script is a connection that brings these pieces, and then ends with last.
type script struct {
	pieces []string
	last   error
}

func (s *script) SetReadDeadline(time.Time) error { return nil }

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, s.last
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func TestHellos(t *testing.T) {
	silent := os.ErrDeadlineExceeded
	for name, test := range map[string]struct {
		script script
		want   hello
		rest   string
		err    string
	}{
		"bare":              {script{[]string{"a.txt"}, silent}, hello{name: "a.txt"}, "", ""},
		"bare, in parts":    {script{[]string{"a", ".txt"}, silent}, hello{name: "a.txt"}, "", ""},
		"line":              {script{[]string{"a.txt\n"}, silent}, hello{name: "a.txt", line: true}, "", ""},
		"line, late":        {script{[]string{"a.txt", "\n"}, silent}, hello{name: "a.txt", line: true}, "", ""},
		"line of Windows":   {script{[]string{"a.txt\r\n"}, silent}, hello{name: "a.txt", line: true}, "", ""},
		"no wait for ok":    {script{[]string{"a.txt\nline\n"}, io.EOF}, hello{name: "a.txt", line: true}, "line\n", ""},
		"empty line":        {script{[]string{"\n"}, silent}, hello{line: true}, "", ""},
		"checked":           {script{[]string{magic + "12 a b.txt\n1"}, silent}, hello{name: "a b.txt", line: true, checked: true, size: 12}, "1", ""},
		"checked, bare":     {script{[]string{magic + "12 a.txt"}, silent}, hello{name: magic + "12 a.txt"}, "", ""},
		"checked, no name":  {script{[]string{magic + "12\n"}, silent}, hello{}, "", "cannot be understood"},
		"checked, negative": {script{[]string{magic + "-1 a\n"}, silent}, hello{}, "", "cannot be understood"},
		"checked, padded":   {script{[]string{magic + "01 a\n"}, silent}, hello{}, "", "cannot be understood"},
		"checked, huge":     {script{[]string{magic + "9223372036854775808 a\n"}, silent}, hello{}, "", "cannot be understood"},
		"nothing":           {script{nil, io.EOF}, hello{}, "", errNoName.Error()},
		"cut off":           {script{[]string{"a.t"}, io.EOF}, hello{}, "", errNoName.Error()},
		"reset":             {script{[]string{"a.t"}, errors.New("reset")}, hello{}, "", "reset"},
		"silent":            {script{nil, silent}, hello{}, "", silent.Error()},
		"endless":           {script{[]string{strings.Repeat("a", 5000)}, silent}, hello{}, "", "too long"},
	} {
		got, rest, err := readHello(&test.script, time.Now().Add(time.Hour), time.Minute)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: want an error with %q, got %v", name, test.err, err)
			}
			continue
		}
		if err != nil || got != test.want || string(rest) != test.rest {
			t.Errorf("%s: want %+v and %q, got %+v and %q, %v", name, test.want, test.rest, got, rest, err)
		}
	}
}

// FuzzHello: the name and what follows are the bytes that came, however they
// were cut, and no more than is needed is kept.
func FuzzHello(f *testing.F) {
	f.Add("a.txt\nbytes", 3)
	f.Add(magic+"5 a\nbytes", 20)
	f.Add(strings.Repeat("x", 600), 1)
	f.Add("a\r\n", 2)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		cut = min(max(cut, 0), len(text))
		h, rest, err := readHello(&script{[]string{text[:cut], text[cut:]}, os.ErrDeadlineExceeded}, time.Now().Add(time.Hour), time.Minute)
		if err != nil {
			return
		}
		if len(h.name) > maxHello || len(rest) > maxHello {
			t.Fatalf("kept are %d bytes of a name and %d more", len(h.name), len(rest))
		}
		if said := strings.Replace(text, "\r\n", "\n", 1); h.line && !strings.HasPrefix(said, h.String()+string(rest)) && !strings.HasPrefix(text, h.String()+string(rest)) {
			t.Fatalf("%q is read as %q and %q", text, h, rest)
		}
		if !h.line && h.name != text {
			t.Fatalf("%q is read as %q", text, h)
		}
		if again, err := parseHello(strings.TrimSuffix(h.String(), "\n"), h.line); err != nil || CheckName(h.name) == nil && again != h {
			t.Fatalf("%+v becomes %+v, %v", h, again, err)
		}
	})
}

func TestAnswers(t *testing.T) {
	sum := Sum(sha256.Sum256(nil))
	received := answer{received: true, count: 12, sum: sum}
	for said, want := range map[string]answer{
		received.String():                          received,
		"\r\n" + received.String():                 received,
		"received 12 " + sum.String() + "\r\n":     received,
		"received 12 " + sum.String():              {text: "received 12 " + sum.String()}, // cut off, perhaps
		"received -1 " + sum.String() + "\n":       {text: "received -1 " + sum.String()},
		"received 1 " + sum.String()[:62] + "zz\n": {text: "received 1 " + sum.String()[:62] + "zz"},
		"error: no room\n":                         {why: "no room"},
		"error: \x1b[2Jno\u202e\n":                 {why: "?[2Jno?"},
		"":                                         {},
		"\n":                                       {},
		"thanks\nbye\n":                            {text: "thanks"},
	} {
		if got := parseAnswer(said); got != want {
			t.Errorf("%q: want %+v, got %+v", said, want, got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("received 12 " + Sum{}.String() + "\n")
	f.Add("error: no\n")
	f.Add("ok\n\x1b")
	f.Fuzz(func(t *testing.T, said string) {
		a := parseAnswer(said)
		if a.count < 0 || a.received && (a.why != "" || a.text != "") || strings.ContainsAny(a.why+a.text, "\n\x1b\u202e") || len(a.why+a.text) > 310 {
			t.Fatalf("%q is read as %+v", said, a)
		}
		if a.received || a.why != "" {
			if again := parseAnswer(a.String()); again.received != a.received || again.count != a.count || again.sum != a.sum {
				t.Fatalf("%+v becomes %+v", a, again)
			}
		}
	})
}
