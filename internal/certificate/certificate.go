package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Load reads the certificate, its chain included, and the key that are shown by
// TLS, all as PEM. With authorities, which is not "", others must show a
// certificate that one of those in that file has signed.
//
// The errors name the file and say what would be right. Warnings are about what
// others will not like, such as a certificate that has expired.
func Load(certificate, key, authorities string) (config *tls.Config, warnings []string, err error) {
	certificatePEM, err := readPEM(certificate, "CERTIFICATE", "a certificate")
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := readPEM(key, "PRIVATE KEY", "a private key")
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		return nil, nil, pairError(certificate, key, certificatePEM, err)
	}
	warnings = append(warnings, validity(certificate, pair.Leaf)...)
	config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if authorities == "" {
		return config, warnings, nil
	}
	pool, more, err := LoadAuthorities(authorities)
	if err != nil {
		return nil, nil, err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return config, append(warnings, more...), nil
}

// LoadAuthorities reads the certificates of a PEM file by which others are
// verified. Errors and warnings are as those of [Load].
func LoadAuthorities(name string) (pool *x509.CertPool, warnings []string, err error) {
	text, err := readPEM(name, "CERTIFICATE", "a certificate")
	if err != nil {
		return nil, nil, err
	}
	authorities, err := parseAll(name, text)
	if err != nil {
		return nil, nil, err
	}
	pool = x509.NewCertPool()
	for _, a := range authorities {
		if a.BasicConstraintsValid && !a.IsCA {
			return nil, nil, fmt.Errorf("%s: %q is not the certificate of an authority: want the one that signs those of the others", name, a.Subject)
		}
		warnings = append(warnings, validity(name, a)...)
		pool.AddCert(a)
	}
	return pool, warnings, nil
}

// Mutual says what others would not like that verify the certificate of config
// with the same authorities as this side does theirs, whether they connect or are
// connected to. It returns nothing of one that is not good now: [Load] says that.
func Mutual(config *tls.Config) (warnings []string) {
	leaf := config.Certificates[0].Leaf
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil
	}
	chain := x509.NewCertPool()
	for _, der := range config.Certificates[0].Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain.AddCert(c)
		}
	}
	verify := func(usage x509.ExtKeyUsage) error {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: config.ClientCAs, Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	if err := verify(x509.ExtKeyUsageAny); err != nil {
		return []string{fmt.Sprintf("the certificate of %s is not one that the authorities here have signed, so that others refuse it: %v", nameOf(leaf), err)}
	}
	for _, use := range []struct {
		usage      x509.ExtKeyUsage
		name, when string
	}{{x509.ExtKeyUsageServerAuth, "serverAuth", "being connected to"}, {x509.ExtKeyUsageClientAuth, "clientAuth", "connecting to others"}} {
		if verify(use.usage) != nil {
			warnings = append(warnings, fmt.Sprintf("the certificate of %s is not good for %s: want %s among its extended key usages, or none", nameOf(leaf), use.when, use.name))
		}
	}
	return warnings
}

// readPEM reads a file, which must have a block whose type ends so.
func readPEM(path, kind, what string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err // it names the file
	}
	var other string
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, kind) {
			if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
				return nil, fmt.Errorf("%s: the key is encrypted: want one without a passphrase", path)
			}
			return text, nil
		}
		other = block.Type
	}
	want := fmt.Sprintf("want %s as PEM, which begins with -----BEGIN %s-----", what, kind)
	if other != "" {
		return nil, fmt.Errorf("%s: there is a %s and not %s: %s", path, other, what, want)
	}
	return nil, fmt.Errorf("%s: there is no PEM in it: %s", path, want)
}

// pairError says what a certificate and a key lack to be a pair.
func pairError(certificate, key string, certificatePEM []byte, err error) error {
	if _, broken := parseAll(certificate, certificatePEM); broken != nil {
		return broken
	}
	if strings.Contains(err.Error(), "does not match") {
		return fmt.Errorf("%s and %s: the key is not that of the certificate: want the one that it was made with; the server's own certificate must come first", certificate, key)
	}
	return fmt.Errorf("%s: %w", key, errors.New(strings.TrimPrefix(err.Error(), "tls: ")))
}

// parseAll returns the certificates of a file.
func parseAll(path string, text []byte) (list []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return list, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: a certificate in it is damaged: %w", path, err)
		}
		list = append(list, c)
	}
}

// soon is how long before its end there are warnings of a certificate, and no
// longer than a quarter of its time.
const soon = 14 * 24 * time.Hour

// validity says what is wrong with when a certificate is good.
func validity(path string, c *x509.Certificate) []string {
	now := time.Now()
	switch {
	case now.After(c.NotAfter):
		return []string{fmt.Sprintf("%s: the certificate of %s expired on %s", path, nameOf(c), c.NotAfter.Format(time.DateOnly))}
	case now.After(c.NotAfter.Add(-min(soon, c.NotAfter.Sub(c.NotBefore)/4))):
		return []string{fmt.Sprintf("%s: the certificate of %s expires on %s", path, nameOf(c), c.NotAfter.Format(time.DateTime))}
	case now.Before(c.NotBefore):
		return []string{fmt.Sprintf("%s: the certificate of %s is good only from %s on", path, nameOf(c), c.NotBefore.Format(time.DateTime))}
	}
	return nil
}

// nameOf returns whose certificate it is.
func nameOf(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.String()
}
