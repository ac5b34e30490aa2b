package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inCluster returns the configuration of a node that needs those files.
func inCluster(t *testing.T, secret, certificate, key, ca string) *Config {
	t.Helper()
	loaded, warnings := load(t, "", []string{
		"UDPRELAY_CLUSTER_SECRET_FILE=" + secret, "UDPRELAY_CLUSTER_TLS_CERTIFICATE=" + certificate,
		"UDPRELAY_CLUSTER_TLS_KEY=" + key, "UDPRELAY_CLUSTER_TLS_CA=" + ca,
	}, []Setting{{"--cluster-listen", clusterListenKey, ":0"}})
	if len(warnings) > 0 {
		t.Fatalf("want no warning, got %v", warnings)
	}
	return loaded
}

func TestFilesOfTheClusterAreThoseInUse(t *testing.T) {
	const tls = "  tls:\n    certificate: /crt\n    key: /key\n    ca: /ca\n"
	for file, want := range map[string][4]string{
		"": {},
		"cluster:\n  credentials: /creds\n" + tls:                                            {},
		"cluster:\n  url: none\n  credentials: /creds\n" + tls:                               {},
		"cluster:\n  listen: :1\n" + tls:                                                     {"/crt", "/key", "/ca", ""},
		"cluster:\n  routes: [a:1]\n  credentials: none\n" + tls:                             {"/crt", "/key", "/ca", ""},
		"cluster:\n  url: nats://a\n  credentials: /creds\n" + tls:                           {"/crt", "/key", "/ca", "/creds"},
		"cluster:\n  url: nats://a\n  credentials: /creds\n  tls:\n    ca: /ca\n":            {"", "", "/ca", "/creds"},
		"cluster:\n  url: nats://a\n  credentials: none\n  tls:\n    key: none\n":            {},
		"cluster:\n  url: nats://a\n  tls:\n    certificate: /crt\n    key: /key\n":          {"/crt", "/key", "", ""},
		"cluster:\n  listen: 127.0.0.1:1\n  tls:\n    certificate: \"\"\n    ca: none\n":     {},
		"cluster:\n  listen: none\n  routes: []\n  url: \"\"\n  credentials: /creds\n" + tls: {},
	} {
		loaded, _ := load(t, file, nil, nil)
		certificate, key, ca, credentials := loaded.Cluster.Files()
		if got := [4]string{certificate, key, ca, credentials}; got != want {
			t.Errorf("want %q, got %q of\n%s", want, got, file)
		}
	}
}

func TestFilesOfTheClusterAreOpened(t *testing.T) {
	good, empty := writeSecret(t, "-----BEGIN", 0o600), writeSecret(t, "", 0o600)
	directory := t.TempDir()
	missing := filepath.Join(directory, "missing")
	for _, c := range []struct{ certificate, key, ca, want string }{
		{good, good, good, ""},
		{missing, good, good, missing + ": cluster.tls.certificate: there is no such file"},
		{good, directory, good, directory + ": cluster.tls.key: is a directory; want a file"},
		{good, good, empty, empty + ": cluster.tls.ca: is empty; want PEM, lines that begin with -----BEGIN"},
	} {
		warnings, err := inCluster(t, None, c.certificate, c.key, c.ca).Cluster.CheckFiles()
		wantFile(t, warnings, err, c.want)
	}
	for name, want := range map[string]string{
		good:    "",
		missing: missing + ": cluster.credentials: there is no such file",
	} {
		loaded, _ := load(t, "cluster:\n  url: nats://nats.example\n", []string{"UDPRELAY_CLUSTER_CREDENTIALS=" + name}, nil)
		warnings, err := loaded.Cluster.CheckFiles()
		wantFile(t, warnings, err, want)
	}
	loaded, _ := load(t, "", []string{"UDPRELAY_CLUSTER_CREDENTIALS=" + missing}, nil)
	if warnings, err := loaded.Cluster.CheckFiles(); err != nil || warnings != nil {
		t.Errorf("want nothing of files that nobody needs, got %v and %v", warnings, err)
	}
}

// wantFile checks that there are no warnings, and the error want of a file.
func wantFile(t *testing.T, warnings []Warning, err error, want string) {
	t.Helper()
	if len(warnings) > 0 {
		t.Errorf("want no warning, got %v", warnings)
	}
	if want == "" {
		if err != nil {
			t.Errorf("want no error, got %v", err)
		}
		return
	}
	wantError(t, err, want)
	var unreadable *UnreadableCertificate
	if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || unreadable.Hint() != "" {
		t.Errorf("want exit code 78 and no hint, got %+v", unreadable)
	}
}

