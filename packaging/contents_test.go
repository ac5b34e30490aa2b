package packaging

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/packaging/internal/licences"
)

// contents are the files of a package but for those of the documentation,
// with their modes, as "tar" writes them.
var contents = map[string][]string{
	"": {
		"-rw-r--r-- /etc/udprelay/udprelay.yaml",
		"-rw-r--r-- /usr/lib/systemd/system/udprelay.service",
		"-rw-r--r-- /usr/lib/systemd/system/udprelay@.service",
		"-rw-r--r-- /usr/share/bash-completion/completions/udprelay",
		"-rw-r--r-- /usr/share/fish/vendor_completions.d/udprelay.fish",
		"-rw-r--r-- /usr/share/man/man5/udprelay.yaml.5.gz",
		"-rw-r--r-- /usr/share/man/man8/udprelay.8.gz",
		"-rwxr-xr-x /usr/bin/udprelay",
		"-rwxr-xr-x /usr/lib/udprelay/restart",
	},
	"deb": {"-rw-r--r-- /usr/share/zsh/vendor-completions/_udprelay"},
	"rpm": {"-rw-r--r-- /usr/share/licenses/udprelay/LICENSE", "-rw-r--r-- /usr/share/zsh/site-functions/_udprelay"},
}

const documentation = " /usr/share/doc/udprelay/"

// documents are some of the files there.
var documents = map[string][]string{
	"": {
		"CHANGELOG.md", "README.md", "config.yaml", "copyright", "docs/configuration.md", "docs/security.md",
		"docs/monitoring/grafana-dashboard.json", "docs/monitoring/udprelay-alerts.yaml",
		"examples/low-port.conf", "examples/notify-reload.conf", "examples/secret.conf", "examples/socket-activated.conf",
	},
	"deb": {"changelog.gz"},
}

// listed returns the files of a package: mode and name; it checks the owners.
func listed(t *testing.T, name string) []string {
	t.Helper()
	file := filepath.Join(packages(t), name)
	var out string
	if names[name].packager == "deb" {
		for line := range strings.Lines(must(t, "dpkg-deb", "-c", file)) {
			fields := strings.Fields(line)
			out += fields[0] + " " + fields[1] + " " + strings.TrimPrefix(fields[5], ".") + "\n"
		}
	} else {
		out = must(t, "rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]`, file)
	}
	var files []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if fields[1] != "root/root" {
			t.Errorf("want root/root, got %s", line)
		}
		if strings.HasPrefix(line, "d") {
			if fields[0] != "drwxr-xr-x" {
				t.Errorf("want directories of mode 0755, got %s", line)
			}
			continue
		}
		files = append(files, fields[0]+" "+fields[2])
	}
	slices.Sort(files)
	return files
}

func TestPackagesHaveTheFiles(t *testing.T) {
	for name, p := range names {
		var documented, others []string
		for _, file := range listed(t, name) {
			mode, document, ok := strings.Cut(file, documentation)
			if !ok {
				others = append(others, file)
				continue
			}
			if documented = append(documented, document); mode != "-rw-r--r--" {
				t.Errorf("%s: want mode 0644 for %s, got %s", name, document, mode)
			}
		}
		want := slices.Sorted(slices.Values(slices.Concat(contents[""], contents[p.packager])))
		if diff := cmp.Diff(want, others); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", name, diff)
		}
		for _, document := range slices.Concat(documents[""], documents[p.packager]) {
			if !slices.Contains(documented, document) {
				t.Errorf("%s: want %s in the documentation, got %v", name, document, documented)
			}
		}
	}
}

// Pages refer to other pages, pictures and files.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)|src="([^":]+)"`)

