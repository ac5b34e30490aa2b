//go:build !(darwin || freebsd || linux || netbsd || openbsd)

package capture

import "os"

const noFollow = 0

// lock does nothing: Windows does not remove a file that is open.
func lock(*os.File) {}

// locked leaves it to the system to refuse the removal.
func locked(string) bool { return false }
