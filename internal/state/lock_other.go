//go:build !(darwin || freebsd || linux || netbsd || openbsd || windows)

package state

import (
	"errors"
	"os"
)

const openFlags = 0

func lockFile(*os.File) error { return errors.ErrUnsupported }
