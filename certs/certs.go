// Package certs keeps the certificates that TLS and DTLS listeners present. They come from a CA that speaks ACME (package
// acme), or the one comes from files of the operator, which are read again when they change, or it is self-signed, kept in
// one file and replaced before it ends. In each case what is in use is swapped in memory: a handshake takes what is current
// and never waits for a disk or for a CA.
package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// Defaults of Config.
const (
	DefaultValidity    = 365 * 24 * time.Hour
	DefaultRenewBefore = 30 * 24 * time.Hour
	DefaultPoll        = 5 * time.Second
)

// Config says which certificate is kept. Only Dir, or CertFile and KeyFile, is required.
type Config struct {
	// Dir is the folder of the self-signed pair, and of what comes from a CA. It is made, with 0700, if it is missing.
	// Unused with CertFile and KeyFile.
	Dir string

	// CertFile and KeyFile are PEM files of the operator: the chain, with the server's certificate first, and its key.
	// Both or neither.
	CertFile, KeyFile string

	// ACME has certificates come from a CA; nil: none do. Without Domains it is asked for PublicHost. CertFile and KeyFile
	// are empty then.
	ACME *acme.Settings
	// Around and Pace are for ACME.
	Around acme.Surroundings
	Pace   acme.Pace

	// PublicHost is the name or address that clients are told; empty: unknown.
	PublicHost string
	// Hosts are further names and addresses of the self-signed certificate.
	Hosts []string
	// Addresses lists the machine's own addresses, for the self-signed certificate; nil: those of its interfaces.
	Addresses func() ([]netip.Addr, error)

	// Validity and RenewBefore belong to the self-signed certificate: how long it holds, and how long before its end
	// the next one is made. RenewBefore must be less than Validity. 0: the defaults.
	Validity, RenewBefore time.Duration

	// Poll is how often files and dates are looked at while Run runs; 0: the default.
	Poll time.Duration

	// OnChange, if set, is called when another pair has come into use, or clients will no longer accept it, from the
	// goroutine that noticed. It must not call a method that changes the Keeper.
	OnChange func(Info)

	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger takes warnings and changes; nil: none.
	Logger *slog.Logger
}

// Kind says where a certificate comes from.
type Kind string

// The kinds.
const (
	SelfSigned Kind = "self-signed" // the program makes it
	Files      Kind = "files"       // the operator gives it
	ACME       Kind = "acme"        // a CA gives it
)

// Info describes the pair in use.
type Info struct {
	Kind        Kind      // where it comes from; after a reload it may be where it came from, until there is another
	StandIn     bool      // there is no usable pair of that kind: this one is self-signed, and no client trusts it
	Source      string    // the certificate's file
	Names       []string  // its DNS names and addresses, and those of the pairs for other names
	NotBefore   time.Time // it holds from here …
	NotAfter    time.Time // … to here
	SelfSigned  bool      // signed with its own key, ours or a given one
	Verifiable  bool      // see Keeper.Verifiable
	Fingerprint string    // SHA-256 of the certificate, lower-case hex
}

// Keeper holds the pair in use. All its methods may be called at any time from any goroutine.
type Keeper struct {
	now     func() time.Time
	found   *findings.Set // logs each doubt once
	current atomic.Pointer[pair]
	answer  atomic.Pointer[acme.Client] // answers a CA's questions; nil: none are expected
	swapped chan struct{}               // has one if the source is another than before

	mu    sync.Mutex // one look at the files at a time; guards what follows
	cfg   Config
	src   source
	names names // what a self-signed certificate must cover
	cause error // why the last look brought nothing to use
}

// New finds the pair to present. If that of the files is unusable, a self-signed one stands in for it, which no client
// trusts, until the files are right: what else the process serves does not depend on them. [Keeper.Doubts] and the log
// say so. The error is about cfg itself.
func New(cfg Config) (*Keeper, error) {
	cfg = cfg.complete()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n, err := namesFor(cfg.PublicHost, cfg.Hosts, cfg.Addresses)
	if err != nil {
		return nil, err
	}
	k := &Keeper{now: cfg.Now, cfg: cfg, names: n, found: findings.NewSet(cfg.Logger), swapped: make(chan struct{}, 1)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.src, err = k.newSource(cfg); err != nil {
		return nil, err
	}
	k.answer.Store(asks(k.src))
	p, err := k.src.look(nil, k.view())
	k.cause = err
	if p == nil {
		if p, err = standIn(k.view()); err != nil {
			return nil, err
		}
	}
	k.use(p)
	k.complain()
	return k, nil
}

// Check says what is wrong with a pair of files for clients that are told host, which may be empty: they cannot be read, do
// not belong together, or the certificate is not for that host or not for servers, has ended or has yet to begin at the
// time now. The error names the file and the remedy, and wraps one of this package's sentinels.
func Check(certFile, keyFile, host string, now time.Time) error {
	p, err := (&files{certFile, keyFile}).look(nil, view{now: now})
	switch {
	case err != nil:
		return err
	case !p.names(host):
		return &problem{kind: ErrMismatch, file: p.info.Source, what: "the certificate does not name the public host " + host + ", clients refuse it",
			remedy: "get one that does, or set public.host to a name of it"}
	case !forServers(p.cert.Leaf.ExtKeyUsage):
		return &problem{kind: ErrMismatch, file: p.info.Source, what: "the certificate is not for servers, clients refuse it",
			remedy: "get one with the extended key usage serverAuth"}
	}
	return p.inTime(now)
}

// complete fills in the defaults.
func (c Config) complete() Config {
	c.Validity = cmp.Or(c.Validity, DefaultValidity)
	c.RenewBefore = cmp.Or(c.RenewBefore, DefaultRenewBefore)
	c.Poll = cmp.Or(c.Poll, DefaultPoll)
	c.Hosts = slices.Clone(c.Hosts)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Addresses == nil {
		c.Addresses = interfaceAddrs
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return fmt.Errorf("%w: a certificate and its key belong together; give both files or neither", ErrConfig)
	case c.CertFile != "" && c.ACME != nil:
		return fmt.Errorf("%w: certificates come from files or from a CA; give one of them", ErrConfig)
	case c.CertFile == "" && c.Dir == "":
		return fmt.Errorf("%w: no folder for the self-signed certificate", ErrConfig)
	case c.Validity < 0 || c.RenewBefore < 0 || c.Poll < 0:
		return fmt.Errorf("%w: a duration is negative", ErrConfig)
	case c.RenewBefore >= c.Validity:
		return fmt.Errorf("%w: a certificate that holds for %s cannot be renewed %s before its end; renew later or let it hold longer",
			ErrConfig, c.Validity, c.RenewBefore)
	}
	return nil
}

// Run watches files and dates, and asks the CA, until ctx ends, and returns nil then. What goes wrong meanwhile is logged
// once and leaves the pair in use as it was.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	t := time.NewTicker(k.cfg.Poll)
	k.mu.Unlock()
	defer t.Stop()
	stop := k.work(ctx)
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.swapped:
			stop()
			stop = k.work(ctx)
		case <-t.C:
			k.look()
		}
	}
}

