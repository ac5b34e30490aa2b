package licences

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Module is a module that is linked into the program, or the standard library.
type Module struct {
	Path    string // "go" for the standard library
	Version string // "" for the program's own module
	Texts   []Text // at least one, sorted by name
}

// A Text is a file with a licence or with what a licence wants to be kept.
type Text struct {
	Name    string // relative to the module, with slashes
	Content []byte
}

// licence is a file without which a module cannot be given on; kept are those
// that go with it.
var (
	licence = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying`)
	kept    = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying|^notice|^patents|^copyright`)
	source  = regexp.MustCompile(`(?i)\.(go|s|c|h|json|ya?ml)$`)
)

// A listed is what "go list" says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	Root       string
	EmbedFiles []string // relative to Dir
	Module     *struct {
		Path, Version, Dir string
		Replace            *struct{ Path, Version, Dir string }
	}
	Error *struct{ Err string }
}

// Gather returns the modules that are linked into the package in directory,
// sorted by path. environ, such as GOARCH=arm64, is added to that of the
// process. A module without a licence is an error.
func Gather(ctx context.Context, directory string, environ ...string) ([]Module, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Root,EmbedFiles,Module,Error", ".")
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), environ...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	return gather(out)
}

// gather reads what "go list -json" prints.
func gather(list []byte) ([]Module, error) {
	roots := map[string]string{}      // a module's path to its directory
	versions := map[string]string{}   // the same, to its version
	packages := map[string][]string{} // the same, to the directories of its packages
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		path, version, root := "go", "", p.Root
		switch {
		case p.Error != nil:
			return nil, fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		case p.Module != nil:
			path, version, root = p.Module.Path, p.Module.Version, p.Module.Dir
			if p.Module.Replace != nil {
				version, root = p.Module.Replace.Version, p.Module.Replace.Dir
			}
		case !p.Standard:
			return nil, fmt.Errorf("%s belongs to no module", p.ImportPath)
		}
		roots[path], versions[path] = root, version
		packages[path] = append(packages[path], p.Dir)
		for _, file := range p.EmbedFiles { // others' work may be among them
			packages[path] = append(packages[path], filepath.Dir(filepath.Join(p.Dir, filepath.FromSlash(file))))
		}
	}
	var modules []Module
	for path, root := range roots {
		texts, err := read(root, packages[path])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		modules = append(modules, Module{path, versions[path], texts})
	}
	slices.SortFunc(modules, func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	return modules, nil
}

// read returns the texts in root and in the directories from there to each of
// packages, for a package may have a licence of its own.
func read(root string, packages []string) ([]Text, error) {
	directories := map[string]bool{root: true}
	for _, directory := range packages {
		for ; directory != root && !directories[directory]; directory = filepath.Dir(directory) {
			if !strings.HasPrefix(directory, root+string(filepath.Separator)) {
				break // "unsafe" and the like have none
			}
			directories[directory] = true
		}
	}
	var texts []Text
	found := false
	for directory := range directories {
		entries, err := os.ReadDir(directory)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if entry.IsDir() || !kept.MatchString(entry.Name()) || source.MatchString(entry.Name()) {
				continue
			}
			content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, filepath.Join(directory, entry.Name()))
			if err != nil {
				return nil, err
			}
			found = found || directory == root && licence.MatchString(entry.Name())
			texts = append(texts, Text{filepath.ToSlash(name), content})
		}
	}
	if !found {
		return nil, fmt.Errorf("no file with a licence in %s", root)
	}
	slices.SortFunc(texts, func(a, b Text) int { return cmp.Compare(a.Name, b.Name) })
	return texts, nil
}
