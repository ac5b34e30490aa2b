package daemon

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"slices"

	"udprelay/internal/admin"
	"udprelay/internal/certificate"
	"udprelay/internal/config"
	"udprelay/internal/gateway"
)

// openGateway opens what cfg wants for clients without UDP. Nothing is changed if
// there is an error, which has an exit code.
func (d *daemon) openGateway(ctx context.Context, cfg *config.Config, secret []byte, certificates *tls.Config) error {
	options := gateway.Options{
		TCP:          unlessNone(cfg.Gateway.TCP.Listen),
		TLS:          unlessNone(cfg.Gateway.TLS.Listen),
		WebSocket:    unlessNone(cfg.Gateway.WebSocket.Listen),
		Certificates: certificates,
		Encrypted:    cfg.Gateway.WebSocket.TLS,
		Path:         cfg.Gateway.WebSocket.Path,
		Origins:      cfg.Gateway.WebSocket.Origins,
		Secret:       secret,
		Connections:  cfg.Gateway.Connections,
		PerAddress:   cfg.Peers.MaxPerAddress,
		Queue:        cfg.Gateway.Queue,
		Idle:         cfg.Gateway.Idle,
	}
	if err := d.gateway.Apply(ctx, options); err != nil {
		return &GatewayError{err}
	}
	return nil
}

// Certificates reads the files that cfg names for TLS. Where none is needed, there
// is no configuration of TLS. The error has an exit code.
func Certificates(cfg *config.Config) (*tls.Config, []config.Warning, error) {
	warnings, err := cfg.Gateway.CheckCertificates()
	if err != nil {
		return nil, nil, err
	}
	file, key, clientCA := cfg.Gateway.CertificateFiles()
	if file == "" {
		return nil, warnings, nil
	}
	read, said, err := certificate.Load(file, key, clientCA)
	if err != nil {
		return nil, warnings, &CertificateError{"gateway.tls", err}
	}
	for _, text := range said {
		warnings = append(warnings, config.Warning{Place: config.Place{Key: "gateway.tls"}, Message: text})
	}
	return read, warnings, nil
}

// sameCertificates reports whether files were read that have the same in them.
func sameCertificates(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	pair := func(a, b tls.Certificate) bool { return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal) }
	return slices.EqualFunc(a.Certificates, b.Certificates, pair) && a.ClientAuth == b.ClientAuth && a.ClientCAs.Equal(b.ClientCAs) && a.RootCAs.Equal(b.RootCAs)
}

// A CertificateError is a file for TLS that has not what it should.
type CertificateError struct {
	Key string // of the configuration, such as gateway.tls
	Err error
}

func (e *CertificateError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *CertificateError) Unwrap() error { return e.Err }

// ExitCode is EX_CONFIG of sysexits.h.
func (e *CertificateError) ExitCode() int { return 78 }

// unlessNone returns what a key says where "none" is a way to say nothing.
func unlessNone(value string) string {
	if value == config.None {
		return ""
	}
	return value
}

// A GatewayError is a gateway that cannot be opened.
type GatewayError struct{ Err error }

func (e *GatewayError) Error() string { return e.Err.Error() }

func (e *GatewayError) Unwrap() error { return e.Err }

// ExitCode is EX_UNAVAILABLE of sysexits.h.
func (e *GatewayError) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *GatewayError) Hint() string {
	return "another program may have the port (ss -ltnp shows which), or the address may not be one of this host"
}

// tellGateway returns what there is of clients without UDP.
func (d *daemon) tellGateway() admin.Gateway {
	stats := d.gateway.Stats()
	told := admin.Gateway{Listeners: []admin.GatewayListener{}, Connections: stats.Connections, Accepted: stats.Accepted, Ended: make(map[string]uint64)}
	for transport, addr := range d.gateway.Addrs() {
		told.Listeners = append(told.Listeners, admin.GatewayListener{Transport: transport.String(), Listen: addr.String(), Clients: stats.Clients[transport]})
	}
	if len(told.Listeners) > 0 {
		told.Limit = stats.Limit
	}
	slices.SortFunc(told.Listeners, func(a, b admin.GatewayListener) int { return cmp.Compare(a.Transport, b.Transport) })
	for why, count := range stats.Ended {
		told.Ended[why.String()] = count
	}
	return told
}
