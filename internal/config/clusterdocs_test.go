package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func readPage(t testing.TB, name string) string {
	t.Helper()
	page, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestDocumentedClustersLoad loads the examples of docs/cluster.md and of
// README.md as they stand. Where one has no way to keep strangers out, the variable that the page
// has for the service is set.
func TestDocumentedClustersLoad(t *testing.T) {
	page := readPage(t, "docs/cluster.md") + readPage(t, "README.md")
	variable := regexp.MustCompile(`(?m)^ *Environment=(\w+)=%d/`).FindStringSubmatch(page)
	if variable == nil {
		t.Fatal("want the variable with the secret in docs/cluster.md")
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) < 7 {
		t.Fatalf("want the examples, got %d", len(blocks))
	}
	fromService := 0
	for _, block := range blocks {
		var environ []string
		if !strings.Contains(block[1], "secret_file:") && !strings.Contains(block[1], "tls:") {
			environ = []string{variable[1] + "=/run/credentials/udprelay.service/cluster-secret"}
			fromService++
		}
		loaded, warnings, err := Load(shipped(t), &File{Name: "example.yaml", Data: []byte(block[1])}, environ, nil)
		if err != nil || len(warnings) > 0 {
			t.Errorf("want neither error nor warning, got %v and %v for\n%s", err, texts(warnings), block[1])
			continue
		}
		if !loaded.Cluster.On() {
			t.Errorf("want a cluster of\n%s", block[1])
		}
		if environ != nil && loaded.Cluster.SecretFile == "" {
			t.Errorf("want the secret of %v for\n%s", environ, block[1])
		}
	}
	if fromService != 1 {
		t.Errorf("want one example for the service; got %d", fromService)
	}
}

// TestDocumentedClusterKeysExist checks that the keys and variables that
// docs/cluster.md names in its text are there.
func TestDocumentedClusterKeysExist(t *testing.T) {
	known := make(map[string]bool)
	for _, path := range schemaPaths() {
		known[path] = true
	}
	found := regexp.MustCompile("`((?:cluster|peers|limits|socket|admin|access)\\.[a-z_.]+)").FindAllStringSubmatch(readPage(t, "docs/cluster.md"), -1)
	if len(found) < 5 {
		t.Fatalf("want the keys, got %d", len(found))
	}
	for _, match := range found {
		if !known[match[1]] {
			t.Errorf("docs/cluster.md has %s, which there is not", match[1])
		}
	}
}
