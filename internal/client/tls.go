package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Certificates are files and a name by which a client and its relay trust each
// other. The zero value trusts whom the system trusts, and shows nothing.
type Certificates struct {
	CA          string // PEM: who may have signed the relay's certificate; "": whom the system trusts
	Certificate string // PEM: of the client; "": it shows none
	Key         string // PEM: of the same
	ServerName  string // whose certificate the relay has to show; "": the host of its address
}

// A CertificateError is a file that has not what it should have.
type CertificateError struct {
	Flag    string // of udprelay join that names it
	Problem string
	Err     error
}

func (e *CertificateError) Error() string { return "--" + e.Flag + ": " + e.Problem }
func (e *CertificateError) Unwrap() error { return e.Err }

// maxPEM bounds what is read of a file in bytes.
const maxPEM = 4 << 20

// Load reads the files. The error is a *CertificateError.
func (c Certificates) Load() (*tls.Config, error) {
	config := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := readPEM("ca", c.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &CertificateError{"ca", c.CA + " has no certificate: want PEM, -----BEGIN CERTIFICATE-----", nil}
		}
	}
	if c.Certificate == "" {
		return config, nil
	}
	certificate, err := readPEM("certificate", c.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readPEM("key", c.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		flag, name := "certificate", c.Certificate
		if strings.Contains(err.Error(), "key") && !strings.Contains(err.Error(), "certificate input") {
			flag, name = "key", c.Key
		}
		return nil, &CertificateError{flag, name + ": " + strings.TrimPrefix(err.Error(), "tls: "), err}
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// readPEM reads the file that flag names.
func readPEM(flag, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxPEM {
		return nil, &CertificateError{flag, fmt.Sprintf("%s has %d bytes: want PEM of at most %d", name, info.Size(), maxPEM), nil}
	}
	pem, err := os.ReadFile(name)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return nil, &CertificateError{flag, name + ": " + path.Err.Error(), err}
	}
	return pem, err
}
