package daemon

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"udprelay/internal/admin"
	"udprelay/internal/certificate"
	"udprelay/internal/cluster"
	"udprelay/internal/config"
	"udprelay/relay"
)

// A node is what the daemon is of a cluster: nothing, as long as no cluster is
// configured.
type node struct {
	relay   *relay.Relay
	log     *slog.Logger
	current atomic.Pointer[membership] // nil: it relays alone

	changing sync.Mutex // held while it joins or leaves
	stopped  bool
}

// A membership is the part that it takes in a cluster.
type membership struct {
	cluster *cluster.Cluster
	options cluster.Options
}

// clusterFiles is what files of the section cluster have in them.
type clusterFiles struct {
	secret []byte
	tls    *tls.Config // nil: none
}

// readClusterFiles reads the files that cfg names for the cluster, if it is on.
// The error has an exit code.
func readClusterFiles(cfg *config.Config) (files clusterFiles, warnings []config.Warning, err error) {
	if !cfg.Cluster.On() {
		return files, nil, nil
	}
	if files.secret, warnings, err = cfg.ReadClusterSecret(); err != nil {
		return files, warnings, err
	}
	more, err := cfg.Cluster.CheckFiles()
	if err != nil {
		return files, warnings, err
	}
	warnings = slices.Concat(warnings, more)
	file, key, authorities := unlessNone(cfg.Cluster.TLS.Certificate), unlessNone(cfg.Cluster.TLS.Key), unlessNone(cfg.Cluster.TLS.CA)
	var said []string
	switch {
	case file != "":
		if files.tls, said, err = certificate.Load(file, key, authorities); err == nil {
			files.tls.RootCAs = files.tls.ClientCAs
			if unlessNone(cfg.Cluster.URL) == "" {
				said = append(said, certificate.Mutual(files.tls)...)
			}
		}
	case authorities != "":
		files.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		files.tls.RootCAs, said, err = certificate.LoadAuthorities(authorities)
	}
	if err != nil {
		return clusterFiles{}, warnings, &CertificateError{"cluster.tls", err}
	}
	for _, text := range said {
		warnings = append(warnings, config.Warning{Place: config.Place{Key: "cluster.tls"}, Message: text})
	}
	return files, warnings, nil
}

// CheckCluster returns what is wrong with the files that cfg names for the
// cluster, and with a program that was built without clusters. The error has an
// exit code.
func CheckCluster(cfg *config.Config) ([]config.Warning, error) {
	if cfg.Cluster.On() && !cluster.Available() {
		return nil, &ClusterError{errNoClusters, 78}
	}
	_, warnings, err := readClusterFiles(cfg)
	return warnings, err
}

var errNoClusters = errors.New("cluster: this program was built without clusters (nocluster)")

// clusterOptions returns what cfg wants of the cluster; nil: nothing.
func (d *daemon) clusterOptions(cfg *config.Config, files clusterFiles) *cluster.Options {
	c := &cfg.Cluster
	if !c.On() {
		return nil
	}
	name := c.Name
	if name == "" {
		name, _ = os.Hostname()
	}
	return &cluster.Options{
		Name:           name,
		Version:        d.options.Version,
		Room:           c.Room,
		Listen:         unlessNone(c.Listen),
		InsecureListen: c.Insecure,
		Advertise:      unlessNone(c.Advertise),
		Routes:         c.Routes,
		URL:            unlessNone(c.URL),
		Credentials:    unlessNone(c.Credentials),
		TLS:            files.tls,
		Secret:         files.secret,
		Answer:         d.answer,
		Shared:         d.shared,
		Queue:          c.Queue,
		Logger:         d.log,
	}
}

// sameMembership reports whether a node with the options a is one with b.
func sameMembership(a, b *cluster.Options) bool {
	return a.Name == b.Name && a.Room == b.Room && a.Listen == b.Listen && a.InsecureListen == b.InsecureListen &&
		a.Advertise == b.Advertise && slices.Equal(a.Routes, b.Routes) && a.URL == b.URL && a.Credentials == b.Credentials &&
		sameCertificates(a.TLS, b.TLS) && bytes.Equal(a.Secret, b.Secret) && a.Queue == b.Queue
}

