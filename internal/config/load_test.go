package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shipped is the default configuration that is embedded in the binary.
func shipped(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// inputs returns the YAML files of a directory under testdata.
func inputs(t testing.TB, directory string) map[string]*File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", directory, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no input in testdata/%s: %v", directory, err)
	}
	files := map[string]*File{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		files[strings.TrimSuffix(name, ".yaml")] = &File{Name: name, Data: data}
	}
	return files
}

// wanted returns the text that belongs to an input.
func wanted(t testing.TB, directory, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", directory, name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBadFileIsRefusedWithTheExactMessage(t *testing.T) {
	defaults := shipped(t)
	for name, file := range inputs(t, "bad") {
		t.Run(name, func(t *testing.T) {
			loaded, warnings, err := Load(defaults, file, nil, nil)
			if err == nil {
				t.Fatalf("want the errors\n%sgot none", wanted(t, "bad", name))
			}
			if diff := cmp.Diff(wanted(t, "bad", name), err.Error()+"\n"); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if loaded != nil || warnings != nil {
				t.Errorf("want nothing beside the errors, got %v and %v", loaded, warnings)
			}
			var errs Errors
			if !errors.As(err, &errs) || errs.ExitCode() != 78 {
				t.Errorf("want Errors with exit code 78, got %T", err)
			}
		})
	}
}

func TestGoodFileGivesTheEffectiveConfiguration(t *testing.T) {
	defaults := shipped(t)
	for name, file := range inputs(t, "good") {
		t.Run(name, func(t *testing.T) {
			loaded, warnings, err := Load(defaults, file, nil, nil)
			if err != nil {
				t.Fatalf("want no error, got\n%v", err)
			}
			var got strings.Builder
			for _, w := range warnings {
				got.WriteString("# warning: " + w.String() + "\n")
			}
			got.Write(loaded.YAML())
			if diff := cmp.Diff(wanted(t, "good", name), got.String()); diff != "" {
				t.Errorf("warnings and configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEffectiveConfigurationLoadsAsItself(t *testing.T) {
	defaults := shipped(t)
	for name, file := range inputs(t, "good") {
		t.Run(name, func(t *testing.T) {
			first, _, err := Load(defaults, file, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			second, _, err := Load(defaults, &File{Name: "effective.yaml", Data: first.YAML()}, nil, nil)
			if err != nil {
				t.Fatalf("want it to load, got %v of\n%s", err, first.YAML())
			}
			first.Cluster.URL = first.Cluster.ShownURL()
			if diff := cmp.Diff(first, second, comparePrefixes); diff != "" {
				t.Errorf("loaded again (-first +second):\n%s", diff)
			}
		})
	}
}

func TestAHugeFileIsRefused(t *testing.T) {
	file := &File{Name: "huge.yaml", Data: make([]byte, maxFileSize+1)}
	_, _, err := Load(shipped(t), file, nil, nil)
	wantError(t, err, "huge.yaml: the file is larger than 1 MiB; want a configuration")
}

func TestAHopelessFileDoesNotFloodTheLog(t *testing.T) {
	_, _, err := Load(shipped(t), &File{Name: "room.yaml", Data: []byte(strings.Repeat("x: 1\n", 1000))}, nil, nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxErrors+1 {
		t.Fatalf("want %d lines, got %d", maxErrors+1, len(lines))
	}
	if want, got := "room.yaml:100:1: too many errors; what may come after is not shown", lines[maxErrors]; got != want {
		t.Errorf("want the last line %q, got %q", want, got)
	}
}

func TestListsAreBounded(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"access:\n" + strings.Repeat("- from: any\n", maxRules+1), "room.yaml:2:1: access: has 1001 items; want at most 1000"},
		{"peers:\n  static:\n" + strings.Repeat("  - address: a:1\n", maxStatic+1), "room.yaml:3:3: peers.static: has 10001 items; want at most 10000"},
	} {
		_, _, err := Load(shipped(t), &File{Name: "room.yaml", Data: []byte(c.text)}, nil, nil)
		wantError(t, err, c.want)
	}
}

// wantError checks that err is there and says exactly want.
func wantError(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("want the error %q, got none", want)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Fatalf("error (-want +got):\n%s", diff)
	}
}
