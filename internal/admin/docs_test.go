package admin

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// apiDocs returns the page and what it has between backquotes.
func apiDocs(t *testing.T) (page string, quoted []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(text), -1) {
		quoted = append(quoted, found[1])
	}
	return string(text), quoted
}

// fields returns the paths of the fields of a JSON value.
func fields(value any, prefix string) (paths []string) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			path := name
			if prefix != "" {
				path = prefix + "." + name
			}
			if nested := fields(inner, path); nested != nil {
				paths = append(paths, nested...)
			} else {
				paths = append(paths, path)
			}
		}
	case []any:
		for _, inner := range value {
			paths = append(paths, fields(inner, prefix+"[]")...)
		}
	}
	return paths
}

func jsonOf(t *testing.T, body any) (value any) {
	t.Helper()
	if err := json.Unmarshal(encode(body), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// The page has each field there is, each parameter and each request; and every
// row of its tables of fields is one there is.
func TestDocumentationHoldsAgainstTheCode(t *testing.T) {
	page, quoted := apiDocs(t)
	now := Time{time.Now()}
	var all []string
	all = append(all, fields(jsonOf(t, Status{Rules: []Rule{{}}, Drops: nil, Talks: []Talk{{}}, Gateway: Gateway{Listeners: []GatewayListener{{}}}, Cluster: Cluster{Routes: []ClusterRoute{{}}, Nodes: []ClusterNode{{}}}}), "")...)
	all = append(all, fields(jsonOf(t, Peer{Node: "x", Name: "x", Heard: &now, Expires: &now}), "")...)
	all = append(all, fields(jsonOf(t, Failure{Way: "x"}), "")...)
	all = append(all, fields(jsonOf(t, Reloaded{}), "")...)
	all = append(all, fields(jsonOf(t, Change{}), "")...)
	all = append(all, fields(jsonOf(t, Why{Would: []Step{{}}, Did: []Did{{Rule: "x", From: "x"}}, Reports: []NetworkReport{{}}}), "")...)
	all = append(all, fields(jsonOf(t, PeerPage{}), "")...)
	all = append(all, fields(jsonOf(t, Kicked{}), "")...)
	all = append(all, fields(jsonOf(t, Banned{}), "")...)
	all = append(all, fields(jsonOf(t, Unbanned{Still: []Ban{{}}}), "")...)
	all = append(all, fields(jsonOf(t, BanList{Bans: []Ban{{}}}), "")...)
	for _, wanted := range new(BanWish).fields() {
		all = append(all, wanted.name)
	}
	for _, field := range all {
		if !slices.Contains(quoted, field) {
			t.Errorf("docs/api.md lacks the field %s", field)
		}
	}
	parameters := []string{"offset", "limit", "sort", "search", "kind", "state", "address", "peer", "snaplen", "node"}
	for _, parameter := range parameters {
		if !slices.Contains(quoted, parameter) {
			t.Errorf("docs/api.md lacks the parameter %s", parameter)
		}
	}
	for _, state := range peerStates {
		if !slices.Contains(quoted, state) {
			t.Errorf("docs/api.md lacks the state %s", state)
		}
	}
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(cells[1], "---") {
			continue
		}
		for _, found := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			name := found[1]
			if method, path, ok := strings.Cut(name, " "); ok {
				if !slices.Contains(requestsThere(), method+" "+path) {
					t.Errorf("docs/api.md has %s, which there is not", name)
				}
			} else if !slices.Contains(all, name) && !slices.Contains(parameters, name) {
				t.Errorf("docs/api.md has %s, which there is not", name)
			}
		}
	}
	for _, request := range requestsThere() {
		if !slices.Contains(quoted, request) {
			t.Errorf("docs/api.md lacks %s", request)
		}
	}
}

// requestsThere returns the requests that the handlers are registered for.
func requestsThere() (requests []string) {
	for _, file := range []string{"read.go", "do.go", "bans.go", "clusterpeers.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		for _, found := range regexp.MustCompile(`mux\.Handle(?:Func)?\("([A-Z]+ /[^"{]+[^"{/])"`).FindAllSubmatch(text, -1) {
			requests = append(requests, string(found[1]))
		}
	}
	return requests
}
