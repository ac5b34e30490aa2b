package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/framing"
	"udprelay/internal/testwait"
)

// dialGateway connects to a gateway of d.
func dialGateway(t *testing.T, d *running) (net.Conn, *framing.Reader) {
	t.Helper()
	where := d.await(t, `gateway open" key=gateway\.tcp\.listen listen=(\S+)`)[1]
	conn, err := net.Dial("tcp", where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testwait.Patience))
	return conn, framing.NewReader(conn)
}

func tellFrame(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write(framing.Append(nil, []byte(text))); err != nil {
		t.Fatal(err)
	}
}

func TestAClientWithoutUDPIsTold(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("gateway.tcp.listen", "127.0.0.1:0"), keyed("log.level", "debug"))
	relay := d.addr(t)
	conn, frames := dialGateway(t, d)
	guest := enter(t, "127.0.0.2", relay)
	d.await(t, `peer joined.*127\.0\.0\.2`)
	d.await(t, `peer joined.*transport=tcp`)
	guest.say(t, "by UDP")
	if got, err := frames.Next(); err != nil || string(got) != "by UDP" {
		t.Fatalf("want what the other said; got %q, %v", got, err)
	}
	tellFrame(t, conn, "by TCP")
	guest.hears(t, "by TCP")

	client := admin.Client{Socket: filepath.Join(directory, controlName)}
	page, err := client.Peers(t.Context(), admin.Query{Kind: "connected", Limit: 10})
	for deadline := time.Now().Add(testwait.Patience); err == nil && len(page.Peers) == 1 && page.Peers[0].Delivered == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // what has arrived is counted a moment later
		page, err = client.Peers(t.Context(), admin.Query{Kind: "connected", Limit: 10})
	}
	if err != nil || len(page.Peers) != 1 {
		t.Fatalf("want one connected peer; got %+v, %v", page, err)
	}
	p := page.Peers[0]
	if p.Address.String() != conn.LocalAddr().String() || p.Transport != "tcp" || p.JoinedBy != "connection" || p.Expires != nil || p.Received != 1 || p.Delivered != 1 || p.State != "ok" {
		t.Errorf("want the client to be told as it is; got %+v", p)
	}
	var status admin.Status
	for deadline := time.Now().Add(testwait.Patience); ; time.Sleep(time.Millisecond) {
		if status, err = client.Status(t.Context()); err != nil || time.Now().After(deadline) || status.Gateway.Accepted == 1 && status.Counters.Delivered == 2 {
			break
		}
	}
	g := status.Gateway
	if len(g.Listeners) != 1 || g.Listeners[0].Clients != 1 || g.Connections != 1 || g.Limit != 1000 || status.Peers.Connected != 1 || status.Peers.Receivers != 2 || status.Counters.Due != 2 {
		t.Errorf("want one client at one listener, and two receivers; got %+v, %+v, %+v, %v", g, status.Peers, status.Counters, err)
	}
	why, err := client.Why(t.Context(), conn.LocalAddr().String())
	if err != nil || why.Peer == nil || !strings.Contains(why.Would[0].Result, "connected by tcp") {
		t.Errorf("want it explained; got %+v, %v", why, err)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if got, err := frames.Next(); err == nil {
		t.Errorf("want the connection closed; got %q", got)
	}
}

func TestAPeerThatIsConnectedIsNotRemembered(t *testing.T) {
	directory := shortDirectory(t)
	settings := []config.Setting{keyed("gateway.tcp.listen", "127.0.0.1:0"), keyed("log.level", "debug")}
	d := start(t, surroundings{directory: directory}, settings...)
	enter(t, "127.0.0.2", d.addr(t))
	dialGateway(t, d)
	d.await(t, `peer joined.*transport=tcp`)
	d.await(t, `peer joined.*127\.0\.0\.2`)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, surroundings{directory: directory}, settings...)
	again.await(t, `peers are back" count=1 gone=0`)
}

func TestAReloadOpensMovesAndClosesAGateway(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("log.level", "debug"))
	d.addr(t)
	reload := func(settings ...config.Setting) admin.Reloaded {
		t.Helper()
		got, err := d.reconfigure(directory, settings...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := reload(keyed("gateway.tcp.listen", "127.0.0.1:0")); !slices.Equal(got.Changed, []string{"gateway.tcp.listen"}) || got.Restart != nil {
		t.Errorf("want the gateway to be open; got %+v", got)
	}
	_, frames := dialGateway(t, d)
	d.await(t, `peer joined.*transport=tcp`)

	// A gateway that cannot listen leaves everything as it is.
	address := taken(t)
	var failure *admin.Failure
	if _, err := d.reconfigure(directory, keyed("peers.max", "5"), keyed("gateway.tcp.listen", address)); !errors.As(err, &failure) || failure.Code != 69 || !strings.Contains(failure.Message, "gateway.tcp.listen "+address+": ") || failure.Way == "" {
		t.Errorf("want an error that names the gateway; got %+v", err)
	}
	if status, err := (admin.Client{Socket: filepath.Join(directory, controlName)}).Status(t.Context()); err != nil || status.Peers.Max != 10000 || len(status.Gateway.Listeners) != 1 {
		t.Errorf("want all as before; got %+v, %v", status, err)
	}

	reload()
	d.await(t, `client gone.*reason=stopped`)
	if _, err := frames.Next(); err == nil {
		t.Error("want the connection closed")
	}
}

func TestAGatewayThatCannotOpenIsAnErrorAtStart(t *testing.T) {
	wantNoStart[*GatewayError](t, keyed("gateway.tcp.listen", taken(t)))
}

func TestABadCertificateIsAnErrorAtStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("gateway.tls.listen", "127.0.0.1:0"),
		keyed("gateway.tls.certificate", file), keyed("gateway.tls.key", file)), new(lockedBuffer)))
	var failure *CertificateError
	if !errors.As(err, &failure) || failure.ExitCode() != 78 || !strings.Contains(err.Error(), file+": there is no PEM in it") {
		t.Errorf("want an error with exit code 78 that names the file; got %v", err)
	}
}
