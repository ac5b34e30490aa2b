//go:build !linux

package daemon

import (
	"errors"
	"os"
)

// storedMemory is an error: there is no service manager that keeps memory.
func storedMemory(string) (*os.File, error) { return nil, errors.ErrUnsupported }
