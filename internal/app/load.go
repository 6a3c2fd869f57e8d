package app

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
)

// Load reads the configuration from a file, which may be empty for none, and has it checked by the parts that know more of
// their settings than their shape.
func Load(file string, opts ...config.Option) (*config.Config, error) {
	return config.Load(file, append(opts, config.WithCheck(checkPolicy), config.WithCheck(checkACME), config.WithCheck(checkLogFile))...)
}

// Check is Load for `config check`. It fails too for what serve runs with and clients cannot use: a certificate that they
// refuse, and listeners of which they are told none.
func Check(file string, opts ...config.Option) (*config.Config, error) {
	return Load(file, append(opts, config.WithCheck(checkCertificate), config.WithCheck(checkTold))...)
}

// certified is the host for which clients that are told a turns: URL expect the certificate to be; empty if they are told
// none, or if only the running server knows.
func certified(cfg *config.Config) string {
	if cfg.Public.Host == "auto" || cfg.Hooks.RTC.AdvertiseTLS == "never" {
		return ""
	}
	return cfg.Public.Host
}

// checkCertificate finds what is wrong with the operator's certificate.
func checkCertificate(cfg *config.Config) []*config.Error {
	c := cfg.Certs
	if c.CertFile == "" || c.KeyFile == "" {
		return nil
	}
	err := certs.Check(c.CertFile, c.KeyFile, certified(cfg), time.Now())
	if err == nil {
		return nil
	}
	key := "certs.cert_file"
	if c.KeyFile != c.CertFile && strings.HasPrefix(err.Error(), c.KeyFile+": ") {
		key = "certs.key_file"
	}
	return []*config.Error{{Key: key, Err: err}}
}

// checkLogFile finds a log.file that is no file.
func checkLogFile(cfg *config.Config) []*config.Error {
	if cfg.Log.File == "" {
		return nil
	}
	if err := logging.CheckFile(cfg.Log.File); err != nil {
		return []*config.Error{{Key: "log.file", Err: err}}
	}
	return nil
}

// OpenLog opens the log of a configuration. Without a log.file it goes to w, which otherwise gets a line that says where it is, and
// what the file does not take.
func OpenLog(cfg *config.Config, w io.Writer) (*logging.Logger, error) {
	c := cfg.Log
	if c.File == "" {
		return logging.New(w, c.Level, c.Format)
	}
	file, err := logging.OpenFile(logging.FileConfig{Path: c.File, Size: c.Size, Age: c.Age, Files: c.Files}, w)
	if err != nil {
		return nil, fmt.Errorf("log.file: %w", err)
	}
	if _, err := fmt.Fprintf(w, "crolang-aio: the log is in %s\n", file.Path()); err != nil {
		return nil, fmt.Errorf("standard error: %w", err)
	}
	return logging.New(file, c.Level, c.Format)
}

// checkACME finds files of [certs.acme] that cannot be used. Beside them only a CA can say what is wrong.
func checkACME(cfg *config.Config) (all []*config.Error) {
	a := cfg.Certs.ACME
	if !a.Enabled {
		return nil
	}
	if err := acme.CheckRoots(a.CAFile); err != nil {
		all = append(all, &config.Error{Key: "certs.acme.ca_file", Err: err})
	}
	if err := acme.CheckCommand(a.DNSCommand); err != nil {
		all = append(all, &config.Error{Key: "certs.acme.dns_command", Err: err})
	}
	return all
}

var errUntold = errors.New("clients are told of no listener: they are for udp and tcp with an address in turn.listen, and for tls and dtls " +
	"with one in turn.listen_tls and a certificate that is not self-signed")

// checkTold finds transports that leave nothing to tell clients.
func checkTold(cfg *config.Config) []*config.Error {
	has := func(listen []string, transports ...string) bool {
		return len(listen) > 0 && slices.ContainsFunc(transports, func(t string) bool { return slices.Contains(cfg.Turn.Transports, t) })
	}
	encrypted := has(cfg.Turn.ListenTLS, "tls", "dtls")
	if has(cfg.Turn.Listen, "udp", "tcp") || encrypted && cfg.Hooks.RTC.AdvertiseTLS == "always" || len(cfg.Hooks.RTC.ExtraICEServers) > 0 {
		return nil
	}
	if encrypted && cfg.Hooks.RTC.AdvertiseTLS == "auto" && cfg.Certs.ACME.Enabled {
		return nil
	}
	if encrypted && cfg.Hooks.RTC.AdvertiseTLS == "auto" && cfg.Certs.CertFile != "" {
		k, err := certs.New(certs.Config{CertFile: cfg.Certs.CertFile, KeyFile: cfg.Certs.KeyFile, PublicHost: certified(cfg)})
		if err != nil || k.Verifiable() || !k.Usable() { // if it is not usable, that is said already
			return nil
		}
	}
	return []*config.Error{{Key: "turn.transports", Because: "turn.listen", Err: errUntold}}
}

// checkPolicy brings the mistakes that the policies find to their lines in the file.
func checkPolicy(cfg *config.Config) []*config.Error {
	var out []*config.Error
	for _, err := range each(policy.Check(PolicySettings(cfg.Hooks))) {
		var key *policy.KeyError
		if errors.As(err, &key) {
			out = append(out, &config.Error{Key: key.Key, Because: key.Because, Err: key.Err})
		} else {
			out = append(out, &config.Error{Err: err})
		}
	}
	return out
}

// each takes joined errors apart. policy.Check joins its own even if there is only one.
func each(err error) []error {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		return all.Unwrap()
	}
	return nil
}
