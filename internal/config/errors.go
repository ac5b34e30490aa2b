package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// exitConfig is EX_CONFIG of sysexits.h.
const exitConfig = 78

// maxErrors is how many errors are collected: enough for any file that a
// person wrote, and a bound for one that nobody did.
const maxErrors = 100

// A Place says where something stands.
type Place struct {
	Source string // the file, the environment variable or the flag; "": none of them
	Line   int    // from 1; 0: the whole source
	Column int    // from 1, in characters
	Key    string // such as access[1].may; "" where no key is concerned
}

func (p Place) String() string {
	text := p.Source
	if p.Line > 0 {
		text = fmt.Sprintf("%s:%d:%d", text, p.Line, p.Column)
	}
	switch {
	case text == "":
		return p.Key
	case p.Key != "":
		text += ": " + p.Key
	}
	return text
}

// An Error is one mistake, said to the person who made it.
type Error struct {
	Place
	Message string // what is wrong; what would be right
}

func (e Error) Error() string { return e.Place.String() + ": " + e.Message }

// A Warning is something that is allowed, but is hardly what was meant.
type Warning struct {
	Place
	Message string
}

func (w Warning) String() string { return w.Place.String() + ": " + w.Message }

// Errors is every mistake of all the sources, in the order of their places.
type Errors []Error

// Error returns a line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// ExitCode returns the exit code of a program that ends on e.
func (e Errors) ExitCode() int { return exitConfig }

// Hint returns how to go on: with the file that has mistakes in it, if any.
func (e Errors) Hint() string {
	for i := range e {
		if e[i].Line > 0 && e[i].Source != DefaultsName && e[i].Source != StandardInput {
			return "udprelay check " + e[i].Source
		}
	}
	return ""
}

// The kinds of sources, the later beating the earlier.
const (
	fromDefaults = iota
	fromFile
	fromEnvironment
	fromFlags
)

// An origin is where a value was written.
type origin struct {
	kind         int // fromDefaults to fromFlags
	source       string
	line, column int
}

func (o origin) place(key string) Place { return Place{o.source, o.line, o.column, key} }

// compare orders origins by their kinds, and those of a file by their places.
func (o origin) compare(other origin) int {
	return cmp.Or(o.kind-other.kind, o.line-other.line, o.column-other.column)
}

// String names the origin in the message of another one.
func (o origin) String() string {
	if o.line > 0 {
		return fmt.Sprintf("%s:%d:%d", o.source, o.line, o.column)
	}
	return o.source
}

// A mistake is an error on its way to being sorted by origin.
type mistake struct {
	at      origin
	key     string
	message string
}

func (l *loader) fail(at origin, key, message string) {
	l.mistakes = append(l.mistakes, mistake{at, key, message})
}

// mistaken reports whether the value of a key is wrong in one of the sources.
func (l *loader) mistaken(key string) bool {
	return slices.ContainsFunc(l.mistakes, func(m mistake) bool { return m.key == key })
}

// mistakenIn reports whether the value of a key below path is.
func (l *loader) mistakenIn(path string) bool {
	return slices.ContainsFunc(l.mistakes, func(m mistake) bool { return strings.HasPrefix(m.key, path) })
}

// full reports whether there are so many mistakes that more do not help.
func (l *loader) full() bool { return len(l.mistakes) >= maxErrors }

func (l *loader) warn(at origin, key, message string) {
	l.warnings = append(l.warnings, Warning{at.place(key), message})
}

// err returns the mistakes as Errors, or nil if there are none.
func (l *loader) err() error {
	if len(l.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(l.mistakes, func(a, b mistake) int { return a.at.compare(b.at) })
	var errs Errors
	for _, m := range l.mistakes[:min(len(l.mistakes), maxErrors)] {
		errs = append(errs, Error{m.at.place(m.key), m.message})
	}
	if l.full() {
		last := errs[len(errs)-1].Place
		last.Key = ""
		errs = append(errs, Error{last, "too many errors; what may come after is not shown"})
	}
	return errs
}
