package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	// mostConnections is more than one relay can serve at any useful rate; each
	// takes a queue.
	mostConnections = 100_000

	leastQueue, mostQueue = 64 << 10, 64 << 20 // bytes

	leastIdle, mostIdle = leastExpiry, mostExpiry

	// maxOrigins bounds what a handshake costs.
	maxOrigins = 100
)

const (
	tcpListenKey       = "gateway.tcp.listen"
	tlsListenKey       = "gateway.tls.listen"
	certificateKey     = "gateway.tls.certificate"
	privateKeyKey      = "gateway.tls.key"
	clientCAKey        = "gateway.tls.client_ca"
	webSocketListenKey = "gateway.websocket.listen"
	webSocketTLSKey    = "gateway.websocket.tls"
	originsKey         = "gateway.websocket.origins"
)

const (
	gatewayWant = `host:port such as ":9000" or "192.0.2.1:9000", or none or "" to turn it off`
	pathWant    = "a path such as / or /relay"
	originWant  = `an origin such as https://app.example or http://localhost:8080, or "*" for any`
)

// gatewayKeys is the section gateway.
var gatewayKeys = []key{
	{name: "tcp", keys: []key{
		{name: "listen", value: gatewayListen(func(l *loader) *endpoint { return &l.gateway.tcp }, func(c *Config) *string { return &c.Gateway.TCP.Listen })},
	}},
	{name: "tls", keys: []key{
		{name: "listen", value: gatewayListen(func(l *loader) *endpoint { return &l.gateway.tls }, func(c *Config) *string { return &c.Gateway.TLS.Listen })},
		{name: "certificate", value: absoluteOrNone("/etc/udprelay/tls.crt", func(c *Config) *string { return &c.Gateway.TLS.Certificate })},
		{name: "key", value: absoluteOrNone("/etc/udprelay/tls.key", func(c *Config) *string { return &c.Gateway.TLS.Key })},
		{name: "client_ca", value: absoluteOrNone("/etc/udprelay/clients.crt", func(c *Config) *string { return &c.Gateway.TLS.ClientCA })},
	}},
	{name: "websocket", keys: []key{
		{name: "listen", value: gatewayListen(func(l *loader) *endpoint { return &l.gateway.webSocket }, func(c *Config) *string { return &c.Gateway.WebSocket.Listen })},
		{name: "tls", value: yesOrNo(func(c *Config) *bool { return &c.Gateway.WebSocket.TLS })},
		{name: "path", value: &value{want: pathWant, set: setPath, equal: equalField(func(c *Config) *string { return &c.Gateway.WebSocket.Path })}},
		{name: "origins", list: &originList},
	}},
	{name: "connections", value: number(mostConnections, "", func(c *Config) *int { return &c.Gateway.Connections })},
	{name: "queue", value: size(leastQueue, mostQueue, func(c *Config) *int { return &c.Gateway.Queue })},
	{name: "idle", value: durationOrNone("60s, 5m or 1h30m", leastIdle, mostIdle, func(c *Config) *time.Duration { return &c.Gateway.Idle })},
}

var originList = list{
	want:   `a list of origins such as "- https://app.example", or [] for none`,
	most:   maxOrigins,
	item:   []key{{value: &value{want: originWant, set: setOrigin}}},
	length: func(l *loader) int { return len(l.config.Gateway.WebSocket.Origins) },
	equal: func(a, b *Config) bool {
		return slices.Equal(a.Gateway.WebSocket.Origins, b.Gateway.WebSocket.Origins)
	},
	clear: func(l *loader, _ origin) { l.config.Gateway.WebSocket.Origins = nil },
	add: func(l *loader, _ origin) {
		l.config.Gateway.WebSocket.Origins = append(l.config.Gateway.WebSocket.Origins, "")
	},
}

// gatewayListen is where a gateway listens: host:port, or None or "" for
// nowhere. Whoever turns one on does it for others, so the host may be left out.
func gatewayListen(end func(*loader) *endpoint, field func(*Config) *string) *value {
	set := func(l *loader, text string) (wrong string) {
		*field(&l.config) = text
		*end(l), wrong = parseOrNone(text, gatewayWant, judgeListen)
		return wrong
	}
	return &value{want: gatewayWant, optional: true, set: set, equal: equalOrNone(field)}
}

// setPath takes the path of a URL as browsers send it, in the only way to write
// it (RFC 3986, section 3.3): without escapes, and what ".", ".." and a "/" too
// many would be resolved to.
func setPath(l *loader, text string) (wrong string) {
	l.config.Gateway.WebSocket.Path = text
	if !strings.HasPrefix(text, "/") {
		return fmt.Sprintf(`%q does not begin with "/"; want %s`, text, pathWant)
	}
	for _, r := range text {
		if !isNameRune(r) && !strings.ContainsRune("/.~!$&'()*+,;=:@", r) {
			return fmt.Sprintf("%q has the character %q in it; want %s", text, r, pathWant)
		}
	}
	if clean := path.Clean(text); clean != text {
		return fmt.Sprintf("%q is another way to write a path; did you mean %q?", text, clean)
	}
	return ""
}

