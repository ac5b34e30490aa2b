package stream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// appendPayload appends payload as it appears on the output.
func (o Options) appendPayload(dst, payload []byte) []byte {
	switch o.Mode {
	case Raw:
		return append(dst, payload...)
	case Hex:
		dst = hex.AppendEncode(dst, payload)
	default:
		if o.Terminal {
			dst = appendVisible(dst, payload)
		} else {
			dst = append(dst, payload...)
		}
		if dst[len(dst)-1] == '\n' {
			return dst
		}
	}
	return append(dst, '\n')
}

// appendVisible appends text so that it cannot drive a terminal: it is what a
// peer sent, and peers are not trusted. Tab and newline stay, the carriage
// return of a line that ends as on Windows goes. Other control characters (C0,
// DEL, and C1, which some terminals obey), what is not UTF-8, line separators,
// and the invisible characters of Unicode's category Cf, above all those that
// turn the direction of writing (CVE-2021-42574), are shown as \x1b, \u202e
// or \U000e0001. Only the joiners stay, which scripts and emoji need.
func appendVisible(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\r' && len(text) > 1 && text[1] == '\n':
		case r == utf8.RuneError && size == 1, r < 0x20 && r != '\t' && r != '\n', r == 0x7f:
			dst = fmt.Appendf(dst, `\x%02x`, text[0])
		case isHidden(r):
			quoted := strconv.QuoteRuneToASCII(r)
			dst = append(dst, quoted[1:len(quoted)-1]...)
		default:
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}

func isHidden(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = 0x200c, 0x200d
	return r >= 0x80 && r != zeroWidthNonJoiner && r != zeroWidthJoiner &&
		unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// outputError words the error of a write, or says that nobody reads any more.
func outputError(err error) error {
	if isClosedPipe(err) || errors.Is(err, io.ErrClosedPipe) {
		return errOutputClosed
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("write standard output: %w", err)
}
