package proof

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretIsTheFileWithoutItsLastLineEnd(t *testing.T) {
	longest := strings.Repeat("x", maxSecret)
	for content, want := range map[string]string{
		"swordfish":             "swordfish",
		"swordfish\n":           "swordfish",
		"swordfish\r\n":         "swordfish",
		"swordfish\n\n":         "swordfish",
		" sword\nfish \n":       " sword\nfish ",
		"\nswordfish":           "\nswordfish",
		"\x00\xff\n":            "\x00\xff",
		"x":                     "x",
		longest:                 longest,
		longest[1:] + "\n":      longest[1:],
		"swordfish\t\n":         "swordfish\t",
		"schwertfisch ü\n":      "schwertfisch ü",
		"swordfish\n\r\n\r\n\r": "swordfish",
	} {
		if got, err := ReadSecret(write(t, content)); string(got) != want || err != nil {
			t.Errorf("ReadSecret of %.40q: want %.40q, got %.40q and %v", content, want, got, err)
		}
	}
}

// So that a line of "openssl rand -hex 32" proves what the same line does
// elsewhere, whatever wrote its end.
func TestSecretProvesTheSameWhateverEndsItsLine(t *testing.T) {
	unix, _ := ReadSecret(write(t, "swordfish\n"))
	windows, _ := ReadSecret(write(t, "swordfish\r\n"))
	j := NewJar(unix)
	wantCheck(t, j, Join(cookieFor(t, j, someone, 0), windows), someone, true, 0, Proved)
}

func TestFileWithoutASecretSaysWhatIsWrongAndWhatWouldBeRight(t *testing.T) {
	for content, want := range map[string]string{
		"":                                    "is empty: want the secret, such as a line of: openssl rand -hex 32",
		"\n":                                  "is empty: want the secret, such as a line of: openssl rand -hex 32",
		"\r\n\r\n":                            "is empty: want the secret, such as a line of: openssl rand -hex 32",
		strings.Repeat("x", maxSecret+1):      "has more than 4096 bytes: want the secret and nothing else",
		strings.Repeat("x", 10*maxSecret):     "has more than 4096 bytes: want the secret and nothing else",
		strings.Repeat("\n", maxSecret+1):     "has more than 4096 bytes: want the secret and nothing else",
		strings.Repeat("x", maxSecret) + "\n": "has more than 4096 bytes: want the secret and nothing else",
	} {
		name := write(t, content)
		if got, err := ReadSecret(name); got != nil || err == nil || err.Error() != name+" "+want {
			t.Errorf("ReadSecret of %.40q: want none and %q, got %.40q and %v", content, name+" "+want, got, err)
		}
	}
}

func TestFileThatCannotBeReadIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	if got, err := ReadSecret(missing); got != nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("want an error that %s does not exist, got %q and %v", missing, got, err)
	}
	dir := t.TempDir()
	if got, err := ReadSecret(dir); got != nil || err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("want an error that names the directory %s, got %q and %v", dir, got, err)
	}
}

func write(t *testing.T, content string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