// apply makes the daemon the node that the options want; nil: none. It stays the
// node that it was if there is an error, which has an exit code.
func (n *node) apply(ctx context.Context, options *cluster.Options) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	before := n.current.Load()
	switch {
	case n.stopped:
		return errStopping
	case before == nil && options == nil, before != nil && options != nil && sameMembership(&before.options, options):
		return nil
	case options == nil:
		n.leave()
		return nil
	}
	if err := ctx.Err(); err != nil {
		return &ClusterError{err, 69} // nothing is given up for what cannot be had
	}
	n.leave() // the new one may listen where this one does
	err := n.join(ctx, options)
	if err == nil || before == nil {
		return err
	}
	// Also if it was ctx that has ended.
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadWithin)
	defer cancel()
	if again := n.join(back, &before.options); again != nil {
		n.log.Error("this relay is no node of the cluster any more", "error", again)
	}
	return err
}

// join makes the daemon a node. The mutex is held.
func (n *node) join(ctx context.Context, options *cluster.Options) error {
	c, err := cluster.Start(ctx, n.relay, *options)
	if err != nil {
		return &ClusterError{err, 69}
	}
	n.current.Store(&membership{c, *options})
	said := []any{"room", options.Room, "name", options.Name, "id", c.ID(), "sealed", len(options.Secret) > 0}
	if addr := c.Addr(); addr != nil {
		said = append(said, "listen", addr)
	}
	if options.URL == "" {
		said = append(said, "routes", len(options.Routes))
	} else {
		said = append(said, "url", shown(options.URL))
	}
	n.log.Info("node of a cluster", said...)
	return nil
}

// leave takes the daemon out of the cluster. The mutex is held.
func (n *node) leave() {
	if before := n.current.Swap(nil); before != nil {
		before.cluster.Close()
		n.log.Info("node of a cluster no more", "room", before.options.Room)
	}
}

// stop takes the daemon out of the cluster for good.
func (n *node) stop() {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.stopped = true
	n.leave()
}

// shown returns a list of URLs without the passwords in it.
func shown(list string) string { return (&config.Cluster{URL: list}).ShownURL() }

// On reports whether the daemon is a node.
func (n *node) On() bool { return n.current.Load() != nil }

// Name returns what the node is called, or nothing.
func (n *node) Name() string {
	if m := n.current.Load(); m != nil {
		return m.options.Name
	}
	return ""
}

// Changed tells the other nodes that what all agree on has changed here.
func (n *node) Changed() {
	if m := n.current.Load(); m != nil {
		m.cluster.Changed()
	}
}

// AwaitShared waits until the other nodes have what all agree on, or ctx ends,
// and returns the names of those that have it and of those that have not, among
// them those that are silent.
func (n *node) AwaitShared(ctx context.Context) (here, missing []string) {
	m := n.current.Load()
	if m == nil {
		return nil, nil
	}
	without := make(map[string]bool)
	for _, other := range m.cluster.AwaitShared(ctx) {
		without[other.ID] = true
		missing = append(missing, cmp.Or(other.Name, unnamed))
	}
	for _, other := range m.cluster.Stats().Nodes {
		if !other.Gone && !without[other.ID] {
			here = append(here, cmp.Or(other.Name, unnamed))
		}
	}
	return here, missing
}

// tell returns what is known of the cluster.
func (n *node) tell() admin.Cluster {
	told := admin.Cluster{Drops: map[string]uint64{}, Routes: []admin.ClusterRoute{}, Nodes: []admin.ClusterNode{}}
	m := n.current.Load()
	if m == nil {
		return told
	}
	stats := m.cluster.Stats()
	told.On, told.ID, told.Name, told.Room = true, m.cluster.ID(), m.options.Name, m.options.Room
	if addr := m.cluster.Addr(); addr != nil {
		told.Listen = addr.String()
	}
	if m.options.URL != "" {
		told.URL = shown(m.options.URL)
	}
	told.Connected, told.Trouble, told.Sealed = stats.Connected, stats.Trouble, len(m.options.Secret) > 0
	told.TLS = m.options.TLS != nil && m.options.URL == ""
	told.Published, told.PublishedBytes = stats.PublishedDatagrams, stats.PublishedBytes
	told.Received, told.ReceivedBytes = stats.ReceivedDatagrams, stats.ReceivedBytes
	told.PublishedRate, told.ReceivedRate = stats.Out, stats.In
	for _, reason := range cluster.Drops() {
		told.Drops[reason.String()] = stats.Dropped[reason]
	}
	for _, r := range stats.Routes {
		route := admin.ClusterRoute{Address: r.Address, Node: r.Node, NodeID: r.NodeID, Connected: r.Connected, Error: r.Error, RTT: admin.Seconds{Duration: r.RTT}, Pending: r.Pending}
		if !r.Since.IsZero() {
			route.Since = &admin.Time{Time: r.Since}
		}
		told.Routes = append(told.Routes, route)
	}
	for _, other := range stats.Nodes {
		told.Nodes = append(told.Nodes, admin.ClusterNode{
			ID: other.ID, Name: other.Name, Version: other.Version, State: stateOf(&other), Heard: admin.Time{Time: other.LastSeen},
			Peers: other.Peers, InRate: other.In, OutRate: other.Out, RTT: admin.Seconds{Duration: other.RTT},
			Received: other.Received, Lost: other.Lost, Duplicates: other.Duplicates, SameBans: other.SameShared,
		})
	}
	return told
}

