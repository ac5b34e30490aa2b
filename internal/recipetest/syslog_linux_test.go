package recipetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"udprelay/internal/programtest"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// Two collectors get each of more lines than a table of peers has places for one
// address.
func TestSyslogRecipe(t *testing.T) {
	for _, program := range []string{"logger", "rsyslogd", "ss"} {
		testneed.Tool(t, program)
	}
	const lines, part = 300, 100
	recipe := readPage(t, "syslog.md")
	directory := t.TempDir()
	machines := connected(t, "192.0.2.1/24", "192.0.2.21/24", "192.0.2.22/24", "192.0.2.10/24")
	relay, collectors, server := machines[0], machines[1:3], machines[3]

	var files []string
	for i, collector := range collectors {
		const documented = "/var/log/from-relay.log"
		file := filepath.Join(directory, fmt.Sprintf("collector%d.log", i))
		configuration := strings.ReplaceAll(recipe.block(t, "text", documented), documented, file)
		name := write(t, directory, fmt.Sprintf("rsyslog%d.conf", i), configuration)
		start(t, collector, "rsyslogd", "-n", "-f", name, "-i", filepath.Join(directory, fmt.Sprintf("rsyslog%d.pid", i)))
		awaitSocket(t, collector, 514)
		files = append(files, file)
	}
	control := filepath.Join(directory, "control.sock")
	program := programtest.Program(t)
	start(t, relay, program, "serve", "--config", write(t, directory, "relay.yaml", recipe.block(t, "yaml", "may: send")),
		"--admin-socket", control, "--admin-http", "none", "--state-file", "none")
	awaitSocket(t, relay, 514)

	have := func(want ...string) {
		t.Helper()
		for _, file := range files {
			missing := func() (list []string) {
				text, _ := os.ReadFile(file) // rsyslog makes it with the first line
				for _, line := range want {
					if !strings.Contains(string(text), line+"\n") {
						list = append(list, line)
					}
				}
				return list
			}
			testwait.Until(t, func() bool { return len(missing()) == 0 }, func() string { return fmt.Sprintf("want all lines in %s; missing are %q", file, missing()) })
		}
	}
	shell := func(line string) {
		t.Helper()
		server.Feed(t, line, "sh -eu")
	}
	shell(strings.TrimPrefix(recipe.block(t, "console", "logger"), "$ "))
	have("the recipe works")
	for from := 0; from < lines; from += part {
		shell(fmt.Sprintf(`for i in $(seq %d %d); do logger -n 192.0.2.1 -P 514 -d "line $i."; done`, from, from+part-1))
		var want []string
		for i := from; i < from+part; i++ {
			want = append(want, fmt.Sprintf("line %d.", i))
		}
		have(want...)
	}

	var status struct {
		Peers struct{ Learned, Static, Senders int }
		Drops map[string]uint64
	}
	text := relay.Run(t, program+" status --json --socket "+control)
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if status.Peers.Learned != 0 || status.Peers.Static != 2 || status.Peers.Senders != 1 {
		t.Errorf("want two static peers, no learned ones and one sender, got %+v", status.Peers)
	}
	for reason, n := range status.Drops {
		if n > 0 {
			t.Errorf("want nothing dropped, got %s %d", reason, n)
		}
	}
	if list := relay.Run(t, program+" peers --kind sender --socket "+control); !strings.Contains(list, "192.0.2.10:*") {
		t.Errorf("want the sender 192.0.2.10:*, got\n%s", list)
	}
}