func TestFilesOfTheClusterThatAllMayReadAreAWarning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	open := writeSecret(t, "-----BEGIN CERTIFICATE", 0o644)
	warnings, err := inCluster(t, None, open, open, open).Cluster.CheckFiles()
	want := []string{open + ": cluster.tls.key: every user of this machine may read the private key; want a file that others may not read (chmod o-r)"}
	if diff := cmp.Diff(want, texts(warnings)); diff != "" || err != nil {
		t.Errorf("warnings (-want +got):\n%s%v", diff, err)
	}
	loaded, _ := load(t, "cluster:\n  url: nats://nats.example\n", []string{"UDPRELAY_CLUSTER_CREDENTIALS=" + open}, nil)
	warnings, err = loaded.Cluster.CheckFiles()
	want = []string{open + ": cluster.credentials: every user of this machine may read the credentials; want a file that others may not read (chmod o-r)"}
	if diff := cmp.Diff(want, texts(warnings)); diff != "" || err != nil {
		t.Errorf("warnings (-want +got):\n%s%v", diff, err)
	}
}

func TestSecretOfTheClusterIsReadWhereThereIsOne(t *testing.T) {
	const secret = "0123456789abcdef"
	good, short := writeSecret(t, secret+"\n", 0o600), writeSecret(t, "x", 0o600)
	missing := filepath.Join(t.TempDir(), "secret")
	got, warnings, err := inCluster(t, good, None, None, None).ReadClusterSecret()
	if string(got) != secret || len(warnings) > 0 || err != nil {
		t.Errorf("want %q and no warning, got %q, %v and %v", secret, got, warnings, err)
	}
	got, warnings, err = inCluster(t, short, None, None, None).ReadClusterSecret()
	want := []string{short + ": cluster.secret_file: the secret is 1 byte long and can be found by trial; want at least 16 bytes, such as a line of: openssl rand -hex 32"}
	if diff := cmp.Diff(want, texts(warnings)); diff != "" || string(got) != "x" || err != nil {
		t.Errorf("warnings (-want +got):\n%s%q and %v", diff, got, err)
	}
	_, _, err = inCluster(t, missing, None, None, None).ReadClusterSecret()
	wantError(t, err, missing+": cluster.secret_file: there is no such file")
	const hint = " makes one, which all nodes need"
	var unreadable *UnreadableSecret
	if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || unreadable.Hint() != "(umask 077; openssl rand -hex 32 > "+missing+")"+hint {
		t.Errorf("want exit code 78 and a hint with %q, got %+v", hint, unreadable)
	}
	for _, file := range []string{"cluster:\n  secret_file: " + missing + "\n", "cluster:\n  secret_file: none\n  listen: localhost:1\n"} {
		loaded, _ := load(t, file, nil, nil)
		if got, warnings, err := loaded.ReadClusterSecret(); got != nil || warnings != nil || err != nil {
			t.Errorf("want nothing, got %q, %v and %v of\n%s", got, warnings, err, file)
		}
	}
	err = &UnreadableSecret{"/s", clusterSecretKey, &fs.PathError{Op: "open", Path: "/s", Err: fs.ErrPermission}}
	wantError(t, err, "/s: cluster.secret_file: this user may not read the file")
}

func TestWhatIsWrongInAClusterIsSaidWhereItIsWritten(t *testing.T) {
	const pair = " cannot hold together with "
	const both = ": nodes connect to NATS at the url, or else to each other; want one of them"
	listen := []Setting{{"--cluster-listen", clusterListenKey, ":6222"}}
	for _, c := range []struct {
		file    string
		environ []string
		flags   []Setting
		want    string
	}{
		{"", nil, listen, `--cluster-listen: cluster.listen: everybody who reaches ":6222" could take part; want cluster.secret_file, or the three files of cluster.tls, or a loopback address such as "127.0.0.1:6222", or cluster.insecure: true if that is meant`},
		{"cluster:\n  url: nats://a\n", nil, listen, "--cluster-listen: cluster.listen:" + pair + "cluster.url at room.yaml:2:8" + both},
		{"cluster:\n  routes: [a:1]\n", []string{"UDPRELAY_CLUSTER_URL=nats://a"}, nil, "UDPRELAY_CLUSTER_URL: cluster.url:" + pair + "cluster.routes at room.yaml:2:11" + both},
		{"cluster:\n  advertise: a:1\n", []string{"UDPRELAY_CLUSTER_URL=nats://a"}, nil, "UDPRELAY_CLUSTER_URL: cluster.url:" + pair + "cluster.advertise at room.yaml:2:14" + both},
		{"cluster:\n  insecure: true\n", []string{"UDPRELAY_CLUSTER_URL=nats://a"}, nil, "UDPRELAY_CLUSTER_URL: cluster.url:" + pair + "cluster.insecure at room.yaml:2:13" + both},
		{"", []string{"UDPRELAY_CLUSTER_ROUTES=a:1,b:2,A:1"}, nil, `UDPRELAY_CLUSTER_ROUTES: cluster.routes[2]: "A:1" is already in the list, at UDPRELAY_CLUSTER_ROUTES; want it once`},
		{"cluster:\n  listen: :6222\n  secret_file: secret\n", nil, nil, // the secret that is wrong is not missed besides
			`room.yaml:3:16: cluster.secret_file: "secret" is no absolute path; want an absolute path such as /etc/udprelay/cluster.secret, at most 300 bytes, or none or "" for none`},
	} {
		_, _, err := tryLoad(t, c.file, c.environ, c.flags)
		wantError(t, err, c.want)
	}
}

