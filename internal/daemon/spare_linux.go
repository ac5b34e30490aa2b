package daemon

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"udprelay/internal/systemd"
)

// storedMemory returns memory that the service manager keeps under a name
// (memfd_create, Linux 3.17). It is an error if there is no service manager.
func storedMemory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), name)
	stored, err := systemd.Store(name, file)
	if err == nil && !stored {
		err = errors.New("no service manager keeps memory")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
