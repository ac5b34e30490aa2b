//go:build !linux

package filetransfer

import (
	"errors"
	"os"
)

func canLinkNameless() bool { return false }

func createNameless(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

func linkNameless(*os.File, *os.File, string) error { return errors.ErrUnsupported }

func renameNew(*os.File, string, string) error { return errors.ErrUnsupported }
