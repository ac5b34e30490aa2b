package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page
var files embed.FS

// policy allows the page its own files and its own daemon, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// types are the content types of what the page has, for those that the system
// knows may differ.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// A file is one that is served.
type file struct {
	name, contentType, tag string
	content                []byte
}

// served has the files by the path of their URL.
var served = read()

func read() map[string]file {
	all := make(map[string]file)
	entries, err := fs.ReadDir(files, "page")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, entry := range entries {
		content, err := files.ReadFile("page/" + entry.Name())
		if err != nil {
			panic(err)
		}
		contentType, ok := types[path.Ext(entry.Name())]
		if !ok {
			panic(fmt.Sprintf("page/%s: no content type", entry.Name()))
		}
		sum := sha256.Sum256(content)
		url := "/assets/" + entry.Name()
		if entry.Name() == "index.html" {
			url = "/"
		}
		all[url] = file{entry.Name(), contentType, `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`, content}
	}
	return all
}

// Handler serves the page at "/" and what it consists of below "/assets/", to
// GET and HEAD. A browser asks each time whether a file is still the same,
// which its ETag, a hash, tells.
func Handler() http.Handler { return http.HandlerFunc(serve) }

func serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, ok := served[r.URL.Path]
	if !ok {
		http.Error(w, "There is no such page; the dashboard is at /.", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "The dashboard can only be read.", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Content-Type", f.contentType)
	header.Set("Cache-Control", "no-cache") // keep it, but ask
	header.Set("ETag", f.tag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
