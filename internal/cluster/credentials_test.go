//go:build !nocluster

package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// keyOf makes a key with make, and returns it and its public part.
func keyOf(t testing.TB, make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := make()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

// An operated deployment takes only users of one account.
type operated struct {
	operatorJWT         string
	account, accountJWT string
	credentials         string // file of a user's
}

func newOperated(t testing.TB) *operated {
	t.Helper()
	encoded := func(claims jwt.Claims, by nkeys.KeyPair) string {
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operatorKey, operator := keyOf(t, nkeys.CreateOperator)
	accountKey, account := keyOf(t, nkeys.CreateAccount)
	userKey, user := keyOf(t, nkeys.CreateUser)
	seed, err := userKey.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(encoded(jwt.NewUserClaims(user), accountKey), seed)
	if err != nil {
		t.Fatal(err)
	}
	o := &operated{
		operatorJWT: encoded(jwt.NewOperatorClaims(operator), operatorKey),
		account:     account, accountJWT: encoded(jwt.NewAccountClaims(account), operatorKey),
		credentials: filepath.Join(t.TempDir(), "user.creds"),
	}
	if err := os.WriteFile(o.credentials, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// startOperated runs a NATS server that takes only users of one account, and
// returns its URL and the credentials file of one.
func startOperated(t testing.TB) (url, credentials string) {
	t.Helper()
	o := newOperated(t)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(o.account, o.accountJWT); err != nil {
		t.Fatal(err)
	}
	trusted, err := jwt.DecodeOperatorClaims(o.operatorJWT)
	if err != nil {
		t.Fatal(err)
	}
	s := runNATS(t, &server.Options{Port: -1, TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: resolver})
	return s.ClientURL(), o.credentials
}

func TestCredentialsLetInToAnExistingNATS(t *testing.T) {
	url, credentials := startOperated(t)
	stranger := startNode(t, Options{Name: "stranger", URL: url})
	list := startNodes(t, 2, Options{URL: url, Credentials: credentials})
	list[0].tap.bring(t, said("of one"))
	list[1].tap.wants(t, nobody+"of one")
	await(t, "it is told that credentials are missing", func() bool { return stranger.log.Has("uthorization") })
	stranger.tap.bring(t, said("of the stranger"))
	await(t, "what the stranger says is dropped", func() bool { return stranger.dropped(DropPublishFailed) == 1 })
	if s := stranger.Stats(); s.Connected || len(s.Nodes) != 0 || s.ReceivedMessages != 0 {
		t.Errorf("want the stranger to hear of nobody; got %+v", s)
	}
	awaitNodes(t, list...)
}
