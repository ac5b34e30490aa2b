//go:build !(darwin || freebsd || linux || netbsd || openbsd)

package filetransfer

import (
	"errors"
	"os"
)

const canLock = false

func lock(*os.File) error { return errors.ErrUnsupported }

var errLocked = errors.New("locked")
