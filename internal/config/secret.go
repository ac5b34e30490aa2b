package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"udprelay/internal/proof"
	"udprelay/peers"
)

const secretKey = "join.secret_file"

// checkSecret refuses rules that ask for a secret that there is not, and warns
// of a secret that no rule asks for.
func (l *loader) checkSecret() {
	if l.mistaken(secretKey) {
		return // whatever it is now, it is not what was meant
	}
	if l.config.Join.SecretFile != "" {
		if !l.config.needsSecret() {
			l.warn(l.set[secretKey], secretKey, "no rule of access has join: secret, so the file is not read")
		}
		return
	}
	for i, rule := range l.config.Access {
		if rule.Join == peers.JoinSecret && !l.full() {
			key := fmt.Sprintf("access[%d].join", i)
			l.fail(l.set[key], key, fmt.Sprintf("%q needs a secret, and %s is not set; want there the name of a file with the secret, such as /etc/udprelay/secret", rule.Join, secretKey))
		}
	}
}

// needsSecret reports whether a rule asks for the secret.
func (c *Config) needsSecret() bool {
	return slices.ContainsFunc(c.Access, func(r peers.Rule) bool { return r.Join == peers.JoinSecret })
}

// forThisUser is the way out where the user may not read a file.
const forThisUser = "give the file to the user that the relay runs as, or with systemd use LoadCredential="

// ReadSecret reads the shared secret, and warns of one that is easily found. It
// is nil if no rule asks for it. The error is an [UnreadableSecret].
func (c *Config) ReadSecret() (secret []byte, warnings []Warning, err error) {
	if !c.needsSecret() {
		return nil, nil, nil
	}
	return readSecret(c.Join.SecretFile, secretKey)
}

// readSecret reads the secret in the file that a key names.
func readSecret(name, key string) (secret []byte, warnings []Warning, err error) {
	secret, err = proof.ReadSecret(name)
	if err != nil {
		return nil, nil, &UnreadableSecret{name, key, err}
	}
	if n := len(secret); n < proof.ShortSecret {
		warnings = append(warnings, Warning{Place{Source: name, Key: key}, fmt.Sprintf("the secret is %s long and can be found by trial; want at least %d bytes, such as a line of: openssl rand -hex 32",
			counted(n, "byte"), proof.ShortSecret)})
	}
	return secret, append(warnings, warnIfOpen(name, key, "the secret")...), nil
}

// warnIfOpen warns of a file that every user may read; what is in it.
func warnIfOpen(name, key, what string) (warnings []Warning) {
	if readableByAll(name) {
		warnings = append(warnings, Warning{Place{Source: name, Key: key}, "every user of this machine may read " + what + "; want a file that others may not read (chmod o-r)"})
	}
	return warnings
}

// readableByAll reports whether the mode of a file lets every user read it.
// Windows has no such modes.
func readableByAll(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&0o004 != 0 && runtime.GOOS != "windows"
}

// counted writes n things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// An UnreadableSecret is a file that gives no secret.
type UnreadableSecret struct {
	Name string
	Key  string // of the configuration, such as join.secret_file
	Err  error
}

func (e *UnreadableSecret) Error() string {
	why := ""
	if path := (*fs.PathError)(nil); errors.As(e.Err, &path) {
		why = whyUnreadable(e.Err)
	} else {
		why = inOurWords.Replace(strings.TrimPrefix(e.Err.Error(), e.Name+" "))
	}
	return Place{Source: e.Name, Key: e.Key}.String() + ": " + why
}

func (e *UnreadableSecret) Unwrap() error { return e.Err }

// ExitCode returns the exit code of a program that ends on e.
func (e *UnreadableSecret) ExitCode() int { return exitConfig }

// Hint returns how to go on.
func (e *UnreadableSecret) Hint() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		hint := fmt.Sprintf("(umask 077; openssl rand -hex 32 > %s) makes one", e.Name)
		if e.Key == clusterSecretKey {
			hint += ", which all nodes need"
		}
		return hint
	case errors.Is(e.Err, fs.ErrPermission):
		return forThisUser
	}
	return ""
}
