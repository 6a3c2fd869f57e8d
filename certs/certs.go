// Package certs keeps the certificate that TLS and DTLS listeners present.
//
// Without files of the operator it makes a self-signed pair, keeps it in one
// file and replaces it before it ends. With files it loads them, and again
// whenever they change. Either way the pair in use is swapped in memory: a
// handshake takes what is current and never waits for a disk.
package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	DefaultValidity    = 365 * 24 * time.Hour
	DefaultRenewBefore = 30 * 24 * time.Hour
	DefaultPoll        = 5 * time.Second
)

// Config says which certificate is kept. Its zero values are the defaults
// named; only Dir (or CertFile and KeyFile) is required.
type Config struct {
	// Dir is the folder for the self-signed pair. It is made, with 0700, when
	// it is missing. Unused with CertFile and KeyFile.
	Dir string

	// CertFile and KeyFile are PEM files of the operator: the chain, with the
	// server's certificate first, and its key. Both or neither.
	CertFile, KeyFile string

	// PublicHost is the name or address that clients are told; empty: unknown.
	PublicHost string
	// Hosts are further names and addresses for the self-signed certificate.
	Hosts []string
	// Addresses lists the machine's own addresses, for the self-signed
	// certificate; nil: those of its interfaces.
	Addresses func() ([]netip.Addr, error)

	// Validity and RenewBefore belong to the self-signed certificate: how long
	// it holds, and how long before its end the next one is made. RenewBefore
	// must be less than Validity.
	Validity, RenewBefore time.Duration

	// Poll is how often files and dates are looked at while Run runs.
	Poll time.Duration

	// OnChange, when set, is called after another pair came into use, from the
	// goroutine that noticed. It must not call Reload or SetNames.
	OnChange func(Info)

	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger takes warnings and changes; nil: none.
	Logger *slog.Logger
}

// Info describes the pair in use.
type Info struct {
	Source      string    // the certificate's file
	Names       []string  // its DNS names and addresses
	NotBefore   time.Time // it holds from here …
	NotAfter    time.Time // … to here
	SelfSigned  bool      // signed with its own key, ours or a given one
	Verifiable  bool      // see Keeper.Verifiable
	Fingerprint string    // SHA-256 of the certificate, lower-case hex
}

// Keeper holds the pair in use. All its methods may be called at any time from
// any goroutine.
type Keeper struct {
	cfg     Config
	current atomic.Pointer[pair]

	mu     sync.Mutex // one look at the files at a time; guards what follows
	wanted names      // what a self-signed certificate must cover
	host   string     // PublicHost, as it is now
	unkept *unkept    // a self-signed pair that could not be written yet
	said   said       // what has been logged about the pair in use
}

// said keeps each complaint to one line in the log.
type said struct {
	cause         string // why the last look failed
	keyMode       bool
	soon, expired string // fingerprints
	names         string // fingerprint and host
	usage         string // fingerprint
}

// New loads the given pair, or loads or makes the self-signed one. Its errors
// name the file and the remedy, and wrap one of this package's sentinels.
func New(cfg Config) (*Keeper, error) {
	cfg.Validity = cmp.Or(cfg.Validity, DefaultValidity)
	cfg.RenewBefore = cmp.Or(cfg.RenewBefore, DefaultRenewBefore)
	cfg.Poll = cmp.Or(cfg.Poll, DefaultPoll)
	cfg.Hosts = slices.Clone(cfg.Hosts)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Addresses == nil {
		cfg.Addresses = interfaceAddrs
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}

	k := &Keeper{cfg: cfg}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.want(cfg.PublicHost, cfg.Hosts); err != nil {
		return nil, err
	}
	if err := k.start(); err != nil {
		return nil, err
	}
	k.complain()
	return k, nil
}

func (c *Config) validate() error {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return fmt.Errorf("%w: a certificate and its key belong together; give both files or neither", ErrConfig)
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

// Run watches files and dates until ctx ends, and returns nil then. What goes
// wrong meanwhile is logged once and leaves the pair in use as it was.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	t := time.NewTicker(k.cfg.Poll)
	k.mu.Unlock()
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			k.poll()
		}
	}
}

func (k *Keeper) poll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.said.cause
	if err := k.refresh(); err != nil && err.Error() != before {
		k.cfg.Logger.Warn("certificate not replaced, the one in use stays",
			"error", err, "until", k.current.Load().info.NotAfter)
	}
	k.complain()
}

// Reload looks at the files now rather than at the next poll. When it fails
// the pair in use stays, and the error says why; it is not logged here.
func (k *Keeper) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	// The machine may have other addresses by now.
	if err := k.want(k.host, k.cfg.Hosts); err != nil {
		return err
	}
	if k.unkept != nil {
		k.unkept.tried = time.Time{}
	}
	err := k.refresh()
	k.complain()
	return err
}

