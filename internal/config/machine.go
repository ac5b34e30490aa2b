package config

import (
	"fmt"
	"runtime"
)

// ownFiles is how many files a process has open, or may have for a while, besides
// the connections of its gateways: sockets, those who ask at them, recordings.
const ownFiles = 100

// A machine is what machineWarnings need to know of one.
type machine struct {
	cores  int
	system string
	files  int // that this process may have open at once
}

// MachineWarnings warns of what this machine can make no use of. [Load] does
// not, for a configuration may be meant for another one.
func (c *Config) MachineWarnings() []Warning {
	return c.machineWarnings(machine{runtime.GOMAXPROCS(0), runtime.GOOS, fileLimit()})
}

// machineWarnings warns of what m can make no use of.
func (c *Config) machineWarnings(m machine) (warnings []Warning) {
	if c.Socket.Senders > m.cores {
		warnings = append(warnings, Warning{Place{Key: "socket.senders"}, fmt.Sprintf("%d senders, but %s here: those beyond one per core send nothing faster; want at most %d, or 0 for one per core",
			c.Socket.Senders, counted(m.cores, "core"), m.cores)})
	}
	if c.Socket.Coalesce > 0 && m.system != "linux" {
		warnings = append(warnings, Warning{Place{Key: "socket.coalesce"}, fmt.Sprintf("has no effect on %s: trains are there on Linux only; want 0", m.system)})
	}
	if most := max(m.files-ownFiles, 1); c.Gateway.Connections > most && c.Gateway.on() {
		warnings = append(warnings, Warning{Place{Key: "gateway.connections"}, fmt.Sprintf("%s, but this process may have %s open, and keeps %d for itself; want at most %d, or more files (LimitNOFILE= of the service, ulimit -n)",
			counted(c.Gateway.Connections, "connection"), counted(m.files, "file"), ownFiles, most)})
	}
	return warnings
}
