package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// withSecret returns a configuration that asks for the secret in a file.
func withSecret(t *testing.T, name string) *Config {
	t.Helper()
	loaded, _ := load(t, "", nil, []Setting{{"--allow", "access", "any=secret"}, {"--secret-file", "join.secret_file", name}})
	return loaded
}

// writeSecret writes a file with a mode, whatever the umask, and returns its
// name.
func writeSecret(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSecretIsReadWithoutTheEndOfItsLine(t *testing.T) {
	const secret = "0123456789abcdef"
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o640} {
		got, warnings, err := withSecret(t, writeSecret(t, secret+"\n", mode)).ReadSecret()
		if err != nil || string(got) != secret || len(warnings) > 0 {
			t.Errorf("%o: want %q and no warning, got %q, %v and %v", mode, secret, got, warnings, err)
		}
	}
}

func TestSecretOfNoUseIsNotRead(t *testing.T) {
	loaded, _ := load(t, "", nil, []Setting{{"--secret-file", "join.secret_file", "/nowhere"}})
	if got, warnings, err := loaded.ReadSecret(); got != nil || warnings != nil || err != nil {
		t.Errorf("want nothing, got %q, %v and %v", got, warnings, err)
	}
}

func TestWeakSecretIsAWarning(t *testing.T) {
	const (
		long  = "; want at least 16 bytes, such as a line of: openssl rand -hex 32"
		modes = "every user of this machine may read the secret; want a file that others may not read (chmod o-r)"
	)
	for _, c := range []struct {
		text string
		mode fs.FileMode
		want []string
	}{
		{"x", 0o600, []string{"the secret is 1 byte long and can be found by trial" + long}},
		{"0123456789abcde\n", 0o600, []string{"the secret is 15 bytes long and can be found by trial" + long}},
		{"0123456789abcdef", 0o644, []string{modes}},
		{"pass\r\n", 0o604, []string{"the secret is 4 bytes long and can be found by trial" + long, modes}},
	} {
		if runtime.GOOS == "windows" && c.mode != 0o600 {
			continue // no such modes
		}
		name := writeSecret(t, c.text, c.mode)
		_, warnings, err := withSecret(t, name).ReadSecret()
		if err != nil || len(warnings) != len(c.want) {
			t.Errorf("%q: want %d warnings, got %v and %v", c.text, len(c.want), warnings, err)
			continue
		}
		for i, want := range c.want {
			if got := warnings[i].String(); got != name+": join.secret_file: "+want {
				t.Errorf("%q: want the warning %q, got %q", c.text, want, got)
			}
		}
	}
}

func TestUnreadableSecretIsNamedWithAWayOut(t *testing.T) {
	directory := t.TempDir()
	missing := filepath.Join(directory, "secret")
	const empty = "is empty; want the secret, such as a line of: openssl rand -hex 32"
	for name, want := range map[string][2]string{
		missing:                         {"there is no such file", "(umask 077; openssl rand -hex 32 > " + missing + ") makes one"},
		directory:                       {"is a directory; want a file", ""},
		writeSecret(t, "", 0o600):       {empty, ""},
		writeSecret(t, "\r\n\n", 0o600): {empty, ""},
		writeSecret(t, strings.Repeat("x", 4097), 0o600): {"has more than 4096 bytes; want the secret and nothing else", ""},
	} {
		secret, _, err := withSecret(t, name).ReadSecret()
		wantError(t, err, name+": join.secret_file: "+want[0])
		var unreadable *UnreadableSecret
		if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || unreadable.Hint() != want[1] || secret != nil {
			t.Errorf("want exit code 78, the hint %q and no secret, got %+v and %q", want[1], unreadable, secret)
		}
	}
}

func TestSecretOfAnotherUserIsNamedWithAWayOut(t *testing.T) {
	err := error(&UnreadableSecret{"/etc/udprelay/secret", secretKey, &fs.PathError{Op: "open", Path: "/etc/udprelay/secret", Err: fs.ErrPermission}})
	wantError(t, err, "/etc/udprelay/secret: join.secret_file: this user may not read the file")
	const want = "give the file to the user that the relay runs as, or with systemd use LoadCredential="
	if hint := err.(*UnreadableSecret).Hint(); hint != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("want the hint %q, got %q", want, hint)
	}
}
