package certificate_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/certificate"
	"udprelay/internal/certificate/certificatetest"
)

func TestLoadSaysWhatIsWrong(t *testing.T) {
	a := certificatetest.New(t)
	other, otherKey := a.Issue("other", nil)
	leaf, _ := a.Issue("leaf", func(c *x509.Certificate) { c.BasicConstraintsValid = true })
	text := a.WriteText("text.pem", "this is no PEM\n")
	empty := a.WriteText("empty.pem", "")
	damaged := a.Write("damaged.pem", "CERTIFICATE", []byte("no certificate"))
	damagedKey := a.Write("damaged.key", "PRIVATE KEY", []byte("no key"))
	encrypted := a.Write("encrypted.key", "ENCRYPTED PRIVATE KEY", []byte("whatever"))
	missing := filepath.Join(a.Dir, "missing.pem")
	serverText, _ := os.ReadFile(a.Server)
	caText, _ := os.ReadFile(a.File)
	reversed := a.WriteText("reversed.pem", string(caText)+string(serverText))
	for _, c := range []struct{ certificate, key, authorities, file, want string }{
		{missing, a.ServerKey, "", missing, "no such file"},
		{a.Server, missing, "", missing, "no such file"},
		{a.Server, a.ServerKey, missing, missing, "no such file"},
		{text, a.ServerKey, "", text, "there is no PEM in it: want a certificate as PEM, which begins with -----BEGIN CERTIFICATE-----"},
		{empty, a.ServerKey, "", empty, "there is no PEM in it"},
		{a.Server, text, "", text, "there is no PEM in it: want a private key as PEM"},
		{a.ServerKey, a.Server, "", a.ServerKey, "there is a PRIVATE KEY and not a certificate"},
		{a.Server, a.Server, "", a.Server, "there is a CERTIFICATE and not a private key"},
		{a.Server, encrypted, "", encrypted, "the key is encrypted: want one without a passphrase"},
		{a.Server, otherKey, "", a.Server, "the key is not that of the certificate"},
		{other, a.ServerKey, "", a.ServerKey, "the key is not that of the certificate"},
		{reversed, a.ServerKey, "", reversed, "the server's own certificate must come first"},
		{damaged, a.ServerKey, "", damaged, "a certificate in it is damaged"},
		{a.Server, damagedKey, "", damagedKey, "parse private key"},
		{a.Server, a.ServerKey, damaged, damaged, "a certificate in it is damaged"},
		{a.Server, a.ServerKey, a.ServerKey, a.ServerKey, "there is a PRIVATE KEY and not a certificate"},
		{a.Server, a.ServerKey, leaf, leaf, "is not the certificate of an authority"},
	} {
		_, _, err := certificate.Load(c.certificate, c.key, c.authorities)
		if err == nil || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("certificate.Load(%s, %s, %s): want %s in the error, and %q; got %v",
				filepath.Base(c.certificate), filepath.Base(c.key), filepath.Base(c.authorities), filepath.Base(c.file), c.want, err)
		}
	}
}

func TestLoadWarns(t *testing.T) {
	a := certificatetest.New(t)
	old, oldKey := a.Issue("old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	early, earlyKey := a.Issue("early", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	})
	ending, endingKey := a.Issue("ending", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-90*24*time.Hour), time.Now().Add(24*time.Hour)
	})
	for _, c := range []struct{ certificate, key, want string }{
		{a.Server, a.ServerKey, ""},
		{old, oldKey, old + ": the certificate of localhost expired on " + time.Now().Add(-24*time.Hour).UTC().Format(time.DateOnly)},
		{ending, endingKey, ending + ": the certificate of localhost expires on " + time.Now().Add(24*time.Hour).UTC().Format(time.DateOnly)},
		{early, earlyKey, early + ": the certificate of localhost is good only from "},
	} {
		config, warnings, err := certificate.Load(c.certificate, c.key, a.File)
		if err != nil || config == nil {
			t.Fatalf("certificate.Load(%s): want it loaded; got %v", filepath.Base(c.certificate), err)
		}
		if got := strings.Join(warnings, "\n"); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("certificate.Load(%s): want the warning %q, got %q", filepath.Base(c.certificate), c.want, got)
		}
	}
}

// A file may have the key and the chain in it.
func TestLoadFromOneFile(t *testing.T) {
	a := certificatetest.New(t)
	var all string
	for _, file := range []string{a.Server, a.File, a.ServerKey} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	one := a.WriteText("one.pem", "some words first\n"+all)
	config, _, err := certificate.Load(one, one, "")
	if err != nil {
		t.Fatal(err)
	}
	if chain := config.Certificates[0].Certificate; len(chain) != 2 {
		t.Errorf("want the certificate and its authority shown; got %d", len(chain))
	}
}

func TestKeyUnderAnotherName(t *testing.T) {
	a := certificatetest.New(t)
	text, err := os.ReadFile(a.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	for _, kind := range []string{"EC PRIVATE KEY", "RSA PRIVATE KEY"} { // PKCS 8 under another name is understood
		path := a.Write("named.key", kind, block.Bytes)
		if _, _, err := certificate.Load(a.Server, path, ""); err != nil {
			t.Errorf("%s: want it loaded; got %v", kind, err)
		}
	}
}

func TestWhatOthersWouldNotLike(t *testing.T) {
	a, other := certificatetest.New(t), certificatetest.New(t)
	server, serverKey := a.Issue("server-only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	client, clientKey := a.Issue("client-only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	any, anyKey := a.Issue("any", func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	old, oldKey := a.Issue("old", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	for _, c := range []struct{ certificate, key, authorities, want string }{
		{a.Server, a.ServerKey, a.File, ""},
		{any, anyKey, a.File, ""},
		{old, oldKey, a.File, ""},
		{a.Server, a.ServerKey, other.File, "the certificate of localhost is not one that the authorities here have signed"},
		{server, serverKey, a.File, "the certificate of localhost is not good for connecting to others: want clientAuth"},
		{client, clientKey, a.File, "the certificate of localhost is not good for being connected to: want serverAuth"},
	} {
		config, _, err := certificate.Load(c.certificate, c.key, c.authorities)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(certificate.Mutual(config), "\n"); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s with %s: want %q; got %q", filepath.Base(c.certificate), c.authorities, c.want, got)
		}
	}
}
