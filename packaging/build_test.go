package packaging

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"udprelay/internal/testneed"
)

const (
	testVersion = "1.2.3"
	testTime    = "1700000000" // 2023-11-14 22:13:20 UTC
)

// Built is where the packages were made: two copies of the source.
type built struct{ first, second string } // directories

// buildPackages makes all packages, twice, in directories of different names
// and with different environments.
var buildPackages = sync.OnceValues(func() (built, error) {
	b := built{filepath.Join(scratch, "first"), filepath.Join(scratch, "a second place", "of another length")}
	if err := copySource("..", b.first); err != nil {
		return b, err
	}
	if err := copySource(b.first, b.second); err != nil {
		return b, err
	}
	for directory, environ := range map[string][]string{
		b.first:  {"TZ=UTC", "LC_ALL=C"},
		b.second: {"TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "GOOS=windows", "GOARCH=386", "GOAMD64=v3", "CGO_ENABLED=1"},
	} {
		build := filepath.Join(scratch, "build.exe")
		cmd := exec.Command("go", "build", "-o", build, "./packaging/build")
		cmd.Dir = directory
		if out, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("go build: %w\n%s", err, out)
		}
		cmd = exec.Command(build, "-version", testVersion)
		cmd.Dir = directory
		cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH="+testTime), environ...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	return b, nil
})

// copySource copies what is in the source, but for git's and earlier packages.
func copySource(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && (relative == ".git" || relative == "dist"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, relative), 0o750)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), content, 0o640)
	})
}

// names are the packages that there have to be.
var names = map[string]struct {
	packager string
	machine  elf.Machine
}{
	"udprelay_1.2.3_amd64.deb":     {"deb", elf.EM_X86_64},
	"udprelay_1.2.3_arm64.deb":     {"deb", elf.EM_AARCH64},
	"udprelay-1.2.3-1.x86_64.rpm":  {"rpm", elf.EM_X86_64},
	"udprelay-1.2.3-1.aarch64.rpm": {"rpm", elf.EM_AARCH64},
}

// packages returns the directory of the packages.
func packages(t *testing.T) string {
	t.Helper()
	testneed.Linux(t)
	b, err := buildPackages()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(b.first, "dist")
}

// must runs a tool and returns its output.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	testneed.Tool(t, name)
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, &stderr)
	}
	return string(out)
}

func TestPackagesAreThere(t *testing.T) {
	entries, err := os.ReadDir(packages(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, known := names[entry.Name()]; !known {
			t.Errorf("unexpected %s", entry.Name())
		}
	}
	if len(entries) != len(names) {
		t.Errorf("want %d packages, got %d", len(names), len(entries))
	}
}

func TestPackagesAreReproducible(t *testing.T) {
	packages(t)
	b, _ := buildPackages()
	for name := range names {
		var sums [2][sha256.Size]byte
		for i, directory := range []string{b.first, b.second} {
			content, err := os.ReadFile(filepath.Join(directory, "dist", name))
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = sha256.Sum256(content)
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: want the same bytes from two directories", name)
		}
	}
}

// unpack returns a directory with the files of a package.
func unpack(t *testing.T, name string) string {
	t.Helper()
	root, file := t.TempDir(), filepath.Join(packages(t), name)
	if names[name].packager == "deb" {
		must(t, "dpkg-deb", "-x", file, root)
		return root
	}
	testneed.Tool(t, "rpm2cpio")
	testneed.Tool(t, "cpio")
	// nfpm writes absolute names, which cpio would put into the machine's own root.
	must(t, "sh", "-c", `cd "$1" && rpm2cpio "$2" | cpio -idm --quiet --no-absolute-filenames 2>&1`, "sh", root, file)
	return root
}

// The program is of the package's architecture, needs no library or loader, has
// no symbols, and knows its version.
func TestPackagedProgram(t *testing.T) {
	for name, want := range names {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(unpack(t, name), "usr/bin/udprelay")
			program, err := elf.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer program.Close()
			if program.Machine != want.machine {
				t.Errorf("want a program for %v, got %v", want.machine, program.Machine)
			}
			for _, part := range program.Progs {
				if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
					t.Errorf("want a static program, got one with %v", part.Type)
				}
			}
			if program.Section(".symtab") != nil || program.Section(".debug_info") != nil {
				t.Error("want a stripped program")
			}
			native := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
			if want.machine != native[runtime.GOARCH] {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Contains(content, []byte(testVersion)) {
					t.Error("want the version in the program")
				}
				return
			}
			if out := must(t, file, "--version"); out != "udprelay 1.2.3\n" {
				t.Errorf("want the version, got %q", out)
			}
			must(t, file, "check", "--quiet", filepath.Join(filepath.Dir(file), "../../etc/udprelay/udprelay.yaml"))
		})
	}
}
