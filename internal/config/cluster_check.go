package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkCluster refuses a cluster that contradicts itself, or that everybody
// could take part in without anybody having said so.
func (l *loader) checkCluster() {
	l.checkRoutes()
	if l.mistakenIn("cluster.") {
		return // whatever it is now, it is not what was meant
	}
	l.checkNodeTLS()
	c := &l.config.Cluster
	switch {
	case given(c.URL) != "":
		l.checkWithURL()
	case c.On():
		l.checkWithoutURL()
	}
}

// checkRoutes refuses nodes that are there twice.
func (l *loader) checkRoutes() {
	firsts := map[string]origin{}
	for i, route := range l.cluster.routes {
		if route.addr.port == 0 || l.full() {
			continue
		}
		if first, again := firsts[route.addr.identity()]; again {
			l.fail(route.at, fmt.Sprintf("%s[%d]", routesKey, i), fmt.Sprintf("%q is already in the list, at %s; want it once", l.config.Cluster.Routes[i], first))
			continue
		}
		firsts[route.addr.identity()] = route.at
	}
}

// checkNodeTLS refuses half of a certificate.
func (l *loader) checkNodeTLS() {
	const want = "; want there the name of a PEM file such as "
	t := &l.config.Cluster.TLS
	switch certificate, private := given(t.Certificate) != "", given(t.Key) != ""; {
	case certificate && !private:
		l.fail(l.set[nodeCertificateKey], nodeCertificateKey, "needs its private key, and "+nodePrivateKey+" is not set"+want+"/etc/udprelay/node.key")
	case private && !certificate:
		l.fail(l.set[nodePrivateKey], nodePrivateKey, "belongs to a certificate, and "+nodeCertificateKey+" is not set"+want+"/etc/udprelay/node.crt")
	}
}

// checkWithURL refuses what is for nodes that connect to each other.
func (l *loader) checkWithURL() {
	c := &l.config.Cluster
	for _, other := range []struct {
		key   string
		there bool
	}{
		{clusterListenKey, given(c.Listen) != ""},
		{advertiseKey, given(c.Advertise) != ""},
		{routesKey, len(c.Routes) > 0},
		{clusterInsecureKey, c.Insecure},
	} {
		if !other.there || l.full() {
			continue
		}
		later, earlier := other.key, natsKey
		if l.set[later].compare(l.set[earlier]) < 0 {
			later, earlier = earlier, later
		}
		l.fail(l.set[later], later, fmt.Sprintf("cannot hold together with %s at %s: nodes connect to NATS at the url, or else to each other; want one of them", earlier, l.set[earlier]))
	}
}

// checkWithoutURL refuses what nodes that connect to each other cannot do with.
func (l *loader) checkWithoutURL() {
	c := &l.config.Cluster
	if given(c.Credentials) != "" {
		l.fail(l.set[credentialsKey], credentialsKey, "are of NATS, and "+natsKey+" is not set; want it, or "+clusterSecretKey+" for nodes that connect to each other")
	}
	if given(c.Advertise) != "" && given(c.Listen) == "" {
		l.fail(l.set[advertiseKey], advertiseKey, "is where others connect, and "+clusterListenKey+` is not set; want there such as ":6222"`)
	}
	const each = "each node shows its certificate and has that of the other verified, and "
	switch {
	case given(c.TLS.Certificate) != "" && given(c.TLS.CA) == "":
		l.fail(l.set[nodeCertificateKey], nodeCertificateKey, each+nodeCAKey+" is not set; want there the name of a PEM file such as /etc/udprelay/nodes.crt")
	case given(c.TLS.CA) != "" && given(c.TLS.Certificate)+given(c.TLS.Key) == "":
		l.fail(l.set[nodeCAKey], nodeCAKey, each+nodeCertificateKey+" and "+nodePrivateKey+" are not set; want there the names of PEM files such as /etc/udprelay/node.crt and /etc/udprelay/node.key")
	}
	if l.opensCluster() && !c.Insecure && !l.full() {
		l.fail(l.set[clusterListenKey], clusterListenKey, fmt.Sprintf("everybody who reaches %q could take part; want %s, or the three files of cluster.tls, or a loopback address such as \"127.0.0.1:%d\", or %s: true if that is meant",
			c.Listen, clusterSecretKey, l.cluster.listen.port, clusterInsecureKey))
	}
}

