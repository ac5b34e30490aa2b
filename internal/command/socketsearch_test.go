package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"udprelay/internal/config"
)

// What is meant for one relay must not be done to another.
func TestACommandForAnotherRelayIsRefused(t *testing.T) {
	directory := shortDirectory(t)
	socket := filepath.Join(directory, "control.sock")
	runs, link, other := filepath.Join(directory, "main.yaml"), filepath.Join(directory, "link.yaml"), filepath.Join(directory, "games.yaml")
	for _, name := range []string{runs, other} {
		if err := os.WriteFile(name, fmt.Appendf(nil, "admin:\n  socket: %q\n", socket), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(runs, link); err != nil {
		t.Fatal(err)
	}
	doorman := &doorman{}
	relay := &relayOf{control: doorman}
	relay.status.Config = runs
	stand(t, socket, relay)
	commands := [][]string{{"status"}, {"peers"}, {"reload"}, {"ban", "192.0.2.1"}, {"ban", "--list"}, {"unban", "192.0.2.1"}, {"kick", "192.0.2.1"}, {"why", "192.0.2.1"}, {"tap", "--write", filepath.Join(directory, "x.pcapng")}}
	for _, args := range commands {
		for _, file := range []string{runs, link, other} {
			got := runCommand(t, nil, append([]string{args[0], "--config", file}, args[1:]...)...)
			refused := strings.Contains(got.stderr, fmt.Sprintf("the relay at %s runs %s, not %s; nothing was asked of it", socket, runs, file))
			if want := file == other; refused != want || want && (got.code != 69 || got.stdout != "") {
				t.Errorf("%s --config %s: want it refused: %t; got %+v", args[0], file, want, got)
			}
		}
	}
	asked := doorman.asked
	if got := runCommand(t, nil, "ban", "--config", other, "198.51.100.1"); got.code != 69 || doorman.asked != asked {
		t.Errorf("want no ban; got %+v, %q", got, doorman.asked)
	}

	socket = filepath.Join(directory, "second.sock")
	if err := os.WriteFile(other, fmt.Appendf(nil, "admin:\n  socket: %q\n", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	without := &relayOf{}
	without.status.Config = config.None
	stand(t, socket, without)
	if got := runCommand(t, nil, "status", "--config", other); got.code != 69 || !strings.Contains(got.stderr, "runs no configuration file, not "+other) {
		t.Errorf("want it refused; got %+v", got)
	}
	older := filepath.Join(directory, "older.sock") // says nothing about it
	if err := os.WriteFile(other, fmt.Appendf(nil, "admin:\n  socket: %q\n", older), 0o600); err != nil {
		t.Fatal(err)
	}
	stand(t, older, &relayOf{})
	if got := runCommand(t, nil, "status", "--config", other); got.code != 0 {
		t.Errorf("want an answer; got %+v", got)
	}
}
