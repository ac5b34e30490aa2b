package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/gateway"
	"udprelay/internal/logs"
	"udprelay/internal/state"
	"udprelay/internal/systemd"
	"udprelay/peers"
	"udprelay/relay"
)

// Options are what a daemon needs.
type Options struct {
	// Load reads the configuration, at the start and for each reload.
	Load func() (*config.Config, []config.Warning, error)

	// Config is the absolute name of the configuration file, or [config.None]; it
	// is part of the status.
	Config string

	// Log makes the log that a configuration asks for. It is called once.
	Log func(*config.Config) *logs.Log

	// Version is that of the program, for who asks.
	Version string

	// Reload asks for a reload with each value; nil: never.
	Reload <-chan os.Signal

	// Sockets are those that the service manager has passed, with their names.
	Sockets []*os.File

	// Getenv looks up the variables in which a service manager names
	// directories.
	Getenv func(string) string
}

// A daemon is a running relay and what belongs to it.
type daemon struct {
	options Options
	output  *logs.Log
	log     *slog.Logger
	places  places
	relay   *relay.Relay
	gateway *gateway.Gateway
	node    *node
	shared  *sharedBans
	resolve *resolving
	sampler *sampler
	started time.Time
	ready   atomic.Bool
	loading chan struct{}   // holds one while somebody reads the configuration
	beside  context.Context // ends when all but the relay is to end

	reloading    sync.Mutex     // held while what follows changes
	config       *config.Config // what holds
	secret       []byte
	certificates *tls.Config // of the gateways; nil: none
	clusterFiles clusterFiles
	stopping     bool     // nothing is reloaded any more
	warned       []string // warnings about it that have been logged

	secretPrint atomic.Pointer[string] // what the state file knows the secret by

	names    atomic.Pointer[[]state.Name] // addresses of static peers that have names
	resolved atomic.Uint64                // how often names has changed

	banning sync.Mutex    // held while a ban begins or is taken away, so that what is told of it is true
	banned  atomic.Uint64 // how often that was

	saver *state.Saver // saves what outlives a restart; nil: nothing does
	spare spare        // keeps it while the disk cannot
}

// Run runs a relay until ctx is cancelled, which is no error. The error may be
// a [*BindError], a [*ZoneError] or one of the configuration, which has an exit code as well.
func Run(ctx context.Context, options Options) error {
	cfg, warnings, err := options.Load()
	if err != nil {
		return err
	}
	d := &daemon{options: options, loading: make(chan struct{}, 1), started: time.Now(), config: cfg, output: options.Log(cfg), places: placesOf(cfg, options.Getenv)}
	defer d.output.Close(closeLog)
	d.log = d.output.Logger()
	d.warn(slices.Concat(warnings, cfg.MachineWarnings()))
	if err := d.readFiles(); err != nil {
		return err
	}
	d.spare, d.options.Sockets = takeSpare(d.options.Sockets)
	unlock, err := d.lockState()
	if err != nil {
		return err
	}
	defer unlock()
	saved, err := d.readState()
	if err != nil {
		return err
	}
	control, err := d.listenForControl()
	if err != nil {
		return err
	}
	if err := d.open(ctx); err != nil || d.relay == nil {
		if control != nil {
			control.Close()
		}
		return err
	}
	return d.run(ctx, control, saved)
}

// warn logs warnings about the configuration at the start.
func (d *daemon) warn(warnings []config.Warning) {
	for _, warning := range warnings {
		d.log.Warn(warning.String())
		d.warned = append(d.warned, warning.String())
	}
}

// readFiles reads the secret and the certificates that the configuration names.
func (d *daemon) readFiles() error {
	secret, warnings, err := d.config.ReadSecret()
	if err != nil {
		return err
	}
	certificates, more, err := Certificates(d.config)
	if err != nil {
		return err
	}
	files, rest, err := readClusterFiles(d.config)
	if err != nil {
		return err
	}
	d.warn(slices.Concat(warnings, more, rest))
	d.secret, d.certificates, d.clusterFiles = secret, certificates, files
	return nil
}

// open makes the relay. There is none, and no error, if ctx was cancelled
// meanwhile.
func (d *daemon) open(ctx context.Context) error {
	conn, from, err := openSocket(ctx, d.config.Listen, d.options.Sockets, d.log)
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return nil // stopped while the host name was looked up
	}
	if err != nil {
		return err
	}
	options := relayOptions(d.config, d.secret, d.log)
	if d.relay, err = relay.New(conn, options); err != nil {
		return err
	}
	d.gateway = gateway.New(d.relay, d.log)
	d.node = &node{relay: d.relay, log: d.log}
	d.shared = newSharedBans(d, d.node)
	describe(d.log, d.config, d.relay, options, from)
	return nil
}

