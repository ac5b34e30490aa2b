package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"udprelay": main})
}

// TestScripts runs the program as a user does, with the clients that a user
// has: each file of testdata/script is a shell session.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			port, err := testneed.FreePort()
			env.Setenv("PORT", fmt.Sprint(port))
			return err
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
		},
	})
}

// condition knows tool:NAME, whether a program is installed, and root. In CI
// nothing may be skipped: there what is missing is an error.
func condition(name string) (holds bool, err error) {
	if program, ok := strings.CutPrefix(name, "tool:"); ok {
		_, err = exec.LookPath(program)
	} else if name == "root" {
		if os.Geteuid() != 0 {
			err = errors.New("not root")
		}
	} else {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	if err != nil && os.Getenv("CI") == "true" {
		return false, fmt.Errorf("%s: %w; nothing may be skipped in CI", name, err)
	}
	return err == nil, nil
}

// await FILE PATTERN waits until a line of the file matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file pattern")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	var content []byte
	for deadline := time.Now().Add(testwait.Patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if content, _ = os.ReadFile(ts.MkAbs(args[0])); pattern.Match(content) {
			return
		}
	}
	ts.Fatalf("%s has no match of %q, but:\n%s", args[0], args[1], content)
}
