package command

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// What answers at a control socket need not be a relay: whatever it says, the
// terminal shows it and obeys nothing of it.
func TestWhatAnswersDoesNotControlTheTerminal(t *testing.T) {
	const hostile = `\u001b[2J\u0007\u009b1m\u202e` + "\u009b\u200b"
	for name, test := range map[string]struct {
		code   int
		answer string
	}{
		"a refusal": {http.StatusConflict, `{"message":"no: ` + hostile + `\nand more","hint":"try ` + hostile + `"}`},
		"an answer": {http.StatusOK, `{"version":"` + hostile + `","from":"` + hostile + `","changed":["` + hostile + `"],"warnings":["` + hostile + `"],
			"bans":[{"from":"192.0.2.0/24","since":"2026-01-02T03:04:05Z","reason":"` + hostile + `"}],
			"peers":[{"address":"192.0.2.1:9000","state":"` + hostile + `","via":"` + hostile + `"}]}`},
		"no relay": {http.StatusTeapot, hostile},
	} {
		socket := filepath.Join(shortDirectory(t), "control.sock")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.code)
			io.WriteString(w, test.answer)
		})}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
		for _, args := range [][]string{{"status"}, {"peers"}, {"reload"}, {"ban", "--list"}, {"ban", "192.0.2.1"}, {"unban", "192.0.2.1"}, {"kick", "192.0.2.1"}, {"why", "192.0.2.1"}, {"peers", "--json"}, {"status", "--json"}} {
			got := runCommand(t, nil, append(args[:1:1], append([]string{"--socket", socket}, args[1:]...)...)...)
			said := got.stdout + got.stderr
			if at := strings.IndexFunc(said, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); at >= 0 || said == "" {
				t.Errorf("%s to %q: want text without %q; got %q", name, args, said[max(at, 0):][:min(4, len(said)-max(at, 0))], said)
			}
		}
	}
}
