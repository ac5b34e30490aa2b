package stream

import "fmt"

// decodeHex returns the bytes of a line of hex. Blanks may stand anywhere but
// within a byte, a colon between two bytes; columns in errors count from 1.
func decodeHex(line []byte) ([]byte, error) {
	payload := make([]byte, 0, len(line)/2)
	colon := 0 // the column of a colon that waits for its byte
	for i := 0; i < len(line); {
		switch c := line[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case ':':
			if len(payload) == 0 || colon > 0 {
				return nil, fmt.Errorf("column %d: a colon stands between two bytes", i+1)
			}
			i++
			colon = i
		default:
			high, ok := digit(c)
			if !ok {
				return nil, fmt.Errorf("column %d: %s is not a hex digit", i+1, quoteByte(c))
			}
			if i+1 == len(line) || isSeparator(line[i+1]) {
				return nil, fmt.Errorf("column %d: a byte has two hex digits, not one", i+1)
			}
			low, ok := digit(line[i+1])
			if !ok {
				return nil, fmt.Errorf("column %d: %s is not a hex digit", i+2, quoteByte(line[i+1]))
			}
			payload = append(payload, high<<4|low)
			i += 2
			colon = 0
		}
	}
	if colon > 0 {
		return nil, fmt.Errorf("column %d: a colon stands between two bytes", colon)
	}
	return payload, nil
}

func isSeparator(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ':'
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// quoteByte shows a character of the input, which may be anything.
func quoteByte(c byte) string {
	if 0x20 < c && c < 0x7f {
		return fmt.Sprintf("'%c'", c)
	}
	return fmt.Sprintf("byte 0x%02x", c)
}
