package config

// ReadClusterSecret reads the secret that the nodes of the cluster share, and
// warns of one that is easily found. It is nil if there is none, or no cluster.
// The error is an [UnreadableSecret].
func (c *Config) ReadClusterSecret() (secret []byte, warnings []Warning, err error) {
	name := given(c.Cluster.SecretFile)
	if name == "" || !c.Cluster.On() {
		return nil, nil, nil
	}
	return readSecret(name, clusterSecretKey)
}

// Files returns the names of the files that the cluster needs besides its
// secret, "" for those that it does not.
func (c *Cluster) Files() (certificate, key, ca, credentials string) {
	if !c.On() {
		return "", "", "", ""
	}
	return given(c.TLS.Certificate), given(c.TLS.Key), given(c.TLS.CA), given(c.Credentials)
}

// CheckFiles opens the files of [Cluster.Files], and warns of a private key and
// of credentials that others may read. What is in them it does not judge. The
// error is an [UnreadableCertificate].
func (c *Cluster) CheckFiles() (warnings []Warning, err error) {
	certificate, private, ca, credentials := c.Files()
	for _, file := range []struct{ name, key, secret string }{
		{certificate, nodeCertificateKey, ""},
		{private, nodePrivateKey, "the private key"},
		{ca, nodeCAKey, ""},
		{credentials, credentialsKey, "the credentials"},
	} {
		if file.name == "" {
			continue
		}
		if err := checkReadable(file.name); err != nil {
			return nil, &UnreadableCertificate{file.name, file.key, err}
		}
		if file.secret != "" {
			warnings = append(warnings, warnIfOpen(file.name, file.key, file.secret)...)
		}
	}
	return warnings, nil
}
