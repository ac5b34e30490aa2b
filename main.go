// Udprelay is a UDP datagram broadcast relay: whoever sends to its socket
// becomes a peer, and whatever a peer sends, every other peer gets.
package main

import (
	_ "embed"
	"os"

	"udprelay/internal/command"
)

// defaultConfig is the commented default configuration, so that the file a
// user copies and the values the program starts with cannot differ.
//
//go:embed config.yaml
var defaultConfig []byte

func main() {
	os.Exit(command.Run(os.Args, command.World{
		Stdin:         os.Stdin,
		Stdout:        os.Stdout,
		Stderr:        os.Stderr,
		Environ:       os.Environ(),
		DefaultConfig: defaultConfig,
	}))
}