// stateOf says whether a node is there.
func stateOf(other *cluster.Node) string {
	switch {
	case other.Left:
		return "left"
	case other.Gone:
		return "gone"
	}
	return "here"
}

// A question is what nodes ask each other. Of later versions it may have fields
// that are not known here: then it is not answered.
type question struct {
	Peers *string `json:"peers"` // a query, as a URL has it
}

// parseQuestion returns what another node asks; ok is false if that is not known
// here.
func parseQuestion(text []byte) (query admin.Query, ok bool) {
	var asked question
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&asked) != nil || asked.Peers == nil {
		return query, false
	}
	values, err := url.ParseQuery(*asked.Peers)
	if err != nil {
		return query, false
	}
	query, err = admin.ParseQuery(values)
	return query, err == nil
}

// answer answers another node; nil: it is not known what is asked.
func (d *daemon) answer(_ context.Context, text []byte) []byte {
	query, ok := parseQuestion(text)
	if !ok {
		return nil
	}
	body, err := json.Marshal(query.Page(d))
	if err != nil {
		d.log.Warn("the peers cannot be told to another node", "error", err)
		return nil
	}
	return body
}

// ClusterPeers asks another node for a page of its peers. The error is an
// [*admin.Failure].
func (d *daemon) ClusterPeers(ctx context.Context, id string, query admin.Query) (page admin.PeerPage, err error) {
	m := d.node.current.Load()
	if m == nil {
		return page, &admin.Failure{Message: "this relay is no node of a cluster", Way: "cluster.listen with cluster.routes, or cluster.url, make it one", Code: exitUnavailable}
	}
	text := query.Values().Encode()
	asked, err := json.Marshal(question{Peers: &text})
	if err != nil {
		return page, err
	}
	body, err := m.cluster.Ask(ctx, id, asked)
	switch {
	case errors.Is(err, cluster.ErrNoNode):
		return page, &admin.Failure{Message: fmt.Sprintf("there is no node %s", id), Way: "udprelay status --cluster shows who is there", Code: exitFailure}
	case err != nil:
		return page, &admin.Failure{Message: fmt.Sprintf("node %s: %v", id, err), Code: exitUnavailable}
	}
	if page, err = parsePage(body, query.Limit); err != nil {
		return admin.PeerPage{}, &admin.Failure{Message: fmt.Sprintf("node %s answers what cannot be read; is it of another version?", id), Code: exitUnavailable}
	}
	name := id
	for _, other := range m.cluster.Stats().Nodes {
		if other.ID == id && other.Name != "" {
			name = other.Name
		}
	}
	for i := range page.Peers {
		page.Peers[i].Node = name
	}
	return page, nil
}

// parsePage returns the page in the answer of another node, with at most so many
// peers: what is said in a few bytes of each may take some hundred here.
func parsePage(body []byte, most int) (page admin.PeerPage, err error) {
	var said struct {
		admin.PeerPage
		Peers json.RawMessage `json:"peers"` // in place of those of the page
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return page, err
	}
	page = said.PeerPage
	if len(said.Peers) == 0 || string(said.Peers) == "null" {
		return page, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(said.Peers))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return admin.PeerPage{}, fmt.Errorf("peers is %v; want a list", token)
	}
	for len(page.Peers) < most && decoder.More() {
		var p admin.Peer
		if err := decoder.Decode(&p); err != nil {
			return admin.PeerPage{}, err
		}
		page.Peers = append(page.Peers, p)
	}
	return page, nil
}

// A ClusterError is a cluster that this daemon cannot be a node of.
type ClusterError struct {
	Err  error
	Code int
}

func (e *ClusterError) Error() string { return e.Err.Error() }

func (e *ClusterError) Unwrap() error { return e.Err }

// ExitCode is one of sysexits.h.
func (e *ClusterError) ExitCode() int { return e.Code }

// Hint returns a way out.
func (e *ClusterError) Hint() string {
	if errors.Is(e.Err, errNoClusters) {
		return "take a program that was built without that tag, or leave the section cluster out"
	}
	return "another program may have the port (ss -ltnp shows which), or cluster.listen may not be an address of this host"
}
