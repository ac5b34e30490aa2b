package dashboardtest

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
)

// tunnel takes connections to a port of its own to the address to, as ssh -L
// does, and returns the port.
func tunnel(t testing.TB, to string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { listener.Close(); running.Wait() })
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				running.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestThroughATunnel reads the page as docs/dashboard.md says that it is from
// another machine.
func TestThroughATunnel(t *testing.T) {
	d := startDaemon(t, quiet)
	p := pagetest.Open(t, "http://localhost:"+tunnel(t, d.http)+"/", pagetest.Options{})
	p.Live()
	p.WaitText("listen", d.relay.String())
	all := newClients(t, d, "127.0.0.10", "127.0.0.11")
	all[0].say(10, 100, all[1])
	p.WaitText("received-total", "12, 1.00 kB")
	p.ShowPeers()
	p.WaitText("peer-count", "1–2 of 2 peers")
	p.Clean()
}

// TestBelowAPath reads the page as a proxy serves it that has other things, too.
func TestBelowAPath(t *testing.T) {
	d := startDaemon(t, quiet)
	to, err := url.Parse(d.page)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/relay/", http.StripPrefix("/relay", &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0), // streams that end with the page
	}))
	proxy := httptest.NewServer(mux)
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	t.Cleanup(proxy.Close)
	p := pagetest.Open(t, proxy.URL+"/relay/", pagetest.Options{}) // closed before the proxy, which waits for it
	p.Live()
	all := newClients(t, d, "127.0.0.10", "127.0.0.11")
	all[0].say(10, 100, all[1])
	p.WaitText("received-total", "12, 1.00 kB")
	p.ShowPeers()
	p.WaitText("peer-count", "1–2 of 2 peers")
	p.Details(all[0].address())
	p.Why(all[0].address())
	p.Clean()
}
