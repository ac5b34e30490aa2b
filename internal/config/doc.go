// Package config turns YAML, the environment and flags into checked values.
//
// [Load] overlays its sources (the embedded defaults, a file, the environment,
// flags) and returns a [Config] that is right in all its parts, or every
// mistake at once, each with its place and with what would be right. It takes
// bytes and touches nothing else: no file system, no name server, no
// environment of the process. Only [ReadFile], [Config.ReadSecret],
// [Config.ReadClusterSecret], [Gateway.CheckCertificates] and [Cluster.CheckFiles]
// open a file.
//
// It does not know how the values are used: the parts of the daemon are
// configured by the packages that own them.
package config