func TestLinksOfPackagedPagesLeadToPackagedFiles(t *testing.T) {
	// What is in the source only.
	source := regexp.MustCompile(`^(LICENSE|internal/.*)$`)
	root := filepath.Join(unpack(t, "udprelay_1.2.3_amd64.deb"), documentation[1:])
	pages, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("want pages in the package; got %v, %v", pages, err)
	}
	links := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			to, err := filepath.Rel(root, filepath.Join(filepath.Dir(page), found[1]+found[2]))
			if err != nil || source.MatchString(to) {
				continue
			}
			if links++; !exists(filepath.Join(root, to)) {
				t.Errorf("%s: want %s in the package, to which it has a link", filepath.Base(page), to)
			}
		}
	}
	if links < 20 {
		t.Errorf("want at least 20 links; got %d", links)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func TestConfigurationIsKeptOnUpgrades(t *testing.T) {
	for name, p := range names {
		file := filepath.Join(packages(t), name)
		if p.packager == "deb" {
			if got := must(t, "dpkg-deb", "-I", file, "conffiles"); got != "/etc/udprelay/udprelay.yaml\n" {
				t.Errorf("%s: want one conffile, got %q", name, got)
			}
			continue
		}
		// c: a configuration; n: a changed one is not replaced.
		got := must(t, "rpm", "-qp", "--qf", `[%{FILEFLAGS:fflags} %{FILENAMES}\n]`, file)
		if !strings.Contains("\n"+got, "\ncn /etc/udprelay/udprelay.yaml\n") || strings.Count(got, "\ncn ") > 1 {
			t.Errorf("%s: want one %%config(noreplace), got\n%s", name, got)
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for name, p := range names {
		file := filepath.Join(packages(t), name)
		var got string
		if p.packager == "deb" {
			got = must(t, "dpkg-deb", "-f", file, "Package", "Version", "Section", "Architecture", "Depends")
		} else {
			got = must(t, "rpm", "-qp", "--qf", "Package: %{NAME}\nVersion: %{VERSION}\nRelease: %{RELEASE}\nLicense: %{LICENSE}\nBuild Host: %{BUILDHOST}\nArchitecture: %{ARCH}\n", file)
		}
		architecture := strings.Split(strings.ReplaceAll(strings.ReplaceAll(name, ".rpm", ""), ".deb", ""), map[string]string{"deb": "_", "rpm": "-1."}[p.packager])
		want := "Package: udprelay\nVersion: 1.2.3\n" + map[string]string{
			"deb": "Section: net\n",
			"rpm": "Release: 1\nLicense: Apache-2.0\nBuild Host: reproducible\n",
		}[p.packager] + "Architecture: " + architecture[len(architecture)-1] + "\n"
		if got != want {
			t.Errorf("%s: want\n%s\ngot\n%s", name, want, got)
		}
	}
}

func TestPackagesHaveTheLicences(t *testing.T) {
	for name, goarch := range map[string]string{"udprelay_1.2.3_amd64.deb": "amd64", "udprelay-1.2.3-1.aarch64.rpm": "arm64"} {
		modules, err := licences.Gather(t.Context(), "..", "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
		if err != nil {
			t.Fatal(err)
		}
		doc := filepath.Join(unpack(t, name), "usr/share/doc/udprelay")
		copyright, err := os.ReadFile(filepath.Join(doc, "copyright"))
		if err != nil {
			t.Fatal(err)
		}
		for _, module := range modules {
			for _, text := range module.Texts {
				got, err := os.ReadFile(filepath.Join(doc, "licenses", module.Path, text.Name))
				if err != nil || string(got) != string(text.Content) {
					t.Errorf("%s: want the licence %s of %s, got %v", name, text.Name, module.Path, err)
				}
			}
			if !strings.Contains(string(copyright), "\n  "+module.Path+" ") && module.Version != "" {
				t.Errorf("%s: want %s named in copyright", name, module.Path)
			}
		}
	}
}

func TestPackagedPagesAreThoseOfTheSource(t *testing.T) {
	for name := range names {
		root := unpack(t, name)
		for page, from := range map[string]string{"man8/udprelay.8.gz": "docs/man/udprelay.8", "man5/udprelay.yaml.5.gz": "docs/man/udprelay.yaml.5"} {
			// The source as it was built, for it may change meanwhile.
			want, err := os.ReadFile(filepath.Join(packages(t), "..", from))
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(filepath.Join(root, "usr/share/man", page))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			r, err := gzip.NewReader(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != string(want) {
				t.Errorf("%s: want %s, got %d bytes, %v", name, from, len(got), err)
			}
			if !r.ModTime.IsZero() || r.Header.Name != "" {
				t.Errorf("%s: want no time and name in %s, got %v %q", name, page, r.ModTime, r.Header.Name)
			}
		}
	}
}
