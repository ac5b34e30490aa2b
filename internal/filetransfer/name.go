package filetransfer

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the length of the longest name in bytes; file systems take no
// longer ones.
const MaxName = 255

// temporaryPrefix and temporarySuffix enclose the names of files that are being
// received. Such names are refused, as all that begin with a dot.
const temporaryPrefix, temporarySuffix = ".udprelay-", ".part"

// sendable returns why name cannot be sent: it has to be one line that no
// receiver can take for a path.
func sendable(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name has %d bytes; at most %d are allowed", len(name), MaxName)
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("the name has a NUL character")
	case strings.ContainsAny(name, `/\`):
		return errors.New("the name is a path; want a base name, without / and \\")
	case name == "." || name == "..":
		return errors.New("the name is that of a directory")
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("the name has the control character %U", r)
		}
	}
	return nil
}

// CheckName returns why a file with this name is not received, or nil. Refused
// are: an empty name, one of more than [MaxName] bytes, what is not UTF-8,
// paths of any system (with / or \), . and .., control characters, characters
// that do not show or turn the direction of writing, so that the name looks like
// another one (as U+200B, U+202E and tags), the names of devices of Windows with any
// extension (CON, NUL, COM1.txt), a dot or blank at the end, which Windows drops,
// and a dot at the beginning: a hidden file, such as .profile, may be one that a
// program runs. On Windows also < > : " | ? and *. All that is valid elsewhere:
// a file that is received here can be copied to there.
//
// A dash at the beginning is allowed, for the name never stands alone on a
// command line. Forms of Unicode are left as they are.
func CheckName(name string) error { return checkName(name, runtime.GOOS) }

func checkName(name, system string) error {
	if err := sendable(name); err != nil {
		return err
	}
	for _, r := range name {
		if isInvisible(r) {
			return fmt.Errorf("the name has the invisible character %U", r)
		}
	}
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case name[0] == '.':
		return errors.New("the name begins with a dot; hidden files are not received")
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return errors.New("the name ends with a dot or a blank")
	case isDevice(strings.TrimRight(stem, " ")):
		return errors.New("the name is that of a device on Windows")
	case system == "windows" && strings.ContainsAny(name, `<>:"|?*`):
		return errors.New(`the name has a character that Windows does not allow: < > : " | ? *`)
	}
	return nil
}

// isInvisible reports whether nothing shows of r: a format character, or one that
// is to be ignored where it is not known (Default_Ignorable_Code_Point in Unicode).
// Those that scripts and emoji are written with are no such: U+200C and U+200D,
// variation selectors, and the Arabic signs before numbers.
func isInvisible(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.Is(unicode.Cf, r) && r != nonJoiner && r != joiner && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// isDevice reports whether Windows takes stem for a device.
func isDevice(stem string) bool {
	stem = strings.ToUpper(stem)
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	number, ok := strings.CutPrefix(stem, "COM")
	if !ok {
		number, ok = strings.CutPrefix(stem, "LPT")
	}
	return ok && utf8.RuneCountInString(number) == 1 && strings.Contains("0123456789¹²³", number)
}