func setOrigin(l *loader, text string) (wrong string) {
	list := l.config.Gateway.WebSocket.Origins
	list[len(list)-1] = text
	return checkOrigin(text)
}

// checkOrigin refuses what no browser sends as the origin of a page (RFC 6454,
// section 6.2), and so would never match.
func checkOrigin(text string) (wrong string) {
	if text == anyOrigin {
		return ""
	}
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return fmt.Sprintf("%q has the character %q in it; want %s", text, r, originWant)
		}
	}
	scheme, rest, found := strings.Cut(text, "://")
	host, beyond := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, beyond = rest[:i], rest[i:]
	}
	switch plain := strings.ToLower(scheme + "://" + host); {
	case !found || host == "":
		return fmt.Sprintf("%q is no origin; want %s", text, originWant)
	case !isScheme(strings.ToLower(scheme)):
		return fmt.Sprintf("%q is no scheme; want %s", scheme, originWant)
	case strings.Contains(host, "@"):
		return fmt.Sprintf("%q has a user in it; want %s", text, originWant)
	case beyond != "":
		return fmt.Sprintf("%q has more than an origin; did you mean %q?", text, plain)
	case plain != text:
		return fmt.Sprintf("%q is not in lower case, as browsers send it; did you mean %q?", text, plain)
	}
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		port := host[colon+1:]
		host = host[:colon]
		n, wrong := parseWhole(port)
		switch {
		case port == "":
			return fmt.Sprintf("%q has no port after the \":\"; did you mean %q?", text, scheme+"://"+host)
		case wrong != "":
			return fmt.Sprintf("port %q %s; want %s", port, wrong, originWant)
		case n < 1 || n > 65535:
			return fmt.Sprintf("port %s is out of range; want 1 to 65535", port)
		case defaultPorts[scheme] == n:
			return fmt.Sprintf("%q has the port that browsers leave out; did you mean %q?", text, scheme+"://"+host)
		}
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); err != nil || !closed || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || addr.String() != inner {
			return fmt.Sprintf("%q is no IPv6 address in brackets, in its shortest form; want %s", host, originWant)
		}
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return ""
	}
	return checkName(host)
}

// anyOrigin is the word of gateway.websocket.origins for every page.
const anyOrigin = "*"

// defaultPorts are those that the origin of a page is written without.
var defaultPorts = map[string]int{"http": 80, "https": 443}

// isScheme checks the scheme of a URL by RFC 3986, section 3.1, in lower case.
func isScheme(text string) bool {
	return text != "" && 'a' <= text[0] && text[0] <= 'z' && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789+.-") == ""
}

// A tcpListener is a key that says where TCP is listened at.
type tcpListener struct {
	key  string
	at   endpoint // with the port 0: nowhere, or where no other can be
	text string
}

// tcpListeners returns those of the configuration that are right.
func (l *loader) tcpListeners() []tcpListener {
	c := &l.config
	list := []tcpListener{
		{tcpListenKey, l.gateway.tcp, c.Gateway.TCP.Listen},
		{tlsListenKey, l.gateway.tls, c.Gateway.TLS.Listen},
		{webSocketListenKey, l.gateway.webSocket, c.Gateway.WebSocket.Listen},
		{clusterListenKey, l.cluster.listen, c.Cluster.Listen},
		{"admin.http", l.http, c.Admin.HTTP},
	}
	return slices.DeleteFunc(list, func(t tcpListener) bool { return t.at.port == 0 || l.mistaken(t.key) })
}

// checkTCP refuses two that listen for TCP at one address. Host names stay
// unjudged where they may be one, for nobody looks them up here.
func (l *loader) checkTCP() {
	list := l.tcpListeners()
	slices.SortStableFunc(list, func(a, b tcpListener) int { return l.set[a.key].compare(l.set[b.key]) })
	for i, later := range list {
		n := slices.IndexFunc(list[:i], func(t tcpListener) bool { return t.at.takes(later.at) || later.at.takes(t.at) })
		if n >= 0 && !l.full() {
			l.fail(l.set[later.key], later.key, fmt.Sprintf("%q is not free: %s at %s is %q; want another port", later.text, list[n].key, l.set[list[n].key], list[n].text))
		}
	}
}

// takes reports whether nobody else can listen at other once somebody listens
// at e.
func (e endpoint) takes(other endpoint) bool {
	switch every := e.addr.IsValid() && e.addr.IsUnspecified(); {
	case e.port != other.port:
		return false
	case e.host == "", every && e.addr.Is6():
		return true
	case every:
		return other.addr.Is4()
	}
	return e.identity() == other.identity()
}