// work starts what the source does on its own; stop ends it, and waits for that.
func (k *Keeper) work(ctx context.Context) (stop func()) {
	k.mu.Lock()
	client := asks(k.src)
	k.mu.Unlock()
	if client == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { client.Run(ctx) })
	return func() {
		cancel()
		working.Wait()
	}
}

// look is refresh for those who do not hold mu.
func (k *Keeper) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
}

// view returns what a source goes by now. Held: mu.
func (k *Keeper) view() view {
	return view{now: k.cfg.Now(), names: k.names, host: k.cfg.PublicHost, validity: k.cfg.Validity, renewBefore: k.cfg.RenewBefore}
}

// refresh brings a newer pair into use if there is one, and remembers why there is none. Held: mu.
func (k *Keeper) refresh() {
	v, current := k.view(), k.current.Load()
	var p *pair
	if p, k.cause = k.src.look(current, v); p != nil {
		if late := p.inTime(v.now); late == nil || current.info.StandIn || current.inTime(v.now) != nil {
			k.use(p)
		} else {
			k.cause = late
		}
	} else if again := current.forHost(v.host, v.now); again.info.Verifiable != current.info.Verifiable {
		k.current.Store(again)
		k.changed()
	}
	k.complain()
}

// use puts p into use. Held: mu.
func (k *Keeper) use(p *pair) {
	first := k.current.Load() == nil
	v := k.view()
	p = p.forHost(v.host, v.now)
	p.info.Kind = k.src.kind()
	k.current.Store(p)
	if first {
		return
	}
	k.cfg.Logger.Info("certificate replaced", "source", p.info.Source, "until", p.info.NotAfter, "names", p.info.Names)
	k.changed()
}

// changed tells OnChange. Held: mu.
func (k *Keeper) changed() {
	if k.cfg.OnChange != nil {
		k.cfg.OnChange(k.Info())
	}
}

// SetNames changes what clients are told and what the self-signed certificate has to cover; it is made anew if it does
// not. An error leaves all as it was.
func (k *Keeper) SetNames(publicHost string, hosts []string) error {
	k.mu.Lock()
	cfg := k.cfg
	k.mu.Unlock()
	cfg.PublicHost, cfg.Hosts = publicHost, hosts
	c, err := k.Prepare(cfg)
	if err == nil {
		c.Apply()
	}
	return err
}

// GetCertificate is for tls.Config: the pair for the name that the client asks for, from memory. A CA that asks by
// tls-alpn-01 (RFC 8737) gets its answer, or an error where none is expected.
func (k *Keeper) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == acme.Protocol {
		if client := k.answer.Load(); client != nil {
			if c, ok := client.Answer(h.ServerName); ok {
				return c, nil
			}
		}
		return nil, errNotAsked
	}
	return k.current.Load().pick(h), nil
}

var errNotAsked = errors.New("no CA is expected to ask by tls-alpn-01")

// Certificate is the pair in use, for a DTLS stack or another caller that has no *tls.ClientHelloInfo. It must not be
// changed.
func (k *Keeper) Certificate() *tls.Certificate { return &k.current.Load().cert }

// Info describes the pair in use.
func (k *Keeper) Info() Info { return k.current.Load().info.clone() }

// Usable reports whether the pair in use is the one that is meant, and valid now: it does not stand in for another, has
// begun and has not ended.
func (k *Keeper) Usable() bool {
	p := k.current.Load()
	return !p.info.StandIn && p.inTime(k.now()) == nil
}

// Verifiable reports whether clients that were told PublicHost can be expected to accept the certificate: it names that
// host, has begun and not ended, and it is not self-signed or this machine's own roots vouch for it. A private
// authority counts, since its clients may know it even if this machine does not.
func (k *Keeper) Verifiable() bool { return k.current.Load().info.Verifiable }

func (i Info) clone() Info {
	i.Names = slices.Clone(i.Names)
	return i
}
