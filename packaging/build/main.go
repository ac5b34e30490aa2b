// Build makes the .deb and .rpm packages of udprelay: "make packages" runs it.
//
// The version is what -version says, or follows from the last tag v*, see
// version.go. SOURCE_DATE_EPOCH (reproducible-builds.org) is the time that all
// files get, in seconds since 1970; without it, the time of the commit.
// MAINTAINER, such as "A Name <name@example.org>", is who answers for the
// packages.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	nfpm       = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"
	maintainer = "The udprelay maintainers <maintainers@udprelay.invalid>" // RFC 2606
)

// architectures are GOARCH and what rpm calls it; for dpkg it is the same.
var architectures = []struct{ goarch, rpm string }{{"amd64", "x86_64"}, {"arm64", "aarch64"}}

func main() {
	given := flag.String("version", "", "`VERSION` of the packages, such as 1.2.3; default: from git")
	dist := flag.String("dist", "dist", "`DIRECTORY` for the packages")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *given, *dist); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run makes all packages of the module in the current directory.
func run(ctx context.Context, given, dist string) error {
	source, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(source, "packaging", "nfpm.yaml")); err != nil {
		return errors.New("run it in the top directory of the source")
	}
	b := builder{source: source, maintainer: cmp.Or(os.Getenv("MAINTAINER"), maintainer)}
	if b.version, err = findVersion(ctx, source, given); err != nil {
		return err
	}
	if b.time, err = findTime(ctx, source); err != nil {
		return err
	}
	if dist, err = filepath.Abs(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "udprelay-packages-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)

	if err := b.askProgram(ctx); err != nil {
		return err
	}
	for _, arch := range architectures {
		stage, err := b.stage(ctx, arch.goarch)
		if err != nil {
			return err
		}
		for packager, name := range map[string]string{
			"deb": fmt.Sprintf("udprelay_%s_%s.deb", b.version, arch.goarch),
			"rpm": fmt.Sprintf("udprelay-%s-1.%s.rpm", b.version, arch.rpm),
		} {
			if err := b.pack(ctx, stage, arch.goarch, packager, filepath.Join(dist, name)); err != nil {
				return err
			}
			fmt.Println(filepath.Join(dist, name))
		}
	}
	return nil
}

// pack calls nfpm in the stage.
func (b *builder) pack(ctx context.Context, stage, arch, packager, target string) error {
	environ := []string{
		"ARCH=" + arch,
		"VERSION=" + b.version,
		"MAINTAINER=" + b.maintainer,
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.time.Unix()),
	}
	_, err := call(ctx, stage, environ, "go", "run", nfpm, "package", "--config", "nfpm.yaml", "--packager", packager, "--target", target)
	return err
}

// call runs a program in directory and returns its output. What else Go's
// variables say of the target is not for it.
func call(ctx context.Context, directory string, environ []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOOS=", "GOARCH=", "GOAMD64=", "GOARM64=", "GOEXPERIMENT=")
	cmd.Env = append(cmd.Env, environ...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(append([]string{name}, args...), " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// findTime returns the time that all files in the packages have.
func findTime(ctx context.Context, source string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := call(ctx, source, nil, "git", "log", "-1", "--format=%ct")
		if err != nil {
			return time.Time{}, fmt.Errorf("no time of a commit; set SOURCE_DATE_EPOCH: %w", err)
		}
		text = strings.TrimSpace(out)
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
