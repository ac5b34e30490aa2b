package gateway

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"time"
)

//go:embed page
var pageFiles embed.FS

// The page is one document, for what a proxy in front passes on may be the path
// of the WebSocket and nothing else.
var (
	page       = readPage()
	pageTag    = `"` + hashOf(page)[:24] + `"`
	pagePolicy = "default-src 'none'; script-src 'sha256-" + hashOf(pageFile("page.js")) + "'; style-src 'sha256-" + hashOf(pageFile("page.css")) + "'; " +
		"connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

func pageFile(name string) []byte {
	content, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return content
}

// readPage returns the page with its style and its script where it names them.
func readPage() []byte {
	text := pageFile("index.html")
	for _, part := range []struct{ mark, file, before, after string }{
		{`<link rel="stylesheet" href="page.css">`, "page.css", "<style>", "</style>"},
		{`<script type="module" src="page.js"></script>`, "page.js", `<script type="module">`, "</script>"},
	} {
		whole := bytes.Replace(text, []byte(part.mark), []byte(part.before+string(pageFile(part.file))+part.after), 1)
		if len(whole) == len(text) {
			panic("page/index.html does not have " + part.mark)
		}
		text = whole
	}
	return text
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// servePage answers with the page by which people join by hand.
func servePage(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-cache") // keep it, but ask
	header.Set("ETag", pageTag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
}
