package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"udprelay/internal/admin"
)

// A relay that says in its answer which one it is.
type answering struct {
	admin.Control // for what is not asked of it
	name          string
}

func (a answering) Tap(context.Context, admin.Tap, io.Writer) error { return nil }

func (a answering) Reload() (admin.Reloaded, error) {
	return admin.Reloaded{Changed: []string{a.name}}, nil
}

// answer has a relay answer at the socket until the test ends.
func answer(t *testing.T, socket, name string) {
	t.Helper()
	stand(t, socket, &relayOf{control: answering{name: name}})
}

// shortDirectory returns a directory whose name is short enough for a socket.
func shortDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "reload")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return directory
}

func runReload(t *testing.T, environ []string, args ...string) outcome {
	t.Helper()
	return runCommand(t, environ, append([]string{"reload"}, args...)...)
}

// failing is an input that nobody may read.
type failing struct{ t *testing.T }

func (f failing) Read([]byte) (int, error) {
	f.t.Error("want standard input left alone")
	return 0, os.ErrInvalid
}

func TestReloadAsksWhereTheConfigurationSays(t *testing.T) {
	directory := shortDirectory(t)
	at := func(name string) string { return filepath.Join(directory, name) }
	answer(t, at("control.sock"), "default")
	answer(t, at("file.sock"), "file")
	answer(t, at("environment.sock"), "environment")
	named := writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n", at("file.sock")))
	unnamed := writeConfig(t, "listen: \":1\"\n")
	bad := writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n  sokcet: x\n", at("file.sock")))
	warning := "udprelay: warning: asked at the usual places, for here the configuration does not load: " + bad + ":3:3: admin.sokcet: unknown key; did you mean \"socket\"?\n"
	unit := "RUNTIME_DIRECTORY=" + directory
	environment := "UDPRELAY_ADMIN_SOCKET=" + at("environment.sock")
	for _, test := range []struct {
		name    string
		environ []string
		args    []string
		want    string
		stderr  string
	}{
		{"nothing said", []string{unit}, nil, "default", ""},
		{"a file", []string{unit}, []string{"--config", named}, "file", ""},
		{"-c", []string{unit}, []string{"-c", named}, "file", ""},
		{"a file of the environment", []string{unit, "UDPRELAY_CONFIG=" + named}, nil, "file", ""},
		{"a file that names none", []string{unit}, []string{"--config", unnamed}, "default", ""},
		{"the environment", []string{unit, environment}, nil, "environment", ""},
		{"the environment and a file", []string{unit, environment}, []string{"--config", named}, "environment", ""},
		{"a bad file", []string{unit}, []string{"--config", bad}, "default", warning},
		{"a bad file and the environment", []string{unit, environment}, []string{"--config", bad}, "environment", warning},
		{"a bad file and none of the environment", []string{unit, "UDPRELAY_ADMIN_SOCKET=none"}, []string{"--config", bad}, "default", warning},
		{"standard input", []string{unit}, []string{"--config", "-"}, "default", ""},
		{"standard input of the environment", []string{unit, "UDPRELAY_CONFIG=-"}, nil, "default", ""},
		{"a socket", []string{unit, environment, "UDPRELAY_CONFIG=" + named}, []string{"--socket", at("control.sock")}, "default", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			runReload(t, test.environ, test.args...).want(t, outcome{0, "reloaded; changed: " + test.want + "\n", test.stderr})
		})
	}
}

func TestReloadSaysWhatToDoWhenNobodyAnswers(t *testing.T) {
	directory := shortDirectory(t)
	unit := "RUNTIME_DIRECTORY=" + directory
	socket := filepath.Join(directory, "file.sock")
	nobody := "udprelay: no relay answers at the control socket %s: no such file or directory\n"
	const hint = "hint: is the relay running? one that was started with another admin.socket is reloaded with kill -HUP, or restarted\n"
	answer(t, filepath.Join(directory, "control.sock"), "another one")

	named := writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n", socket))
	runReload(t, []string{unit}, "--config", named).want(t, outcome{69, "", fmt.Sprintf(nobody, socket) + hint})
	none := writeConfig(t, "admin:\n  socket: none\n")
	runReload(t, []string{unit}, "--config", none).want(t, outcome{69, "", "udprelay: no control socket: the configuration says admin.socket: none\n" + hint})

	bad := writeConfig(t, "lisen: \":1\"\n")
	empty := shortDirectory(t)
	mistake := "udprelay: " + bad + ":1:1: lisen: unknown key; did you mean \"listen\"?\n"
	runReload(t, []string{"RUNTIME_DIRECTORY=" + empty}, "--config", bad).want(t, outcome{78, "",
		mistake + fmt.Sprintf(nobody, filepath.Join(empty, "control.sock")) + "hint: udprelay check " + bad + "\n"})
	runReload(t, nil, "--config", named, "--socket", socket).want(t, outcome{64, "",
		"udprelay: --config and --socket exclude each other\nhint: see udprelay reload --help\n"})
}
