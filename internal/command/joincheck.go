package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"udprelay/internal/client"
)

// checkJoin refuses command lines that make no sense, before anything is sent.
func checkJoin(c *cli.Context) error {
	refuse := func(format string, args ...any) error {
		return &usageFailure{fmt.Sprintf(format, args...), helpHint(c)}
	}
	if !c.Args().Present() {
		return &usageFailure{"no relay is named", "want HOST:PORT, such as localhost:9000"}
	}
	if stray := c.Args().Get(1); strings.HasPrefix(stray, "-") {
		return &usageFailure{fmt.Sprintf("unexpected argument %q", stray), "flags go before HOST:PORT"}
	}
	if err := noMoreThan(c, 1); err != nil {
		return err
	}
	relay, err := client.ParseAddress(c.Args().First())
	if bad := (*client.AddressError)(nil); errors.As(err, &bad) {
		return &usageFailure{bad.Error(), "want " + bad.Form + ", such as " + bad.Want}
	}
	if err := checkCertificates(c, relay); err != nil {
		return err
	}
	switch size, wait, keepAlive := c.Int("size"), c.Duration("wait"), c.Duration("keep-alive"); {
	case c.Bool("hex") && c.Bool("raw"):
		return refuse("--hex and --raw exclude each other")
	case c.IsSet("size") && !c.Bool("raw"):
		return refuse("--size has a meaning only with --raw")
	case size < 1 || size > client.MaxPayload:
		return refuse("--size %d: want 1 to %d bytes", size, client.MaxPayload)
	case c.IsSet("wait") && c.Bool("no-input"):
		return refuse("--wait begins when the input ends, so it has no meaning with --no-input")
	case wait < 0:
		return refuse("--wait %v: want 0s or more", wait)
	case c.IsSet("secret-file") && c.String("secret-file") == "":
		return refuse("--secret-file names no file")
	case keepAlive < leastKeepAlive:
		return refuse("--keep-alive %v: want %v or more", keepAlive, leastKeepAlive)
	}
	return nil
}

// joinCertificates returns what the flags say of certificates.
func joinCertificates(c *cli.Context) client.Certificates {
	return client.Certificates{
		CA:          c.String("ca"),
		Certificate: c.String("certificate"),
		Key:         c.String("key"),
		ServerName:  c.String("server-name"),
	}
}

// checkCertificates refuses flags about certificates that make no sense.
func checkCertificates(c *cli.Context, relay client.Address) error {
	for _, name := range []string{"ca", "certificate", "key", "server-name"} {
		switch {
		case !c.IsSet(name):
		case c.String(name) == "":
			return &usageFailure{"--" + name + " names nothing", helpHint(c)}
		case !relay.IsEncrypted():
			return &usageFailure{"--" + name + " has a meaning only with tls:// and wss://", helpHint(c)}
		}
	}
	if c.IsSet("certificate") != c.IsSet("key") {
		return &usageFailure{"--certificate and --key need each other", helpHint(c)}
	}
	return nil
}

// noCertificate is a file of --ca, --certificate or --key that is none.
type noCertificate struct{ *client.CertificateError }

func (*noCertificate) ExitCode() int { return exitNoInput }
