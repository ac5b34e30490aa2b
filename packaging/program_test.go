package packaging

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"udprelay/packaging/internal/usage"
)

// scratch is a directory for what is built once and used by all tests.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "udprelay-packaging-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(scratch)
	os.Exit(code)
}

// buildProgram builds the program once.
var buildProgram = sync.OnceValues(func() (string, error) {
	name := filepath.Join(scratch, "udprelay.exe")
	cmd := exec.Command("go", "build", "-o", name, ".")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// askProgram has it say its usage once.
var askProgram = sync.OnceValues(func() (*usage.Command, error) {
	name, err := buildProgram()
	if err != nil {
		return nil, err
	}
	return usage.Read(context.Background(), name)
})

// theProgram returns the commands of the real program.
func theProgram(t *testing.T) *usage.Command {
	t.Helper()
	program, err := askProgram()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// runProgram runs the program with no other environment and returns all that it
// says, on standard output and error.
func runProgram(t *testing.T, environ []string, args ...string) ([]byte, error) {
	t.Helper()
	return runProgramWith(t, "", environ, args...)
}

func runProgramWith(t *testing.T, stdin string, environ []string, args ...string) ([]byte, error) {
	t.Helper()
	name, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append([]string{}, environ...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.Bytes(), err
}

// The words of all flags whose values are words are known, so that shells can
// complete them.
func TestWordsOfFlagsAreKnown(t *testing.T) {
	found := 0
	for _, c := range theProgram(t).All() {
		for _, f := range c.Flags {
			if !strings.HasPrefix(f.Arg, "WORD") && !strings.HasPrefix(f.Arg, "FROM") {
				continue
			}
			found++
			if len(f.Words) == 0 {
				t.Errorf("udprelay %s %s ?: want an error that names the words, such as \"; want debug or info\"", c.Name(), f.Names[0])
			}
		}
	}
	if found == 0 {
		t.Error("want flags whose values are words, such as --log-level")
	}
}