func TestFlagsForRoutesReplaceThoseOfTheFile(t *testing.T) {
	loaded, _ := load(t, "cluster:\n  routes: [a:1, b:2]\n", nil, []Setting{{"--cluster-route", routesKey, "c:3"}, {"--cluster-route", routesKey, "a:1"}})
	if diff := cmp.Diff([]string{"c:3", "a:1"}, loaded.Cluster.Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestClusterIsTurnedOffByEachWayToSayNone(t *testing.T) {
	off, _ := load(t, "", nil, nil)
	for _, key := range []string{clusterListenKey, advertiseKey, natsKey, clusterSecretKey, credentialsKey, nodeCertificateKey, nodePrivateKey, nodeCAKey} {
		none, warnings := load(t, "", nil, []Setting{{"--" + key, key, None}})
		if got := Changed(off, none); got != nil || len(warnings) > 0 || none.Cluster.On() {
			t.Errorf("%s: want none to be no change, got %q and %v", key, got, warnings)
		}
	}
	for _, file := range []string{"  listen: localhost:1\n", "  routes: [a:1]\n", "  url: tls://a\n"} {
		if on, _ := load(t, "cluster:\n"+file, nil, nil); !on.Cluster.On() {
			t.Errorf("want it on with\n%s", file)
		}
	}
}

// secretURL is one with a password that must not be seen.
const secretURL = "nats://relay:swordfish@nats.example"

func TestAPasswordThatOthersMayReadIsAWarning(t *testing.T) {
	check := func(file *File, environ []string, flags []Setting, want ...string) {
		t.Helper()
		loaded, warnings, err := Load(shipped(t), file, environ, flags)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, texts(warnings)); diff != "" {
			t.Errorf("warnings (-want +got):\n%s", diff)
		}
		if loaded.Cluster.URL != secretURL || strings.Contains(string(loaded.YAML()), "swordfish") {
			t.Errorf("want the password kept and not shown, got %q and\n%s", loaded.Cluster.URL, loaded.YAML())
		}
	}
	check(nil, []string{"UDPRELAY_CLUSTER_URL=" + secretURL}, nil)
	check(nil, nil, []Setting{{"--cluster-url", natsKey, secretURL}},
		"--cluster-url: cluster.url: every user of this machine may read the password among the processes; want cluster.credentials, the environment, or a file")
	data := []byte("cluster:\n  url: " + secretURL + "\n")
	check(&File{Name: StandardInput, Data: data}, nil, nil)
	name := filepath.Join(t.TempDir(), "room.yaml")
	for mode, want := range map[fs.FileMode][]string{
		0o640: nil,
		0o644: {name + ":2:8: cluster.url: every user of this machine may read the password in the file; want cluster.credentials, or a file that others may not read (chmod o-r)"},
	} {
		if runtime.GOOS == "windows" {
			break // no such modes
		}
		if err := errors.Join(os.WriteFile(name, data, mode), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
		file, err := ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		check(file, nil, nil, want...)
	}
}

func TestAnotherPasswordIsAChange(t *testing.T) {
	one, _ := load(t, "", []string{"UDPRELAY_CLUSTER_URL=" + secretURL}, nil)
	two, _ := load(t, "", []string{"UDPRELAY_CLUSTER_URL=" + strings.Replace(secretURL, "fish", "fisher", 1)}, nil)
	if diff := cmp.Diff([]string{natsKey}, Changed(one, two)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
