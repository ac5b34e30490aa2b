package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"udprelay/packaging/internal/completion"
	"udprelay/packaging/internal/licences"
	"udprelay/packaging/internal/usage"
)

// A builder makes the packages of one version.
type builder struct {
	source, scratch string // directories
	version         string
	maintainer      string
	time            time.Time
	program         *usage.Command
}

// askProgram builds the program for this machine and has it say its usage.
func (b *builder) askProgram(ctx context.Context) error {
	file := filepath.Join(b.scratch, "udprelay")
	if err := b.compile(ctx, file); err != nil {
		return err
	}
	var err error
	b.program, err = usage.Read(ctx, file)
	return err
}

// compile builds the program: static, stripped, and the same in any directory.
func (b *builder) compile(ctx context.Context, file string, environ ...string) error {
	environ = append([]string{"CGO_ENABLED=0"}, environ...)
	_, err := call(ctx, b.source, environ, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X udprelay/internal/command.release="+b.version, "-o", file, ".")
	return err
}

// stage puts all that nfpm.yaml names into a directory for one architecture.
func (b *builder) stage(ctx context.Context, arch string) (string, error) {
	s := &stage{directory: filepath.Join(b.scratch, arch), source: b.source}
	environ := []string{"GOOS=linux", "GOARCH=" + arch, "CGO_ENABLED=0", "GOFLAGS="}
	if err := os.MkdirAll(s.directory, 0o755); err != nil {
		return "", err
	}
	if err := b.compile(ctx, filepath.Join(s.directory, "udprelay"), environ...); err != nil {
		return "", err
	}
	modules, err := licences.Gather(ctx, b.source, environ...)
	if err != nil {
		return "", err
	}
	s.copy("packaging/nfpm.yaml", "nfpm.yaml")
	s.copy("config.yaml", "udprelay.yaml")
	s.copy("LICENSE", "LICENSE")
	for _, script := range []string{"deb/postinst", "deb/prerm", "deb/postrm", "rpm/post", "rpm/preun", "rpm/postun"} {
		s.copy("packaging/"+script, script)
	}
	s.copyAll("systemd/*.service", "systemd")
	s.copyAll("packaging/restart.sh", ".")
	for _, page := range []string{"udprelay.8", "udprelay.yaml.5"} {
		s.pack(s.read("docs/man/"+page), "man/"+page+".gz")
	}
	s.write(completion.Bash(b.program), "completion/udprelay.bash")
	s.write(completion.Zsh(b.program), "completion/udprelay.zsh")
	s.write(completion.Fish(b.program), "completion/udprelay.fish")

	// The links between the pages hold: the same places as in the source.
	for _, page := range []string{"README.md", "CHANGELOG.md", "config.yaml"} {
		s.copy(page, "doc/"+page)
	}
	s.copyAll("docs/*.md", "doc/docs")
	s.copyAll("docs/images/*", "doc/docs/images")
	s.copyAll("docs/monitoring/*", "doc/docs/monitoring")
	s.copyAll("systemd/examples/*", "doc/examples")
	s.write(copyright(modules, b.time.Year()), "doc/copyright")
	for _, module := range modules {
		for _, text := range module.Texts {
			s.write(text.Content, "doc/licenses/"+module.Path+"/"+text.Name)
		}
	}
	s.pack(changelog(b.version, b.maintainer, b.time), "changelog.gz")
	return s.directory, s.finish(b.time)
}

// A stage collects files. The first error is kept, and ends all work.
type stage struct {
	directory, source string
	err               error
}

func (s *stage) read(name string) []byte {
	if s.err != nil {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(s.source, filepath.FromSlash(name)))
	s.err = err
	return content
}

func (s *stage) write(content []byte, name string) {
	if s.err != nil {
		return
	}
	name = filepath.Join(s.directory, filepath.FromSlash(name))
	if s.err = os.MkdirAll(filepath.Dir(name), 0o755); s.err == nil {
		s.err = os.WriteFile(name, content, 0o644)
	}
}

func (s *stage) copy(from, to string) { s.write(s.read(from), to) }

// copyAll copies what matches the pattern, which must be something.
func (s *stage) copyAll(pattern, to string) {
	names, err := filepath.Glob(filepath.Join(s.source, filepath.FromSlash(pattern)))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no file matches %s", pattern)
	}
	if err != nil {
		s.err = err
	}
	for _, name := range names {
		s.copy(filepath.ToSlash(strings.TrimPrefix(name, s.source)), to+"/"+filepath.Base(name))
	}
}

// pack writes content compressed, without a name or time.
func (s *stage) pack(content []byte, name string) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, _ = w.Write(content) // to memory
		err = w.Close()
	}
	if err != nil {
		s.err = err
	}
	s.write(b.Bytes(), name)
}

// finish gives all files the modes and the time that they have in the packages,
// whatever the umask.
func (s *stage) finish(at time.Time) error {
	if s.err != nil {
		return s.err
	}
	return filepath.Walk(s.directory, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info.IsDir() || name == filepath.Join(s.directory, "udprelay") {
			mode = 0o755
		}
		if err := os.Chmod(name, mode); err != nil {
			return err
		}
		return os.Chtimes(name, at, at)
	})
}

// copyright returns the file of that name that Debian wants.
func copyright(modules []licences.Module, year int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `udprelay: a UDP datagram broadcast relay

Copyright (c) %d the udprelay authors

Licensed under the Apache License, Version 2.0 (the "License"); you may not use
this program except in compliance with the License. Unless required by
applicable law or agreed to in writing, it is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
License for the specific language governing permissions and limitations.

On Debian systems the License is in /usr/share/common-licenses/Apache-2.0.

These are linked into the program; their copyright notices and licences are in
/usr/share/doc/udprelay/licenses:

`, year)
	for _, module := range modules {
		switch {
		case module.Path == "go":
			b.WriteString("  go (the standard library)\n")
		case module.Version != "":
			fmt.Fprintf(&b, "  %s %s\n", module.Path, module.Version)
		}
	}
	return b.Bytes()
}

// changelog returns one in Debian's form. What has changed is in CHANGELOG.md.
func changelog(version, maintainer string, at time.Time) []byte {
	return fmt.Appendf(nil, `udprelay (%s) unstable; urgency=medium

  * See CHANGELOG.md.

 -- %s  %s
`, version, maintainer, at.Format(time.RFC1123Z))
}
