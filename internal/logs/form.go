package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// newForm returns a handler that gives w each line in the form that o asks for,
// with one call of Write.
func newForm(w io.Writer, level slog.Leveler, o Options) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	switch {
	case o.To == Journal && o.JSON:
		return &fronted{w: w, level: level, front: priority, rest: func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) }}
	case o.JSON:
		return slog.NewJSONHandler(w, options)
	case o.To == Journal:
		return &fronted{w: w, level: level, front: journalFront, between: " ", bare: true, rest: newAttrs}
	case o.To == Terminal:
		return &fronted{w: w, level: level, front: terminalFront, between: "  ", bare: true, rest: newAttrs}
	}
	return slog.NewTextHandler(w, options)
}

// A fronted is a handler whose lines begin with a front of their own. What
// follows comes from a handler of log/slog, made for each line so that nothing
// is locked while values that know how to log themselves are asked.
type fronted struct {
	w       io.Writer
	level   slog.Leveler
	front   func(line *bytes.Buffer, r slog.Record)
	between string // front and the rest, if there is a rest
	bare    bool   // the rest has only the attributes
	rest    func(io.Writer) slog.Handler
	with    []func(slog.Handler) slog.Handler // the groups and attributes so far
}

func (f *fronted) Enabled(_ context.Context, level slog.Level) bool { return level >= f.level.Level() }

func (f *fronted) Handle(ctx context.Context, r slog.Record) error {
	var line, rest bytes.Buffer
	f.front(&line, r)
	h := f.rest(&rest)
	for _, with := range f.with {
		h = with(h)
	}
	r.Time = time.Time{} // is left out
	if f.bare {
		r.Level, r.Message = noLevel, noMessage
	}
	if err := h.Handle(ctx, r); err != nil {
		return err
	}
	if rest.Len() > 1 { // beyond the end of the line
		line.WriteString(f.between)
	}
	line.Write(rest.Bytes())
	_, err := f.w.Write(line.Bytes())
	return err
}

func (f *fronted) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.Clone(attrs)
	for i := range attrs {
		attrs[i].Value = attrs[i].Value.Resolve() // as it is now
	}
	return f.add(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (f *fronted) WithGroup(name string) slog.Handler {
	return f.add(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f *fronted) add(with func(slog.Handler) slog.Handler) slog.Handler {
	added := *f
	added.with = append(slices.Clip(f.with), with)
	return &added
}

// What stands in a record for the level and the message that are left out. An
// attribute that is called level or msg has another value and stays.
const (
	noLevel   = slog.Level(math.MinInt)
	noMessage = "\x00"
)

// newAttrs returns a handler that writes the attributes only.
func newAttrs(w io.Writer) slog.Handler { return slog.NewTextHandler(w, &attrsOnly) }

var attrsOnly = slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == slog.LevelKey && a.Value.Kind() == slog.KindAny && a.Value.Any() == any(noLevel),
		a.Key == slog.MessageKey && a.Value.Kind() == slog.KindString && a.Value.String() == noMessage:
		return slog.Attr{}
	}
	return a
}}

// terminalFront is what a person reads first.
func terminalFront(line *bytes.Buffer, r slog.Record) {
	if !r.Time.IsZero() {
		line.WriteString(r.Time.Local().Format(time.TimeOnly))
		line.WriteByte(' ')
	}
	fmt.Fprintf(line, "%-5s ", r.Level)
	line.WriteString(oneLine(r.Message))
}

func journalFront(line *bytes.Buffer, r slog.Record) {
	priority(line, r)
	line.WriteString(oneLine(r.Message))
}

// priority is the prefix that tells the journal how important a line is:
// SD_DEBUG, SD_INFO, SD_WARNING and SD_ERR of sd-daemon(3).
func priority(line *bytes.Buffer, r slog.Record) {
	prefix := "<3>"
	switch {
	case r.Level < slog.LevelInfo:
		prefix = "<7>"
	case r.Level < slog.LevelWarn:
		prefix = "<6>"
	case r.Level < slog.LevelError:
		prefix = "<4>"
	}
	line.WriteString(prefix)
}

// oneLine returns message as it is if all of it prints, otherwise quoted.
func oneLine(message string) string {
	if message == "" || !utf8.ValidString(message) || strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(message)
	}
	return message
}
