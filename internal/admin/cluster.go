package admin

import "encoding/json"

// A Cluster is what a daemon knows of the cluster that it is a node of. Counts
// are since it became one.
type Cluster struct {
	On        bool   `json:"on"` // false: it relays alone, and all that follows is empty
	ID        string `json:"id"` // of this node, new at each start
	Name      string `json:"name"`
	Room      string `json:"room"`
	Listen    string `json:"listen"`    // where other nodes connect; "": nowhere
	URL       string `json:"url"`       // of a NATS deployment, without passwords; "": nodes connect to each other
	Connected bool   `json:"connected"` // to a NATS server, that in the daemon or one of the deployment
	Trouble   string `json:"trouble"`   // what NATS said last against this node, while it is not connected or may not do what it needs; "": nothing
	Sealed    bool   `json:"sealed"`    // messages are encrypted and authenticated with the secret
	TLS       bool   `json:"tls"`       // nodes show each other certificates; with a NATS deployment: it is false

	Published      uint64 `json:"published"` // datagrams given to NATS
	PublishedBytes uint64 `json:"published_bytes"`
	Received       uint64 `json:"received"` // datagrams of other nodes, brought to the relay
	ReceivedBytes  uint64 `json:"received_bytes"`

	PublishedRate float64 `json:"published_rate"` // datagrams in a second, lately
	ReceivedRate  float64 `json:"received_rate"`

	Drops map[string]uint64 `json:"drops"` // by reason, every reason there is

	Routes []ClusterRoute `json:"routes"` // to other nodes; none with a NATS deployment
	Nodes  []ClusterNode  `json:"nodes"`  // the others of the room, by name
}

// MarshalJSON writes c; what it has none of is an empty list, not null.
func (c Cluster) MarshalJSON() ([]byte, error) {
	if c.Drops == nil {
		c.Drops = map[string]uint64{}
	}
	if c.Routes == nil {
		c.Routes = []ClusterRoute{}
	}
	if c.Nodes == nil {
		c.Nodes = []ClusterNode{}
	}
	type plain Cluster
	return json.Marshal(plain(c))
}

// A ClusterRoute is a connection to another node, or one that is missing.
type ClusterRoute struct {
	Address   string  `json:"address"`   // host:port of the other node; as configured if it is not connected
	Node      string  `json:"node"`      // its name; "": not known
	NodeID    string  `json:"node_id"`   // the ID of the node, if it is in the room that of one of the nodes; "": not known
	Connected bool    `json:"connected"` // false: it is configured, and tried again and again
	Error     string  `json:"error"`     // why it is not connected, as far as that is known
	RTT       Seconds `json:"rtt_seconds"`
	Pending   int     `json:"pending"` // bytes that wait to leave
	Since     *Time   `json:"since"`   // null: not connected
}

// States of a node.
const (
	NodeHere = "here"
	NodeLeft = "left" // it said so
	NodeGone = "gone" // it is silent
)

// A ClusterNode is another node of the room, as it was last heard.
type ClusterNode struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"` // one of NodeHere, NodeLeft and NodeGone
	Heard   Time   `json:"heard"`

	Peers   int     `json:"peers"`    // that it has itself
	InRate  float64 `json:"in_rate"`  // datagrams in a second that it gets from the cluster
	OutRate float64 `json:"out_rate"` // and gives to it

	RTT        Seconds `json:"rtt_seconds"` // a round trip to it, through NATS; 0: not known yet
	Received   uint64  `json:"received"`    // of its datagrams here
	Lost       uint64  `json:"lost"`        // of its datagrams, that did not come
	Duplicates uint64  `json:"duplicates"`  // messages of it that came again, or late, and were dropped
	SameBans   bool    `json:"same_bans"`   // it has the bans of the cluster that this node has
}
