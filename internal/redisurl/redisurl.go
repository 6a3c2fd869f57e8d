// Package redisurl reads the URL of a Redis or Valkey that machines share, and makes a client for it.
//
// The forms are
//
//	redis://[user][:password@]host[:6379][/db]
//	rediss://…                                    the same over TLS
//	unix://[user][:password@]/path[?db=1]
//	redis+sentinel://[user][:password@]sentinel[:26379][,sentinel…]/master[/db][?sentinel_username=…&sentinel_password=…]
//	rediss+sentinel://…                           the same over TLS, to the sentinels too
//
// The user and the password are Redis's; those of the sentinels are parameters. No error repeats the URL: it may have a
// password in any place.
package redisurl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The ways in which a URL may be wrong.
var (
	errShape = errors.New(`must be a URL such as "redis://host:6379", "unix:///run/redis.sock" or ` +
		`"redis+sentinel://host:26379,other:26379/mymaster"`)
	errDatabase   = errors.New("must end in the number of a database, such as /0, or have none")
	errParameters = errors.New("has parameters that it cannot have: unix:// takes db; redis+sentinel:// takes sentinel_username and sentinel_password")
)

// wait is how long a connection, a question and an answer may each take.
const wait = 2 * time.Second

// Check reports what is wrong with a URL.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// Open makes a client. It has short waits, does not ask again by itself, and logs nothing: whoever asks has to cope with
// a Redis that is away. It connects when it is first used. The caller closes it.
func Open(text string) (redis.UniversalClient, error) {
	at, err := parse(text)
	if err != nil {
		return nil, err
	}
	quiet()
	if at.master != "" {
		return redis.NewFailoverClient(at.failover()), nil
	}
	return redis.NewClient(at.single()), nil
}

// quiet keeps the library from writing to standard error by itself.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// location is what a URL says.
type location struct {
	network        string   // tcp, unix
	addrs          []string // of the sentinels where master is set, else one
	master         string
	user, password string
	sentinelUser   string
	sentinelPass   string
	db             int
	tls            bool
	roots          *x509.CertPool // for tests; nil: the system's
}

func parse(text string) (*location, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		return nil, errShape
	}
	at := &location{network: "tcp", tls: strings.HasPrefix(scheme, "rediss")}
	rest, query, _ := strings.Cut(rest, "?")
	path, err := at.authority(rest)
	if err != nil {
		return nil, err
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return nil, errParameters
	}
	var db string
	switch scheme {
	case "redis", "rediss":
		db = path
		err = at.hosts("6379", 1)
	case "unix":
		if at.addrs[0] != "" || path == "" {
			return nil, errShape
		}
		at.network, at.addrs = "unix", []string{"/" + path}
		db = take(parameters, "db")
	case "redis+sentinel", "rediss+sentinel":
		at.master, db, _ = strings.Cut(path, "/")
		at.sentinelUser, at.sentinelPass = take(parameters, "sentinel_username"), take(parameters, "sentinel_password")
		if at.master == "" {
			return nil, errShape
		}
		err = at.hosts("26379", 16)
	default:
		return nil, errShape
	}
	if err == nil && len(parameters) > 0 {
		err = errParameters
	}
	if err == nil {
		err = at.database(db)
	}
	return at, err
}

// take removes a parameter and returns it. Given twice it stays, and is one too many.
func take(parameters url.Values, name string) string {
	if len(parameters[name]) != 1 {
		return ""
	}
	defer parameters.Del(name)
	return parameters.Get(name)
}

// authority reads user, password and addresses, and returns the path after them, without its first slash.
func (at *location) authority(rest string) (path string, err error) {
	hosts, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		user, password, _ := strings.Cut(hosts[:i], ":")
		hosts = hosts[i+1:]
		if at.user, err = url.PathUnescape(user); err != nil {
			return "", errShape
		}
		if at.password, err = url.PathUnescape(password); err != nil {
			return "", errShape
		}
	}
	at.addrs = strings.Split(hosts, ",")
	if path, err = url.PathUnescape(path); err != nil {
		return "", errShape
	}
	return path, nil
}

// hosts checks the addresses and completes them with a port.
func (at *location) hosts(port string, most int) error {
	if len(at.addrs) > most {
		return errShape
	}
	for i, addr := range at.addrs {
		u, err := url.Parse("//" + addr)
		if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "[]") || u.Host != addr || strings.Contains(u.Hostname(), ":") != strings.HasPrefix(addr, "[") {
			return errShape
		}
		p := u.Port()
		if p == "" {
			p = port
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errShape
		}
		at.addrs[i] = net.JoinHostPort(u.Hostname(), p)
	}
	return nil
}

func (at *location) database(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errDatabase
	}
	at.db = int(n)
	return nil
}

// config of TLS. The name that the certificate must have is that of the address, of each by itself.
func (at *location) config() *tls.Config {
	if !at.tls {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: at.roots}
}

func (at *location) single() *redis.Options {
	return &redis.Options{
		Network: at.network, Addr: at.addrs[0], Username: at.user, Password: at.password, DB: at.db, TLSConfig: at.config(),
		Dialer:      at.dial,
		DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, Protocol: 2,
	}
}

func (at *location) failover() *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: at.master, SentinelAddrs: at.addrs, SentinelUsername: at.sentinelUser, SentinelPassword: at.sentinelPass,
		Username: at.user, Password: at.password, DB: at.db, TLSConfig: at.config(),
		Dialer:      at.dial,
		DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, Protocol: 2,
	}
}
