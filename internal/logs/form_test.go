package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

// at is when the lines of tests are logged.
var at = time.Date(2026, time.November, 22, 15, 4, 5, 678_000_000, time.Local)

// forms are all there are, with the line that each makes of the same record.
var forms = map[string]struct {
	options Options
	want    string
}{
	"file":          {Options{}, "time=" + at.Format("2006-01-02T15:04:05.000Z07:00") + ` level=WARN msg="static peer does not resolve" peer=a.example:1 level=high msg=none why.error="no such host"` + "\n"},
	"file, JSON":    {Options{JSON: true}, `{"time":"` + at.Format(time.RFC3339Nano) + `","level":"WARN","msg":"static peer does not resolve","peer":"a.example:1","level":"high","msg":"none","why":{"error":"no such host"}}` + "\n"},
	"terminal":      {Options{To: Terminal}, `15:04:05 WARN  static peer does not resolve  peer=a.example:1 level=high msg=none why.error="no such host"` + "\n"},
	"journal":       {Options{To: Journal}, `<4>static peer does not resolve peer=a.example:1 level=high msg=none why.error="no such host"` + "\n"},
	"journal, JSON": {Options{To: Journal, JSON: true}, `<4>{"level":"WARN","msg":"static peer does not resolve","peer":"a.example:1","level":"high","msg":"none","why":{"error":"no such host"}}` + "\n"},
}

func TestFormsOfALine(t *testing.T) {
	for name, form := range forms {
		var got bytes.Buffer
		h := newForm(&got, slog.LevelDebug, form.options).
			WithAttrs([]slog.Attr{slog.String("peer", "a.example:1"), slog.String("level", "high"), slog.String("msg", "none")}).
			WithGroup("why")
		r := slog.NewRecord(at, slog.LevelWarn, "static peer does not resolve", 0)
		r.AddAttrs(slog.Any("error", errors.New("no such host")))
		if err := h.Handle(context.Background(), r); err != nil || got.String() != form.want {
			t.Errorf("%s: want\n%sgot %v and\n%s", name, form.want, err, got.String())
		}
	}
}

func TestPriorityIsThatOfTheLevel(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 1: "<7>x\n",
		slog.LevelDebug:     "<7>x\n",
		slog.LevelInfo:      "<6>x\n",
		slog.LevelInfo + 1:  "<6>x\n",
		slog.LevelWarn:      "<4>x\n",
		slog.LevelError:     "<3>x\n",
		slog.LevelError + 9: "<3>x\n",
	} {
		var got bytes.Buffer
		newForm(&got, level, Options{To: Journal}).Handle(context.Background(), slog.NewRecord(at, level, "x", 0))
		if got.String() != want {
			t.Errorf("%s: want %q, got %q", level, want, got.String())
		}
	}
}

func TestWhatDoesNotPrintIsQuoted(t *testing.T) {
	for message, want := range map[string]string{
		"":                  `<6>""`,
		"ünï=1 \"x\" 🔑":     `<6>ünï=1 "x" 🔑`,
		"a\n<3>b":           `<6>"a\n<3>b"`,
		"\x1b[31mred":       `<6>"\x1b[31mred"`,
		"line\u2028another": `<6>"line\u2028another"`,
		"\xff":              `<6>"\xff"`,
		"<3>no priority":    `<6><3>no priority`,
		noMessage:           `<6>"\x00"`,
	} {
		var got bytes.Buffer
		newForm(&got, slog.LevelInfo, Options{To: Journal}).Handle(context.Background(), slog.NewRecord(at, slog.LevelInfo, message, 0))
		if got.String() != want+"\n" {
			t.Errorf("%q: want %s, got %s", message, want, got.String())
		}
	}
}

// A chatty value logs while it is logged, and blocks if logging holds a lock.
type chatty struct{ log *slog.Logger }

func (c chatty) LogValue() slog.Value {
	c.log.Debug("asked")
	return slog.StringValue("value")
}

func TestAValueMayLogItself(t *testing.T) {
	for name, form := range forms {
		var got bytes.Buffer
		log := slog.New(newForm(&got, slog.LevelDebug, form.options))
		log.Info("outer", "value", chatty{log})
		if lines := strings.Count(got.String(), "\n"); lines != 2 {
			t.Errorf("%s: want two lines, got %q", name, got.String())
		}
	}
}

