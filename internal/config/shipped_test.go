package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// flatten returns the keys of a YAML text with the texts of their values;
// those of the items of a list count once, the first.
func flatten(t testing.TB, text []byte) map[string]string {
	t.Helper()
	var node yaml.Node
	if err := yaml.Load(text, &node); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	flat := map[string]string{}
	var walk func(node *yaml.Node, path string)
	walk = func(node *yaml.Node, path string) {
		switch {
		case node.Kind == yaml.MappingNode:
			for i := 0; i < len(node.Content); i += 2 {
				walk(node.Content[i+1], join(path, node.Content[i].Value))
			}
		case node.Kind == yaml.SequenceNode:
			flat[path] = "list"
			for _, item := range node.Content {
				walk(item, path+"[]")
			}
		case flat[path] == "":
			flat[path] = node.Value
		}
	}
	walk(node.Content[0], "")
	return flat
}

// schemaPaths returns the path of every value and list.
func schemaPaths() (paths []string) {
	visit(schema, "", func(_ *key, path string) { paths = append(paths, path) })
	slices.Sort(paths)
	return paths
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// inComment matches a key that is commented out.
var inComment = regexp.MustCompile(`(?m)^# ( *(?:- )?[a-z_]+:)`)

// twoMachines matches the example of a cluster.
var twoMachines = regexp.MustCompile(`(?m)^# cluster:\n(#   .*\n)+`)

// uncommented is the shipped file with all its keys in force.
func uncommented(t testing.TB) []byte {
	t.Helper()
	text := twoMachines.ReplaceAllString(string(shipped(t)), "")
	text = inComment.ReplaceAllString(text, "$1")
	return []byte(strings.Replace(text, "static: []", "static:", 1))
}

func TestShippedFileHasEveryKey(t *testing.T) {
	if diff := cmp.Diff(schemaPaths(), sortedKeys(flatten(t, uncommented(t)))); diff != "" {
		t.Errorf("keys (-schema +config.yaml):\n%s", diff)
	}
}

func TestShippedFileSaysWhatHoldsWithoutIt(t *testing.T) {
	loaded, warnings, err := Load(shipped(t), nil, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("want neither error nor warning, got %v and %v", err, warnings)
	}
	effective := flatten(t, loaded.YAML())
	for path, want := range flatten(t, shipped(t)) {
		if got := effective[path]; got != want {
			t.Errorf("%s: want %q as in config.yaml, got %q", path, want, got)
		}
	}
}

func TestShippedCommentsLoad(t *testing.T) {
	loaded, warnings, err := Load(shipped(t), &File{Name: "config.yaml", Data: uncommented(t)}, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("want neither error nor warning, got %v and %v", err, warnings)
	}
	// The last rule spells out the default of may, the first has none.
	first, last := loaded.Access[0], loaded.Access[len(loaded.Access)-1]
	if first.May != last.May {
		t.Errorf("may: want %q as the comment in config.yaml, got %q without the key", last.May, first.May)
	}
	for _, comment := range []string{"# both (default), send, receive, nothing", "# open (default): ", "# cookie: ", "; secret: "} {
		if !strings.Contains(string(shipped(t)), comment) {
			t.Errorf("want %q in config.yaml", comment)
		}
	}
}

func TestShippedExampleOfAClusterLoads(t *testing.T) {
	example := twoMachines.FindString(string(shipped(t)))
	file := strings.ReplaceAll(strings.TrimPrefix(example, "# "), "\n# ", "\n")
	loaded, warnings, err := Load(shipped(t), &File{Name: "config.yaml", Data: []byte(file)}, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("want neither error nor warning, got %v and %v of\n%s", err, warnings, file)
	}
	if c := loaded.Cluster; c.Listen == "" || len(c.Routes) != 1 || c.SecretFile == "" {
		t.Errorf("want listen, a route and a secret, got %+v", c)
	}
}

func TestEffectiveConfigurationHasEveryKey(t *testing.T) {
	loaded, _, err := Load(shipped(t), &File{Name: "config.yaml", Data: uncommented(t)}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schemaPaths(), sortedKeys(flatten(t, loaded.YAML()))); diff != "" {
		t.Errorf("keys (-schema +YAML):\n%s", diff)
	}
}

func TestDefaultsMustBeWhole(t *testing.T) {
	text := strings.Replace(string(shipped(t)), "  expiry: 60s", "", 1)
	_, _, err := Load([]byte(text), nil, nil, nil)
	wantError(t, err, "built-in config.yaml:1:1: peers.expiry: has no default; want one")
}

// documented is a row of the table of keys in docs/configuration.md.
type documented struct{ value, standard string }

func documentation(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func documentedKeys(t testing.TB) map[string]documented {
	t.Helper()
	_, section, _ := strings.Cut(documentation(t), "\n## Keys\n")
	section, _, _ = strings.Cut(section, "\n**Durations**")
	rows := map[string]documented{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if path, ok := strings.CutPrefix(cells[0], "| `"); ok && len(cells) == 4 {
			rows[strings.TrimSuffix(path, "`")] = documented{cells[1], cells[2]}
		}
	}
	return rows
}

func TestDocumentationHasEveryKeyWithItsDefaultAndRange(t *testing.T) {
	rows := documentedKeys(t)
	var paths []string
	for path := range rows {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if diff := cmp.Diff(schemaPaths(), paths); diff != "" {
		t.Fatalf("keys (-schema +documentation):\n%s", diff)
	}
	for path, want := range flatten(t, shipped(t)) {
		if path == "listen" || path == "admin.http" || want == "" {
			want = `"` + want + `"`
		}
		if got := rows[path].standard; want != "list" && !strings.Contains(path, "[]") && got != "`"+want+"`" {
			t.Errorf("%s: want the default %s, got %s", path, want, got)
		}
	}
	buffers := fmt.Sprintf("size, %s to %s", formatSize(leastBuffer), formatSize(mostBuffer))
	rate := fmt.Sprintf("size, %s to %s, or 0", formatSize(leastBytes), formatSize(mostBytes))
	listen := fmt.Sprintf("host:port, or `%s` or `\"\"` to turn it off", None)
	pem := fmt.Sprintf("absolute path, or `%s` or `\"\"` for none", None)
	for path, want := range map[string]string{
		"peers.expiry":                       fmt.Sprintf("duration, %s to %s", formatDuration(leastExpiry), formatDuration(mostExpiry)),
		"peers.max":                          fmt.Sprintf("0 to %d", maxLearned),
		"peers.max_per_address":              fmt.Sprintf("0 to %d", maxLearned),
		"peers.joins_per_second":             fmt.Sprintf("0 to %d", maxLearned),
		"peers.joins_per_second_per_address": fmt.Sprintf("0 to %d", maxLearned),
		"limits.peer_datagrams_per_second":   fmt.Sprintf("0 to %d", mostDatagrams),
		"limits.peer_bytes_per_second":       rate,
		"limits.egress_bytes_per_second":     rate,
		"join.secret_file":                   "file, or `\"\"` for none",
		"access[].join":                      "`open`, `cookie`, `secret`",
		"peers.static":                       fmt.Sprintf("list, at most %d", maxStatic),
		"access":                             fmt.Sprintf("list, at most %d", maxRules),
		"socket.receive_buffer":              buffers,
		"socket.send_buffer":                 buffers,
		"socket.senders":                     fmt.Sprintf("0 to %d", mostSenders),
		"socket.trains":                      "`auto`, `off`",
		"socket.coalesce":                    fmt.Sprintf("duration, %s to %s, or 0", formatDuration(leastCoalesce), formatDuration(mostCoalesce)),
		"gateway.tcp.listen":                 listen,
		"gateway.tls.listen":                 listen,
		"gateway.tls.certificate":            pem,
		"gateway.tls.key":                    pem,
		"gateway.tls.client_ca":              pem,
		"gateway.websocket.listen":           listen,
		"gateway.websocket.tls":              "`false`, `true`",
		"gateway.websocket.path":             "path that begins with `/`",
		"gateway.websocket.origins":          fmt.Sprintf("list, at most %d", maxOrigins),
		"gateway.connections":                fmt.Sprintf("1 to %d", mostConnections),
		"gateway.queue":                      fmt.Sprintf("size, %s to %s", formatSize(leastQueue), formatSize(mostQueue)),
		"gateway.idle":                       fmt.Sprintf("duration, %s to %s, or 0", formatDuration(leastIdle), formatDuration(mostIdle)),
		"cluster.name":                       fmt.Sprintf("text of at most %d bytes, or `\"\"` for the name of the host", maxNodeName),
		"cluster.room":                       fmt.Sprintf("1 to %d letters, digits, `-` and `_`", maxRoom),
		"cluster.listen":                     listen,
		"cluster.advertise":                  fmt.Sprintf("host:port, or `%s` or `\"\"` for none", None),
		"cluster.routes":                     fmt.Sprintf("list, at most %d", maxRoutes),
		"cluster.url":                        fmt.Sprintf("URL, several separated by commas, or `%s` or `\"\"` for none", None),
		"cluster.secret_file":                pem,
		"cluster.credentials":                pem,
		"cluster.tls.certificate":            pem,
		"cluster.tls.key":                    pem,
		"cluster.tls.ca":                     pem,
		"cluster.insecure":                   "`false`, `true`",
		"cluster.queue":                      fmt.Sprintf("size, %s to %s", formatSize(leastClusterQueue), formatSize(mostClusterQueue)),
		"admin.socket":                       fmt.Sprintf("absolute path of at most %d bytes, `%s`, or `\"\"` for the default", maxSocketName, None),
		"admin.group":                        fmt.Sprintf("name of a group, or `%s` or `\"\"` for none", None),
		"admin.metrics_per_peer":             "`false`, `true`",
		"admin.http":                         listen,
		"state.file":                         fmt.Sprintf("absolute path, `%s`, or `\"\"` for the default", None),
		"log.level":                          "`debug`, `info`, `warn`, `error`",
		"log.format":                         "`text`, `json`",
		"access[].may":                       "`both`, `send`, `receive`, `nothing`",
	} {
		if got := rows[path].value; got != want {
			t.Errorf("%s: want the value %q, got %q", path, want, got)
		}
	}
}

func TestDocumentedExamplesLoad(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(documentation(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("want the examples, got %d", len(blocks))
	}
	for _, block := range blocks {
		_, warnings, err := Load(shipped(t), &File{Name: "example.yaml", Data: []byte(block[1])}, nil, nil)
		if err != nil || len(warnings) > 0 {
			t.Errorf("want neither error nor warning, got %v and %v for\n%s", err, warnings, block[1])
		}
	}
}

func TestDocumentedVariablesLoad(t *testing.T) {
	found := regexp.MustCompile("`(UDPRELAY_[A-Z_]+=[^`]*)`").FindAllStringSubmatch(documentation(t), -1)
	if len(found) < 5 {
		t.Fatalf("want the variables, got %d", len(found))
	}
	for _, match := range found {
		environ := []string{match[1]}
		if strings.HasPrefix(match[1], "UDPRELAY_JOIN_SECRET_FILE=") {
			environ = append(environ, "UDPRELAY_ACCESS=any=secret") // of no use otherwise
		}
		if strings.HasPrefix(match[1], "UDPRELAY_CLUSTER_ROUTES=") {
			environ = append(environ, "UDPRELAY_CLUSTER_SECRET_FILE=/etc/udprelay/cluster.secret") // or everybody may take part
		}
		_, warnings, err := Load(shipped(t), nil, environ, nil)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: want neither error nor warning, got %v and %v", match[1], err, warnings)
		}
	}
}