// opensCluster reports whether the node listens to others than this machine, and
// asks nothing of them.
func (l *loader) opensCluster() bool {
	c := &l.config.Cluster
	return given(c.Listen) != "" && !l.cluster.listen.local() && given(c.SecretFile) == "" && !c.usesTLS()
}

// local reports whether e is of this machine only. Of host names only localhost
// is, for nobody looks them up here.
func (e endpoint) local() bool { return e.addr.IsLoopback() || e.host == "localhost" }

// warnOfCluster warns of keys of the cluster that do not do what somebody may
// hope.
func (l *loader) warnOfCluster() {
	c := &l.config.Cluster
	if !c.On() {
		l.warnOfNoCluster()
		return
	}
	switch {
	case given(c.URL) != "":
		l.warnOfURL()
	case !c.Insecure:
		l.warnOfRoutes()
	case l.opensCluster():
		l.warn(l.set[clusterInsecureKey], clusterInsecureKey, fmt.Sprintf("whoever reaches %q may hear and say everything; want %s, or the three files of cluster.tls", c.Listen, clusterSecretKey))
	default:
		why := "a loopback address needs no more"
		switch {
		case given(c.SecretFile) != "":
			why = "others need the secret of " + clusterSecretKey
		case c.usesTLS():
			why = "others need a certificate of " + nodeCAKey
		case given(c.Listen) == "":
			why = clusterListenKey + " is not set"
		}
		l.warn(l.set[clusterInsecureKey], clusterInsecureKey, "changes nothing: "+why+"; want false")
	}
}

// warnOfNoCluster warns of what is of no use without a cluster.
func (l *loader) warnOfNoCluster() {
	const off = "; for a cluster want " + clusterListenKey + ", " + routesKey + " or " + natsKey
	c := &l.config.Cluster
	for _, unused := range []struct {
		key   string
		there bool
		what  string
	}{
		{advertiseKey, given(c.Advertise) != "", "nobody is told"},
		{clusterSecretKey, given(c.SecretFile) != "", "the file is not read"},
		{credentialsKey, given(c.Credentials) != "", "the file is not read"},
		{nodeCertificateKey, given(c.TLS.Certificate) != "", "the files are not read"},
		{nodeCAKey, given(c.TLS.CA) != "", "the file is not read"},
		{clusterInsecureKey, c.Insecure, "nobody connects"},
	} {
		if unused.there {
			l.warn(l.set[unused.key], unused.key, "there is no cluster, so "+unused.what+off)
		}
	}
}

// warnOfRoutes warns of nodes elsewhere that nobody asks who they are.
func (l *loader) warnOfRoutes() {
	c := &l.config.Cluster
	if given(c.SecretFile) != "" || c.usesTLS() {
		return
	}
	i := slices.IndexFunc(l.cluster.routes, func(r addressed) bool { return !r.addr.local() })
	if i >= 0 {
		l.warn(l.cluster.routes[i].at, fmt.Sprintf("%s[%d]", routesKey, i), fmt.Sprintf("whoever is at %q, or on the way, may hear and say everything; want %s, or the three files of cluster.tls", c.Routes[i], clusterSecretKey))
	}
}

// warnOfURL warns of a NATS deployment that asks nothing, and of passwords that
// others may read.
func (l *loader) warnOfURL() {
	c, at := &l.config.Cluster, l.set[natsKey]
	shown := c.ShownURL()
	if given(c.SecretFile)+given(c.Credentials)+given(c.TLS.Certificate) == "" && !strings.Contains(c.URL, "@") {
		l.warn(at, natsKey, fmt.Sprintf("everybody who reaches %q may hear and say everything; want %s, which seals it, or %s, or a certificate in cluster.tls", shorten(shown), clusterSecretKey, credentialsKey))
	}
	switch {
	case hasHidden(c.URL):
		l.warn(at, natsKey, fmt.Sprintf("%s stands for a password that was not shown; want the password itself", hidden))
	case shown == c.URL:
	case at.kind == fromFlags:
		l.warn(at, natsKey, fmt.Sprintf("every user of this machine may read the password among the processes; want %s, the environment, or a file", credentialsKey))
	case at.kind == fromFile && l.open:
		l.warn(at, natsKey, fmt.Sprintf("every user of this machine may read the password in the file; want %s, or a file that others may not read (chmod o-r)", credentialsKey))
	}
}
