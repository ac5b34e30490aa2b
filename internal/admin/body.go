package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mostBody bounds the body of a request, in bytes.
const mostBody = 16 << 10

// A field is one that the body of a request may have.
type field struct {
	name     string
	required bool
	example  string                            // a value that is right, as JSON
	set      func(value json.RawMessage) error // says what would be right
}

// readBody reads the body of request, a JSON object with some of the fields. If
// it is not right it refuses the request and returns false.
//
// Which Content-Type the body says it has does not matter: curl -d says that of
// a form. A web page that makes a browser send one cannot do it over a unix
// socket.
func readBody(w http.ResponseWriter, request *http.Request, fields ...field) bool {
	if !noParameters(w, request) {
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, mostBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		answer(w, http.StatusRequestEntityTooLarge, &Failure{Message: fmt.Sprintf("the body is too long; want %d bytes at most", tooLarge.Limit), Code: 64})
		return false
	}
	if err != nil {
		refuse(w, errors.New("the body did not arrive as a whole"))
		return false
	}
	if err := parseBody(body, fields); err != nil {
		refuse(w, err)
		return false
	}
	return true
}

// parseBody reads a JSON object. Other than package json it takes no unknown
// field, no field twice, no field in other letters, and no invalid UTF-8.
func parseBody(body []byte, fields []field) error {
	names, examples := make([]string, len(fields)), make([]string, len(fields))
	for i, f := range fields {
		names[i], examples[i] = f.name, fmt.Sprintf("%q:%s", f.name, f.example)
	}
	want := "one such as {" + strings.Join(examples, ",") + "}"
	if !utf8.Valid(body) {
		return errors.New("the body is no UTF-8; want " + want)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return errors.New("the body is no JSON object; want " + want)
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return badJSON(err, want)
		}
		name, _ := token.(string)
		at := slices.Index(names, name)
		switch {
		case at < 0:
			return fmt.Errorf("unknown field %s; want %s", printable(name), strings.Join(names, ", "))
		case seen[name]:
			return fmt.Errorf("%s is there twice; want it once", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return badJSON(err, want)
		}
		if err := fields[at].set(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return badJSON(err, want)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object; want nothing")
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			return fmt.Errorf("%s is missing; want %s", f.name, want)
		}
	}
	return nil
}

// badJSON returns what there is to say of an error of package json.
func badJSON(err error, want string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the body ends within the JSON object; want " + want)
	}
	return fmt.Errorf("the body is no JSON: %w; want %s", err, want)
}

// textField returns a field that is a JSON string.
func textField(name string, required bool, example string, set func(string) error) field {
	return field{name, required, strconv.Quote(example), func(value json.RawMessage) error {
		var s *string // nil: null
		if json.Unmarshal(value, &s) != nil || s == nil {
			return fmt.Errorf("%s is no text; want it in double quotes", printable(string(value)))
		}
		return set(*s)
	}}
}