func TestHandlersKeepTheRulesOfSlog(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			var line bytes.Buffer
			slogtest.Run(t, func(*testing.T) slog.Handler {
				line.Reset()
				limit := &limiter{accounts: map[event]*account{}}
				t.Cleanup(func() { limit.closed = true })
				return &limited{newForm(&line, slog.LevelInfo, form.options), limit}
			}, func(t *testing.T) map[string]any {
				got := fields(t, form.options, strings.TrimSuffix(line.String(), "\n"))
				if form.options.To == Journal && !strings.HasSuffix(t.Name(), "/zero-time") {
					got[slog.TimeKey] = at // the journal's
				}
				return got
			})
		})
	}
}

var (
	terminalLine = regexp.MustCompile(`^(?:(..:..:..) )?(\S+) +(\S+)((?:  .*)?)$`)
	journalLine  = regexp.MustCompile(`^<([0-7])>(\S+)((?: .*)?)$`)
)

// fields takes a line with a message of one word apart.
func fields(t *testing.T, o Options, line string) map[string]any {
	t.Helper()
	got := map[string]any{}
	var parts []string
	switch {
	case o.JSON:
		if o.To == Journal {
			line = regexp.MustCompile(`^<[0-7]>`).ReplaceAllString(line, "")
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		return got
	case o.To == Terminal:
		if parts = terminalLine.FindStringSubmatch(line); parts == nil {
			t.Fatalf("want a line for a terminal, got %q", line)
		}
		if parts[1] != "" {
			got[slog.TimeKey] = parts[1]
		}
		got[slog.LevelKey], got[slog.MessageKey], line = parts[2], parts[3], parts[4]
	case o.To == Journal:
		if parts = journalLine.FindStringSubmatch(line); parts == nil {
			t.Fatalf("want a line for the journal, got %q", line)
		}
		got[slog.LevelKey], got[slog.MessageKey], line = parts[1], parts[2], parts[3]
	}
	for field := range strings.FieldsSeq(line) {
		path, value, found := strings.Cut(field, "=")
		if !found {
			t.Fatalf("want key=value, got %q", field)
		}
		at := got
		names := strings.Split(path, ".")
		for _, group := range names[:len(names)-1] {
			if at[group] == nil {
				at[group] = map[string]any{}
			}
			at = at[group].(map[string]any)
		}
		at[names[len(names)-1]] = value
	}
	return got
}

// FuzzLine holds each form to this: whatever is logged makes one line, with
// the front that it ought to have, and JSON is JSON.
func FuzzLine(f *testing.F) {
	f.Add("listening", "address", "[::]:9000", "group", 0)
	f.Add("a\nb", "a\nb", "a\nb", "a\nb", -4)
	f.Add("<3>\r\n", "", "\x00", "", 8)
	f.Add("\xff\u2028", "level", "\"=\\", "msg", 4)
	f.Fuzz(func(t *testing.T, message, key, value, group string, level int) {
		for name, form := range forms {
			var got bytes.Buffer
			h := newForm(&got, slog.Level(level), form.options).WithAttrs([]slog.Attr{slog.String(key, value)}).WithGroup(group)
			r := slog.NewRecord(at, slog.Level(level), message, 0)
			r.AddAttrs(slog.Any(key, errors.New(value)), slog.Any(value, []byte(message)), slog.Any("map", map[string]string{key: value}))
			if err := h.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			line, found := strings.CutSuffix(got.String(), "\n")
			if !found || strings.ContainsAny(line, "\n\r\x00\x1b") {
				t.Fatalf("%s: want one line, got %q", name, got.String())
			}
			if form.options.To == Journal {
				if found = len(line) > 3 && line[0] == '<' && strings.Contains("3467", line[1:2]) && line[2] == '>'; !found {
					t.Fatalf("%s: want a priority, got %q", name, line)
				}
				line = line[3:]
			}
			switch {
			case form.options.JSON:
				if !json.Valid([]byte(line)) {
					t.Fatalf("%s: want JSON, got %q", name, line)
				}
			case form.options.To == Terminal:
				if want := "15:04:05 " + slog.Level(level).String(); !strings.HasPrefix(line, want) {
					t.Fatalf("%s: want %q first, got %q", name, want, line)
				}
			case form.options.To == Journal:
				if want := oneLine(message) + " "; !strings.HasPrefix(line, want) {
					t.Fatalf("%s: want %q first, got %q", name, want, line)
				}
			}
		}
	})
}
