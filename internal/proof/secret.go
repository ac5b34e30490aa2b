package proof

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 4096

// ShortSecret is the length in bytes below which a secret can be found by
// trial, from one cookie and its answer that were overheard.
const ShortSecret = 16

// ReadSecret reads the shared secret from a file: what is in it, but for a
// line's end after it.
func ReadSecret(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimRight(data, "\r\n")
	switch {
	case len(data) > maxSecret:
		return nil, fmt.Errorf("%s has more than %d bytes: want the secret and nothing else", name, maxSecret)
	case len(secret) == 0:
		return nil, fmt.Errorf("%s is empty: %w", name, errNoSecret)
	}
	return secret, nil
}

var errNoSecret = errors.New("want the secret, such as a line of: openssl rand -hex 32")
