package config

import (
	"log/slog"
	"time"

	"udprelay/peers"
)

// A Config is a configuration that [Load] has checked.
type Config struct {
	// Listen is host:port. The host is empty (every address), an IP address,
	// with its zone if it is link-local, or a host name. Port 0 lets the
	// system choose.
	Listen string

	Peers struct {
		Expiry        time.Duration // 100ms to 24h
		Max           int           // learned peers; 0: no limit
		MaxPerAddress int           // learned peers per IPv4 address or IPv6 /64; 0: no limit

		JoinsPerSecond           int // learned peers that join in a second; 0: no limit
		JoinsPerSecondPerAddress int // the same, per IPv4 address or IPv6 /64; 0: no limit

		Static []StaticPeer
	}

	Access []peers.Rule // the first that matches decides; empty: nobody may join

	Join struct {
		// SecretFile is the name of the file with the shared secret; "": none.
		// It is not empty if a rule asks for the secret.
		SecretFile string
	}

	Limits struct { // 0: no limit
		PeerDatagramsPerSecond int // that are relayed for one peer, up to 1,000,000,000
		PeerBytesPerSecond     int // of payload, that are relayed for one peer, up to 1 GiB
		EgressBytesPerSecond   int // of payload, that leave for all receivers together, up to 1 GiB
	}

	Socket struct {
		ReceiveBuffer int    // bytes, 4 KiB to 512 MiB
		SendBuffer    int    // bytes, 4 KiB to 512 MiB
		Senders       int    // goroutines that share out the peers of each batch, up to 256; 0: one per core
		Trains        string // TrainsAuto or TrainsOff

		// Coalesce is how long a batch that is not full waits for more datagrams,
		// 10us to 10ms; 0: not at all.
		Coalesce time.Duration
	}

	Gateway Gateway
	Cluster Cluster

	Admin struct {
		// Socket is the name of the unix socket for control: "" stands for
		// control.sock in the runtime directory, None for no control; any other
		// is absolute and has at most 107 bytes.
		Socket string

		// Group is the name or the number of the group whose members may ask at
		// Socket; "" or None for nobody but root and the user of the relay.
		Group string

		// HTTP is where the relay answers HTTP, which changes nothing: host:port,
		// or "" or None for nowhere. The host is an IP address, with its zone if
		// it is link-local, or a host name. Port 0 lets the system choose.
		HTTP string

		// MetricsPerPeer adds what each peer has sent and got to the metrics.
		MetricsPerPeer bool
	}

	State struct {
		// File is the name of the file that keeps the peers over a restart: ""
		// stands for peers in the state directory, None for not keeping them;
		// any other is absolute.
		File string
	}

	Log struct {
		Level  slog.Level
		Format string // FormatText or FormatJSON
	}
}

// The words of socket.trains.
const (
	TrainsAuto = "auto"
	TrainsOff  = "off"
)

// None is the word for none of admin.socket, admin.group, admin.http, state.file
// and the addresses and files of gateway and cluster.
const None = "none"

// The words of log.format.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// A Gateway is how clients without UDP take part.
type Gateway struct {
	TCP struct {
		// Listen is where clients connect by TCP: host:port as in Config.Listen,
		// or "" or None for nowhere.
		Listen string
	}

	TLS struct {
		Listen string // the same, with TLS

		// Certificate, Key and ClientCA are the absolute names of PEM files, or
		// "" or None: the certificate of the relay, its private key, and the
		// certificates by one of which those of clients must be signed. The first
		// two are there together, and where a gateway uses TLS; ClientCA is there
		// if clients need a certificate.
		Certificate, Key, ClientCA string
	}

	WebSocket struct {
		Listen  string   // as TCP.Listen
		TLS     bool     // with the certificate of TLS
		Path    string   // of the URL; it begins with "/" and needs no escape
		Origins []string // such as https://app.example, or "*"; they need no order
	}

	Connections int           // at once, of all gateways, 1 to 100,000
	Queue       int           // bytes that may wait for one client, 64 KiB to 64 MiB
	Idle        time.Duration // how long a client may send nothing, 100ms to 24h; 0: for ever
}

// A StaticPeer is a peer that is always there.
type StaticPeer struct {
	// Address is host:port, as it was written. The host is an IP address,
	// with its zone if it is link-local, or a host name that nobody has
	// looked up yet; the port is 1 to 65535.
	Address string
}

// A File is a configuration file that has been read.
type File struct {
	Name string // for messages
	Data []byte
	Open bool // every user of this machine may read it
}

// A Setting is a flag of the command line that stands for a key.
type Setting struct {
	Name  string // for messages, such as --expiry
	Key   string // such as peers.expiry
	Value string
}

// DefaultsName is how messages name the embedded defaults.
const DefaultsName = "built-in config.yaml"

// Load overlays the defaults, the file (nil: none), the environment (as
// os.Environ returns it) and the flags, each beating those before it, and
// checks the whole. The error is of type [Errors]. Each flag for peers.static
// adds a peer to the list; those for access together replace the list.
func Load(defaults []byte, file *File, environ []string, flags []Setting) (*Config, []Warning, error) {
	l := loader{set: map[string]origin{}}
	l.readFile(fromDefaults, &File{Name: DefaultsName, Data: defaults})
	l.requireAll()
	if file != nil {
		l.readFile(fromFile, file)
	}
	l.readEnvironment(environ)
	l.readFlags(flags)
	l.checkStatic()
	l.checkSecret()
	l.checkTCP()
	l.checkTLS()
	l.checkCluster()
	if err := l.err(); err != nil {
		return nil, nil, err
	}
	l.checkAccess()
	l.checkOpen()
	l.checkCoalesce()
	l.checkGroup()
	l.checkHTTP()
	l.checkOrigins()
	l.warnOfCluster()
	return &l.config, l.warnings, nil
}
