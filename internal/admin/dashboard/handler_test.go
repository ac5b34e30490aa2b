package dashboard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"udprelay/internal/cluster"
	"udprelay/relay"
)

// ask returns the answer of the handler.
func ask(t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:9001"+path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestPolicy holds every answer, also those that are errors, to the headers
// that keep the page to itself.
func TestPolicy(t *testing.T) {
	for _, path := range []string{"/", "/assets/main.js", "/assets/none", "/../etc/passwd", "/assets/"} {
		header := ask(t, http.MethodGet, path, nil).Header
		want := map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		}
		for name, value := range want {
			if got := header.Get(name); got != value {
				t.Errorf("%s: %s is %q, not %q", path, name, got, value)
			}
		}
	}
}

func TestServesWhatThePageNames(t *testing.T) {
	r := ask(t, http.MethodGet, "/", nil)
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("the page: %s, %s", r.Status, r.Header.Get("Content-Type"))
	}
	names := regexp.MustCompile(`(?:src|href)="(assets/[^"]+)"`).FindAllStringSubmatch(body(t, r), -1)
	if len(names) < 6 {
		t.Fatalf("the page names %d files", len(names))
	}
	paths := make(map[string]bool)
	for _, name := range names {
		paths["/"+name[1]] = true
	}
	for path := range served { // and what the scripts import
		if strings.HasSuffix(path, ".js") {
			for _, name := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(string(served[path].content), -1) {
				paths["/assets/"+name[1]] = true
			}
		}
	}
	for path := range paths {
		if r := ask(t, http.MethodGet, path, nil); r.StatusCode != http.StatusOK || len(body(t, r)) == 0 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	for path := range served {
		if !paths[path] && path != "/" && path != "/assets/LICENSE.uPlot.txt" {
			t.Errorf("%s is served, but the page does not use it", path)
		}
	}
}

func TestMethods(t *testing.T) {
	if r := ask(t, http.MethodHead, "/", nil); r.StatusCode != http.StatusOK || body(t, r) != "" || r.ContentLength <= 0 {
		t.Errorf("HEAD: %s, length %d", r.Status, r.ContentLength)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if r := ask(t, method, "/", nil); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, allowed: %q", method, r.Status, r.Header.Get("Allow"))
		}
	}
	if r := ask(t, http.MethodGet, "/index.html", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %s", r.Status)
	}
}

func TestUnchangedIsNotSentAgain(t *testing.T) {
	first := ask(t, http.MethodGet, "/assets/main.js", nil)
	tag := first.Header.Get("ETag")
	if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", tag, first.Header.Get("Cache-Control"))
	}
	again := ask(t, http.MethodGet, "/assets/main.js", http.Header{"If-None-Match": {tag}})
	if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
		t.Errorf("again: %s", again.Status)
	}
	if other := ask(t, http.MethodGet, "/assets/dom.js", http.Header{"If-None-Match": {tag}}); other.StatusCode != http.StatusOK {
		t.Errorf("another file with that tag: %s", other.Status)
	}
}

// TestEveryReasonIsExplained holds reasons.js against the relay.
func TestEveryReasonIsExplained(t *testing.T) {
	text, _, _ := strings.Cut(string(served["/assets/reasons.js"].content), "export const clusterReasons")
	for _, reason := range relay.Drops() {
		if !regexp.MustCompile(`(?m)^  ` + reason.String() + `: \["(in|out)", "[^"]{10,}", "[^"]{10,}"\],$`).MatchString(text) {
			t.Errorf("the page does not explain %s", reason)
		}
	}
}

// TestEveryReasonOfTheClusterIsExplained holds reasons.js against the cluster.
func TestEveryReasonOfTheClusterIsExplained(t *testing.T) {
	_, text, _ := strings.Cut(string(served["/assets/reasons.js"].content), "export const clusterReasons = {")
	for _, reason := range cluster.Drops() {
		if !regexp.MustCompile(`(?m)^  ` + reason.String() + `: \["(datagrams|messages)", "[^"]{10,}", "[^"]{10,}"\],$`).MatchString(text) {
			t.Errorf("the page does not explain %s", reason)
		}
	}
}

// TestNothingIsMarkup sees to it that what comes from the network can only
// become text.
func TestNothingIsMarkup(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTML|\beval\b|new Function|style="|https?://`)
	for path, f := range served {
		if strings.Contains(path, "uPlot") || strings.HasSuffix(path, ".svg") {
			continue
		}
		if found := forbidden.FindString(string(f.content)); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
}