// run runs the relay and all that goes with it. When ctx is cancelled, all but the
// relay ends first, at once and however stuck its clients are; the relay goes on
// until then. Last, the peers and bans are saved.
func (d *daemon) run(ctx context.Context, control net.Listener, saved *state.Snapshot) error {
	d.noteNames(nil)
	d.saver = d.restore(saved)
	d.sampler = newSampler(d.relay, time.Now()) // before other nodes can ask for the peers
	err := d.openGateway(ctx, d.config, d.secret, d.certificates)
	if err == nil {
		err = d.node.apply(ctx, d.clusterOptions(d.config, d.clusterFiles))
	}
	if err != nil {
		if control != nil {
			control.Close()
		}
		d.close()
		if ctx.Err() != nil {
			return nil // stopped meanwhile
		}
		return err
	}
	d.resolve = startResolving(newStatic(d.config, d.relay, net.DefaultResolver, d.log, d.noteNames, saved.Names))
	d.resolve.wait(ctx, resolveFirst)

	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	d.beside = beside
	var working sync.WaitGroup
	working.Go(func() { d.tellManager(beside) })
	working.Go(func() { d.sayChanges(beside) })
	working.Go(func() { d.sampler.run(beside) })
	if listener, host := d.listenForHTTP(); listener != nil {
		working.Go(func() { d.tellByHTTP(beside, listener, host) })
	}
	working.Go(func() { d.reloadWhenAsked(beside) })
	if control != nil {
		working.Go(func() {
			if err := admin.Serve(beside, control, d, d, d.log); err != nil {
				d.log.Error("the control socket failed", "error", err)
			}
		})
	}
	var deaf error
	working.Go(func() {
		if deaf = d.watchZones(beside); deaf != nil {
			cancel()
		}
	})
	saving, endSaving := context.WithCancel(context.Background())
	var lastSave sync.WaitGroup
	if d.saver != nil {
		lastSave.Go(func() { d.saver.Run(saving) })
	}
	context.AfterFunc(beside, func() { d.complain(systemd.Stopping()) })

	relaying, endRelaying := context.WithCancel(context.WithoutCancel(ctx))
	defer endRelaying()
	relayed := make(chan error, 1)
	go func() {
		relayed <- d.relay.Run(relaying)
		cancel() // the socket may have failed
	}()
	<-beside.Done()
	working.Go(d.node.stop)
	working.Go(d.gateway.Close)
	working.Go(d.endReloads)
	working.Wait()
	endRelaying()
	err = <-relayed
	endSaving()
	lastSave.Wait()
	sayTotals(d.log, d.relay)
	return cmp.Or(err, deaf)
}

// endReloads has nothing reloaded any more, nor any name looked up.
func (d *daemon) endReloads() {
	d.reloading.Lock()
	d.stopping = true
	d.reloading.Unlock()
	d.resolve.stop()
}

// close closes a relay that has never run.
func (d *daemon) close() {
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	_ = d.relay.Run(stopped)
	d.node.stop()
	d.gateway.Close()
}

// listenForControl opens the control socket, if there is to be one. The one
// that is there without being asked for gives way to that of another daemon.
func (d *daemon) listenForControl() (net.Listener, error) {
	if d.places.control == "" {
		if d.config.Admin.Socket != config.None {
			d.log.Info("no control socket: there is no directory for it", "hint", "--admin-socket FILE gives this relay one, and status --socket FILE asks there")
		}
		return nil, nil
	}
	if err := d.places.makeRuntime(); err != nil && !d.places.controlAsked {
		d.log.Warn("no control socket", "error", err)
		return nil, nil
	}
	listener, err := admin.ListenFor(d.places.control, d.places.group)
	switch groupFailure := (*admin.GroupError)(nil); {
	case err == nil:
		return listener, nil
	case errors.As(err, &groupFailure):
		return nil, err // what is asked for in vain is not to be missed
	case d.places.controlAsked:
		return nil, &ControlError{err}
	case errors.Is(err, admin.ErrInUse):
		d.log.Info("no control socket: another relay has the default one", "socket", d.places.control, "hint", "--admin-socket gives this one its own")
	default:
		d.log.Warn("no control socket", "error", err)
	}
	return nil, nil
}

// A ControlError is a control socket that was asked for and cannot be opened.
type ControlError struct{ Err error }

func (e *ControlError) Error() string { return e.Err.Error() }

func (e *ControlError) Unwrap() error { return e.Err }

// ExitCode is EX_UNAVAILABLE of sysexits.h.
func (e *ControlError) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *ControlError) Hint() string {
	return "choose another one with admin.socket, or admin.socket: none to do without"
}

// relayOptions returns what cfg says to the datapath.
func relayOptions(cfg *config.Config, secret []byte, log *slog.Logger) relay.Options {
	return relay.Options{
		Peers: peers.Options{
			Expiry:        cfg.Peers.Expiry,
			Max:           cfg.Peers.Max,
			MaxPerAddress: cfg.Peers.MaxPerAddress,
			Access:        cfg.Access,

			JoinsPerSecond:           cfg.Peers.JoinsPerSecond,
			JoinsPerSecondPerAddress: cfg.Peers.JoinsPerSecondPerAddress,
		},
		ReceiveBuffer: cfg.Socket.ReceiveBuffer,
		SendBuffer:    cfg.Socket.SendBuffer,
		NoTrains:      cfg.Socket.Trains == config.TrainsOff,
		Senders:       cmp.Or(cfg.Socket.Senders, runtime.GOMAXPROCS(0)),
		Coalesce:      cfg.Socket.Coalesce,
		Limits: relay.Limits{
			PeerDatagrams: cfg.Limits.PeerDatagramsPerSecond,
			PeerBytes:     cfg.Limits.PeerBytesPerSecond,
			EgressBytes:   cfg.Limits.EgressBytesPerSecond,
		},
		Secret: secret,
		Logger: log,
	}
}
