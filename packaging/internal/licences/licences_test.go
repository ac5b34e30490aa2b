package licences

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThisProgram(t *testing.T) {
	modules, err := Gather(t.Context(), "../../..", "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // what a text of each has in it
		"go":                       "Copyright 2009 The Go Authors.",
		"udprelay":                 "Leon Sorokin", // of uPlot, which the dashboard has in it
		"github.com/urfave/cli/v2": "MIT License",
		"golang.org/x/sys":         "PATENTS",
	}
	for _, module := range modules {
		var all strings.Builder
		for _, text := range module.Texts {
			all.WriteString(text.Name + "\n" + string(text.Content))
		}
		if !strings.Contains(all.String(), want[module.Path]) {
			t.Errorf("want %q in the texts of %s, got\n%s", want[module.Path], module.Path, all.String())
		}
		delete(want, module.Path)
		if module.Path == "go.uber.org/goleak" {
			t.Error("want no module that only tests use")
		}
	}
	if len(want) > 0 {
		t.Errorf("want the modules %v, too", want)
	}
}

// list writes what "go list" would say of a package in each of directories, all
// of the module in root.
func list(t *testing.T, root string, directories ...string) []byte {
	t.Helper()
	var out []byte
	for _, directory := range directories {
		line, err := json.Marshal(map[string]any{
			"ImportPath": "example.org/m/" + directory, "Dir": filepath.Join(root, directory),
			"Module": map[string]string{"Path": "example.org/m", "Version": "v1.0.0", "Dir": root},
		})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line...)
	}
	return out
}

func TestTextsOfPackagesBelow(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"LICENCE.md": "root", "NOTICE": "notice", "licence.go": "package m", "a/b/COPYING": "b", "c/LICENSE": "not linked", "README": "no",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "a/b/d"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := gather(list(t, root, ".", "a/b/d"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Module{{"example.org/m", "v1.0.0", []Text{{"LICENCE.md", []byte("root")}, {"NOTICE", []byte("notice")}, {"a/b/COPYING", []byte("b")}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestAModuleWithoutALicenceIsAnError(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "NOTICE"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if modules, err := gather(list(t, root, ".")); err == nil || !strings.HasPrefix(err.Error(), "example.org/m: no file with a licence") {
		t.Errorf("want an error that names the module, got %v, %v", modules, err)
	}
}