// checkTLS refuses a certificate that is only in part there, or not where one is
// needed, and warns of one that nobody asks for.
func (l *loader) checkTLS() {
	for _, key := range []string{tlsListenKey, certificateKey, privateKeyKey, clientCAKey, webSocketTLSKey} {
		if l.mistaken(key) {
			return // whatever it is now, it is not what was meant
		}
	}
	const want = "; want there the name of a PEM file such as "
	c := &l.config.Gateway
	certificate, private := given(c.TLS.Certificate) != "", given(c.TLS.Key) != ""
	switch {
	case certificate && !private:
		l.fail(l.set[certificateKey], certificateKey, "needs its private key, and "+privateKeyKey+" is not set"+want+"/etc/udprelay/tls.key")
		return
	case private && !certificate:
		l.fail(l.set[privateKeyKey], privateKeyKey, "belongs to a certificate, and "+certificateKey+" is not set"+want+"/etc/udprelay/tls.crt")
		return
	case certificate:
		if !c.usesTLS() {
			l.warn(l.set[certificateKey], certificateKey, fmt.Sprintf("no gateway uses TLS, so the files are not read; want %s, or %s and %s: true", tlsListenKey, webSocketListenKey, webSocketTLSKey))
		}
		return
	}
	for _, needs := range []struct {
		key   string
		there bool
		what  string
	}{
		{tlsListenKey, given(c.TLS.Listen) != "", "TLS"},
		{clientCAKey, given(c.TLS.ClientCA) != "", "who asks clients for theirs"},
		{webSocketTLSKey, c.WebSocket.TLS, "TLS"},
	} {
		if needs.there && !l.full() {
			l.fail(l.set[needs.key], needs.key, fmt.Sprintf("%s needs a certificate, and %s and %s are not set; want there the names of PEM files such as /etc/udprelay/tls.crt and /etc/udprelay/tls.key",
				needs.what, certificateKey, privateKeyKey))
		}
	}
}

// checkOrigins warns of pages that nobody may have thought of.
func (l *loader) checkOrigins() {
	c := &l.config.Gateway.WebSocket
	if i := slices.Index(c.Origins, anyOrigin); i >= 0 && given(c.Listen) != "" {
		key := fmt.Sprintf("%s[%d]", originsKey, i)
		l.warn(l.set[key], key, "every page that somebody visits may connect from their browser, and comes from their address; want the origins of the pages that are meant, such as https://app.example")
	}
}

// on reports whether there is a gateway.
func (g *Gateway) on() bool {
	return given(g.TCP.Listen)+given(g.TLS.Listen)+given(g.WebSocket.Listen) != ""
}

// usesTLS reports whether a gateway needs the certificate.
func (g *Gateway) usesTLS() bool {
	return given(g.TLS.Listen) != "" || given(g.WebSocket.Listen) != "" && g.WebSocket.TLS
}

// CertificateFiles returns the names of the PEM files that the gateways need,
// "" for those that they do not: all of them if none uses TLS, clientCA if
// clients need no certificates.
func (g *Gateway) CertificateFiles() (certificate, key, clientCA string) {
	if !g.usesTLS() {
		return "", "", ""
	}
	return given(g.TLS.Certificate), given(g.TLS.Key), given(g.TLS.ClientCA)
}

// CheckCertificates opens the files of [Gateway.CertificateFiles], and warns of
// a private key that others may read. What is in them it does not judge. The
// error is an [UnreadableCertificate].
func (g *Gateway) CheckCertificates() (warnings []Warning, err error) {
	certificate, private, clientCA := g.CertificateFiles()
	for _, file := range []struct{ name, key string }{{certificate, certificateKey}, {private, privateKeyKey}, {clientCA, clientCAKey}} {
		if file.name == "" {
			continue
		}
		if err := checkReadable(file.name); err != nil {
			return nil, &UnreadableCertificate{file.name, file.key, err}
		}
	}
	if private != "" {
		warnings = warnIfOpen(private, privateKeyKey, "the private key")
	}
	return warnings, nil
}

var errEmptyFile = errors.New("the file is empty")

// checkReadable reports why there is nothing to read in a file.
func checkReadable(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Read(make([]byte, 1)); err == io.EOF {
		return errEmptyFile
	}
	return err
}

// An UnreadableCertificate is a file that gives no certificate, key or
// credentials.
type UnreadableCertificate struct {
	Name string
	Key  string // of the configuration, such as gateway.tls.certificate
	Err  error
}

func (e *UnreadableCertificate) Error() string {
	why := whyUnreadable(e.Err)
	if errors.Is(e.Err, errEmptyFile) {
		why = "is empty; want PEM, lines that begin with -----BEGIN"
	}
	return Place{Source: e.Name, Key: e.Key}.String() + ": " + why
}

func (e *UnreadableCertificate) Unwrap() error { return e.Err }

// ExitCode returns the exit code of a program that ends on e.
func (e *UnreadableCertificate) ExitCode() int { return exitConfig }

// Hint returns how to go on.
func (e *UnreadableCertificate) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return forThisUser
	}
	return ""
}
