//go:build unix

package command

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// hungUp catches the SIGHUP that this process gets in the test.
func hungUp(t *testing.T) <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(signals) })
	return signals
}

func TestAServiceThatDoesNotAnswerGetsSIGHUP(t *testing.T) {
	signals := hungUp(t)
	directory := shortDirectory(t)
	socket := filepath.Join(directory, "file.sock")
	unit := []string{"RUNTIME_DIRECTORY=" + directory, fmt.Sprintf("MAINPID=%d", os.Getpid())}
	sent := fmt.Sprintf("; sent SIGHUP to process %d instead: how the reload went is in its log\n", os.Getpid())
	nobody := "udprelay: no relay answers at the control socket %s: no such file or directory" + sent
	bad := writeConfig(t, "lisen: \":1\"\n")
	for _, test := range []struct {
		name, file string
		want       outcome
	}{
		{"another socket", writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n", socket)), outcome{0, "", fmt.Sprintf(nobody, socket)}},
		{"none", writeConfig(t, "admin:\n  socket: none\n"), outcome{0, "", "udprelay: no control socket: the configuration says admin.socket: none" + sent}},
		{"a bad one", bad, outcome{78, "", fmt.Sprintf(nobody, filepath.Join(directory, "control.sock")) +
			"udprelay: " + bad + ":1:1: lisen: unknown key; did you mean \"listen\"?\nhint: udprelay check " + bad + "\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			runReload(t, unit, "--config", test.file).want(t, test.want)
			select {
			case <-signals:
			case <-time.After(testwait.Patience):
				t.Error("want SIGHUP")
			}
		})
	}
	t.Run("a service that answers", func(t *testing.T) {
		answer(t, socket, "it")
		runReload(t, append(unit, "UDPRELAY_ADMIN_SOCKET="+socket)).want(t, outcome{0, "reloaded; changed: it\n", ""})
	})
	t.Run("a socket that is named", func(t *testing.T) {
		got := runReload(t, unit, "--socket", filepath.Join(directory, "missing"))
		if got.code != 69 || strings.Contains(got.stderr, "SIGHUP") {
			t.Errorf("want an error and no signal, got %+v", got)
		}
	})
	for _, id := range []string{"", "0", "1", "-1", "x"} {
		got := runReload(t, []string{unit[0], "MAINPID=" + id})
		if got.code != 69 || strings.Contains(got.stderr, "SIGHUP") {
			t.Errorf("MAINPID=%s: want an error and no signal, got %+v", id, got)
		}
	}
	if len(signals) > 0 {
		t.Error("want no other SIGHUP")
	}
}
