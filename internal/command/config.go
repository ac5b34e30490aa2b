package command

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"udprelay/internal/config"
)

// loadConfig loads the configuration that holds in world: the defaults, the
// file called name ("-": standard input; "": the one that UDPRELAY_CONFIG
// names, if any), the environment and flags. Warnings go to standard error.
func loadConfig(world World, name string, flags []config.Setting) (*config.Config, error) {
	loaded, warnings, err := readAll(world, name, flags)
	for _, warning := range warnings {
		fmt.Fprintf(world.Stderr, "udprelay: warning: %s\n", warning)
	}
	return loaded, err
}

// readAll is loadConfig for one who has another place for warnings.
func readAll(world World, name string, flags []config.Setting) (*config.Config, []config.Warning, error) {
	file, err := readConfig(world, name)
	if err != nil {
		return nil, nil, err
	}
	return config.Load(world.DefaultConfig, file, world.Environ, flags)
}

// configName returns the name of the file to read, for a command line that
// says name; "": there is none.
func (w World) configName(name string) string {
	if name == "" {
		return w.getenv(config.FileVariable)
	}
	return name
}

// absolute returns the absolute name of a configuration file, or [config.None] for
// standard input and if there is no file.
func absolute(name string) string {
	if name == "" || name == "-" {
		return config.None
	}
	if absolute, err := filepath.Abs(name); err == nil {
		return absolute
	}
	return name
}

// readConfig returns nil if there is no file to read.
func readConfig(world World, name string) (*config.File, error) {
	switch name = world.configName(name); name {
	case "":
		return nil, nil
	case "-":
		return config.Read(config.StandardInput, world.Stdin)
	}
	return config.ReadFile(name)
}

// configFlags are the flags that stand for keys of the configuration. A flag
// whose key is a list may be given again.
var configFlags = []struct{ name, key, usage string }{
	{"listen", "listen", "receive on `HOST:PORT`, such as :9000"},
	{"peer", "peers.static", "`HOST:PORT` of a peer that is always there; may be repeated"},
	{"allow", "access", "let `FROM[=MAY][=JOIN]` join, instead of the file's rules; may be repeated"},
	{"secret-file", "join.secret_file", "`FILE` with the shared secret of rules with join: secret"},
	{"expiry", "peers.expiry", "forget a learned peer `DURATION` after its last datagram"},
	{"max-peers", "peers.max", "`NUMBER` of learned peers at most; 0: no limit"},
	{"senders", "socket.senders", "`NUMBER` of goroutines that share out the peers; 0: one per core"},
	{"trains", "socket.trains", "`WORD`: auto, or off to send each datagram on its own"},
	{"gateway-tcp", "gateway.tcp.listen", "`HOST:PORT` for clients that connect by TCP; none: off"},
	{"gateway-tls", "gateway.tls.listen", "`HOST:PORT` for clients that connect by TLS; none: off"},
	{"gateway-websocket", "gateway.websocket.listen", "`HOST:PORT` for WebSockets, from browsers and others; none: off"},
	{"gateway-certificate", "gateway.tls.certificate", "PEM `FILE` with the certificate for TLS"},
	{"gateway-key", "gateway.tls.key", "PEM `FILE` with its private key"},
	{"cluster-listen", "cluster.listen", "`HOST:PORT` where other daemons connect to be one relay with this one; none: they do not"},
	{"cluster-route", "cluster.routes", "`HOST:PORT` of such a daemon, instead of the file's; may be repeated"},
	{"cluster-url", "cluster.url", "`URL` of NATS, over which they connect instead; none: to each other"},
	{"cluster-secret-file", "cluster.secret_file", "`FILE` with the secret that these daemons share"},
	{"admin-socket", "admin.socket", "`FILE` of the unix socket for control; none: no control"},
	{"admin-http", "admin.http", "`HOST:PORT` of status, metrics and dashboard, read only; none: off"},
	{"state-file", "state.file", "`FILE` where peers outlive a restart; none: they do not"},
	{"log-level", "log.level", "`WORD`: debug, info, warn or error"},
	{"log-format", "log.format", "`WORD`: text or json"},
}

// repeatable are the keys of configFlags that are lists.
var repeatable = map[string]bool{"peers.static": true, "access": true, "cluster.routes": true}

// cliConfigFlags returns configFlags for a command.
func cliConfigFlags() []cli.Flag {
	var flags []cli.Flag
	for _, f := range configFlags {
		if repeatable[f.key] {
			flags = append(flags, &cli.StringSliceFlag{Name: f.name, Usage: f.usage})
		} else {
			flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage})
		}
	}
	return flags
}

// configSettings returns what the flags of cliConfigFlags were set to.
func configSettings(c *cli.Context) []config.Setting {
	var settings []config.Setting
	for _, f := range configFlags {
		if !c.IsSet(f.name) {
			continue
		}
		values := []string{c.String(f.name)}
		if repeatable[f.key] {
			values = c.StringSlice(f.name)
		}
		for _, value := range values {
			settings = append(settings, config.Setting{Name: "--" + f.name, Key: f.key, Value: value})
		}
	}
	return settings
}
