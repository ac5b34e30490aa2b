package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxDepth is how deep a file may nest; a sensible one nests three deep.
const maxDepth = 20

// A document is a YAML file without its meaning.
type document struct {
	root *yaml.Node // of the first document; nil: there is none
	// second is where a second document starts; nil: there is none.
	second *yaml.Node
}

// parse makes nodes of text, which must have passed checkText.
func parse(text []byte) (doc document, err error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return document{}, err
	}
	var first, second yaml.Node
	if err := loader.Load(&first); err == io.EOF {
		return document{}, nil
	} else if err != nil {
		return document{}, err
	}
	if len(first.Content) > 0 {
		doc.root = first.Content[0]
	}
	if err := loader.Load(&second); err == nil {
		doc.second = &second
	} else if err != io.EOF {
		return document{}, err
	}
	return doc, nil
}

// checkText refuses what is no text that an editor and the YAML library number
// alike: the library gives no place for these, or counts lines differently.
func checkText(text []byte) (line, column int, wrong string) {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return 1, 1, "the file is UTF-16; want UTF-8"
	}
	line, column = 1, 1
	for i := 0; i < len(text); column++ {
		r, width := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			return line, column, fmt.Sprintf("the byte 0x%02x is not UTF-8; want a file in UTF-8", text[i])
		case r == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return line, column, "a carriage return stands alone; want a line feed at the end of each line"
		case r == '\n':
			line, column = line+1, 0
		case r != '\t' && r != '\r' && r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			return line, column, fmt.Sprintf("the invisible character U+%04X; want it removed", r)
		}
		i += width
	}
	return 0, 0, ""
}

// syntaxError says what the YAML library found, where, and what would be
// right, in the words of somebody who has the file open.
func syntaxError(err error, lines []string) (line, column int, message string) {
	var failure *yaml.LoadError
	if !errors.As(err, &failure) {
		return 1, 1, "cannot be read as YAML: " + err.Error()
	}
	line, column = failure.Mark.Line, failure.Mark.Column
	message = reword(failure, lines)
	if atBeginning(failure) && failure.ContextMark.Line > 0 {
		line, column = failure.ContextMark.Line, failure.ContextMark.Column
	}
	return line, column, message
}

// atBeginning reports whether the mistake is where a construct began, for the
// library noticed only at its end, which may be the end of the file.
func atBeginning(failure *yaml.LoadError) bool {
	switch failure.Message {
	case "could not find expected ':'", "found unexpected end of stream", "found unexpected document indicator",
		"did not find expected ',' or ']'", "did not find expected ',' or '}'",
		"did not find expected alphabetic or numeric character":
		return true
	}
	return false
}

func reword(failure *yaml.LoadError, lines []string) string {
	before, at := around(failure.Mark.Line, failure.Mark.Column, lines)
	switch message := failure.Message; {
	case at == '\t', strings.Contains(message, "tab"):
		return "a tab cannot indent; want spaces"
	case message == "found character that cannot start any token":
		return fmt.Sprintf("a value cannot start with %q; want quotes around it", at)
	case strings.HasPrefix(message, "unknown anchor "):
		return `"*" starts an alias, and no anchor has that name; want quotes around a text that starts with "*"`
	case message == "did not find expected alphabetic or numeric character":
		_, first := around(failure.ContextMark.Line, failure.ContextMark.Column, lines)
		return fmt.Sprintf("%q has a meaning of its own in YAML; want quotes around a text that starts with it", first)
	case message == "could not find expected ':'", message == "did not find expected <document start>":
		return `want "key: value", with a space after the ":"`
	case message == "mapping values are not allowed in this context":
		return `a ":" cannot be here; want a space after the ":" of each key, the keys of a section indented alike, and quotes around a text with ": " in it`
	case message == "did not find expected key" && strings.TrimSpace(before) != "":
		return "there is more after the end of the value; want quotes around the whole value"
	case message == "did not find expected key", message == "did not find expected '-' indicator":
		return "the line is indented unlike those above it; want the keys of a section, and the items of a list, indented alike"
	case message == "block sequence entries are not allowed in this context":
		return `a list cannot start here; want each "- " on a line of its own, below the key`
	case message == "did not find expected ',' or ']'":
		return `the list that begins here does not end well; want "," between its items and "]" at the end`
	case message == "did not find expected ',' or '}'":
		return `the section that begins here does not end well; want "," between its keys and "}" at the end`
	case message == "found unexpected end of stream", message == "found unexpected document indicator":
		return "the quoted text that begins here does not end; want the closing quote"
	case message == "found unknown escape character":
		return `an unknown escape after "\"; want single quotes around a text with a "\" in it`
	case message == "did not find expected node content":
		return "a value is missing here; want a value or quotes around a text of special characters"
	case strings.HasPrefix(message, "exceeded max depth"):
		return fmt.Sprintf("nested more than %d deep; want the layout of config.yaml", maxDepth)
	default:
		return "not valid YAML: " + message
	}
}

// around returns what stands in the line before a place, and the character at
// the place itself, 0 if the line ends there.
func around(line, column int, lines []string) (before string, at rune) {
	if line < 1 || line > len(lines) {
		return "", 0
	}
	runes := []rune(lines[line-1])
	if column < 1 || column > len(runes) {
		return string(runes), 0
	}
	return string(runes[:column-1]), runes[column-1]
}