// Prepare checks other settings and loads or makes their pair. Nothing is used of it until apply is called, which cannot
// fail; a self-signed pair may have been written to Dir before. Dir, Addresses, Poll, OnChange, Now and Logger stay as they were.
func (k *Keeper) Prepare(cfg Config) (apply func(), err error) {
	k.mu.Lock()
	old := k.cfg
	k.mu.Unlock()
	cfg.Dir, cfg.Addresses, cfg.Poll, cfg.OnChange, cfg.Now, cfg.Logger = old.Dir, old.Addresses, old.Poll, old.OnChange, old.Now, old.Logger
	next, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.cfg, k.wanted, k.host, k.unkept, k.said = next.cfg, next.wanted, next.host, next.unkept, next.said
		if p := next.current.Load(); p.sum != k.current.Load().sum {
			k.use(p)
		} else {
			k.current.Store(p)
		}
	}, nil
}

// SetNames changes what clients are told and what the self-signed certificate
// has to cover; it is made anew when it does not. An error leaves all as it was.
func (k *Keeper) SetNames(publicHost string, hosts []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	hosts = slices.Clone(hosts)
	if err := k.want(publicHost, hosts); err != nil {
		return err
	}
	k.cfg.Hosts = hosts
	if p := k.current.Load(); p != nil {
		k.current.Store(p.forHost(k.host, k.cfg.Now()))
	}
	err := k.refresh()
	k.complain()
	return err
}

// want takes over the names to cover. Held: mu.
func (k *Keeper) want(publicHost string, hosts []string) error {
	n, err := namesFor(publicHost, hosts, k.cfg.Addresses)
	if err != nil {
		return err
	}
	k.wanted, k.host = n, publicHost
	return nil
}

// start brings the first pair into use. Held: mu.
func (k *Keeper) start() error {
	if k.given() {
		p, err := loadGiven(k.cfg.CertFile, k.cfg.KeyFile, k.cfg.Now())
		if err != nil {
			return err
		}
		k.use(p)
		return nil
	}
	return k.startSelfSigned()
}

// refresh brings a newer pair into use where there is one, and remembers why
// it could not. Held: mu.
func (k *Keeper) refresh() error {
	var err error
	if k.given() {
		err = k.refreshGiven()
	} else {
		err = k.refreshSelfSigned()
	}
	k.said.cause = ""
	if err != nil {
		k.said.cause = err.Error()
	}
	return err
}

func (k *Keeper) refreshGiven() error {
	raw, err := readGiven(k.cfg.CertFile, k.cfg.KeyFile)
	if err != nil {
		return err
	}
	if raw.sum() == k.current.Load().sum {
		return nil
	}
	p, err := raw.parse(k.cfg.Now())
	if err != nil {
		return err
	}
	k.use(p)
	return nil
}

func (k *Keeper) given() bool { return k.cfg.CertFile != "" }

// use makes p the pair in use. Held: mu.
func (k *Keeper) use(p *pair) {
	first := k.current.Load() == nil
	p = p.forHost(k.host, k.cfg.Now())
	k.current.Store(p)
	if first {
		return
	}
	k.cfg.Logger.Info("certificate replaced", "source", p.info.Source, "until", p.info.NotAfter, "names", p.info.Names)
	if k.cfg.OnChange != nil {
		k.cfg.OnChange(p.info.clone())
	}
}

// GetCertificate is for tls.Config: the pair in use, from memory.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.Certificate(), nil
}

// Certificate is the pair in use, for a DTLS stack or another caller that has
// no *tls.ClientHelloInfo. It must not be changed.
func (k *Keeper) Certificate() *tls.Certificate { return &k.current.Load().cert }

// TLSConfig is a new configuration for a server: TLS 1.2 with AEAD suites at
// least, and the pair in use at each handshake. The caller may change it.
func (k *Keeper) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: k.GetCertificate,
		CipherSuites: []uint16{ // of TLS 1.2; those of 1.3 are all AEAD
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// Info describes the pair in use.
func (k *Keeper) Info() Info { return k.current.Load().info.clone() }

// Verifiable says whether clients that were told PublicHost can be expected to
// accept the certificate: it names that host, and it is not self-signed or
// this machine's own roots vouch for it. A private authority counts, since its
// clients may know it even where this machine does not.
func (k *Keeper) Verifiable() bool { return k.current.Load().info.Verifiable }

func (i Info) clone() Info {
	i.Names = slices.Clone(i.Names)
	return i
}
