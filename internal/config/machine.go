package config

import (
	"fmt"
	"runtime"
)

// MachineWarnings warns of what this machine can make no use of. [Load] does
// not, for a configuration may be meant for another one.
func (c *Config) MachineWarnings() []Warning {
	return c.machineWarnings(runtime.GOMAXPROCS(0), runtime.GOOS)
}

// machineWarnings warns of what a machine with so many cores and this system can
// make no use of.
func (c *Config) machineWarnings(cores int, system string) (warnings []Warning) {
	if c.Socket.Senders > cores {
		warnings = append(warnings, Warning{Place{Key: "socket.senders"}, fmt.Sprintf("%d senders, but %s here: those beyond one per core send nothing faster; want at most %d, or 0 for one per core",
			c.Socket.Senders, counted(cores, "core"), cores)})
	}
	if c.Socket.Coalesce > 0 && system != "linux" {
		warnings = append(warnings, Warning{Place{Key: "socket.coalesce"}, fmt.Sprintf("has no effect on %s: trains are there on Linux only; want 0", system)})
	}
	return warnings
}
