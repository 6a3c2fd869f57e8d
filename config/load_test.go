package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c, err := Load("", WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		DataDir: "data", DrainTimeout: 5 * time.Second,
		Log:    Log{Level: slog.LevelInfo, Format: "auto", Size: 64 << 20, Age: 30 * 24 * time.Hour, Files: 16},
		Public: Public{Host: "auto", IPv4: "auto", IPv6: "auto", STUN: []string{}},
		Turn: Turn{
			Realm: "crolang", Listen: []string{":3478"}, ListenTLS: []string{":5349"}, Transports: []string{"udp", "tcp", "tls", "dtls"},
			Offload: "off", RelayPorts: PortRange{49152, 65535}, PublicPorts: map[uint16]uint16{}, ProxyProtocol: []string{}, Mobility: true, NATDiscovery: []string{},
			Limits: Limits{
				AllocationsPerNode: 128, ConnectionsPerIP: 4096, UnauthenticatedPerSecond: 200, AllocationLifetime: 10 * time.Minute,
			},
			Peers: Peers{Mode: "open", Deny: []string{"recommended"}, Allow: []string{}},
		},
		Credentials: Credentials{PreviousSecrets: []Secret{}, TTL: 12 * time.Hour, WhileConnected: true, MaxSession: 24 * time.Hour},
		Hooks: Hooks{
			Listen: "127.0.0.1:8083", Hosts: []string{}, MaxBody: 16 << 20,
			RTC: RTC{
				ICETransportPolicy: "all", BundlePolicy: "max-bundle", RTCPMuxPolicy: "require", AdvertiseTLS: "auto",
				ExtraICEServers: []ICEServer{},
			},
			Authenticate: Authenticate{
				Mode: "allow", Tokens: []string{}, JWT: JWT{JWKSRefresh: time.Hour, Claim: "sub", Leeway: 30 * time.Second},
			},
			Authorize: Authorize{Mode: "allow", Default: "deny", Rules: []Rule{}, Groups: map[string][]string{}},
			Messages:  Messages{Mode: "count"},
			Upstream: Upstream{
				Timeout: 5 * time.Second, MaxInFlight: 64, Cache: 30 * time.Second, MessageQueue: 1024, MessageWorkers: 4,
			},
		},
		HTTPS: HTTPS{Serve: []string{}},
		Certs: Certs{Hosts: []string{}, Validity: 365 * 24 * time.Hour, RenewBefore: 30 * 24 * time.Hour,
			ACME: ACME{Domains: []string{}, Challenges: []string{"tls-alpn-01", "http-01"}, HTTPListen: ":80"}},
		Broker: Broker{
			Enabled: true, Listen: "127.0.0.1:8080", Origins: []string{}, TrustedProxies: []string{}, P2P: true, RelayMessages: true,
			SameID: "ask", CheckSender: true, Limits: BrokerLimits{ConnectionsPerIP: 1024, MessagesPerSecond: 200, WaitingBytes: 4 << 20},
		},
		Fleet: Fleet{Regions: []Region{}},
		Redis: Redis{Listen: "127.0.0.1:6379"},
		Admin: Admin{Listen: "127.0.0.1:8084", Hosts: []string{}, Path: "/"},
		Usage: Usage{Keep: 400 * 24 * time.Hour},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

// full sets what the defaults leave out.
const full = `
data_dir = "kept"
[log]
level = "warn"
[public]
host = "turn.example.org"
stun = ["stun:stun.example.org", "stun:192.0.2.7:19302"]
ipv4 = "192.0.2.1"
ipv6 = "off"
[turn]
listen = [
  "[::ffff:127.0.0.1]:3478", # a comment
  "[::1]:3478",
]
[turn.public_ports]
3478 = 13478
"5349" = 443
[credentials]
previous_secrets = ["hush-hush"]
[[hooks.rtc.extra_ice_servers]]
urls = ["stun:[2001:db8::1]:3478", "stuns:stun.example.org"]
[hooks.authenticate]
jwt.public_key_file = "keys/jwt.pem"
[hooks.authorize]
mode = "rules"
rules = [
  {from = "@ops", to = "*", action = "allow"},
  {from = "*", to = "@night shift", action = "deny"},
]
[hooks.authorize.groups]
ops = ["alice", "ops-*"]
"night shift" = ["bob"]
[certs]
cert_file = "/etc/cert.pem"
key_file = "key.pem"
`

func TestFile(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(write(t, dir, "x.toml", full), WithEnviron([]string{"CROLANG_AIO_PUBLIC_HOST=203.0.113.1", "CROLANG_AIO_CERTS_KEY_FILE=other.pem"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ got, want any }{
		{c.DataDir, filepath.Join(dir, "kept")},
		{c.Log.Level, slog.LevelWarn},
		{c.Public, Public{"203.0.113.1", "192.0.2.1", "off", []string{"stun:stun.example.org", "stun:192.0.2.7:19302"}}},
		{c.Turn.Listen, []string{"127.0.0.1:3478", "[::1]:3478"}},
		{c.Turn.ListenTLS, []string{":5349"}},
		{c.Turn.PublicPorts, map[uint16]uint16{3478: 13478, 5349: 443}},
		{c.Credentials.PreviousSecrets[0].Reveal(), "hush-hush"},
		{c.Hooks.RTC.ExtraICEServers[0].URLs, []string{"stun:[2001:db8::1]:3478", "stuns:stun.example.org"}},
		{c.Hooks.Authenticate.JWT.PublicKeyFile, filepath.Join(dir, "keys/jwt.pem")},
		{c.Hooks.Authorize.Groups, map[string][]string{"ops": {"alice", "ops-*"}, "night shift": {"bob"}}},
		{c.Hooks.Authorize.Rules[1], Rule{"*", "@night shift", "deny"}},
		{c.Certs.CertFile, "/etc/cert.pem"},
		{c.Certs.KeyFile, filepath.Join(dir, "other.pem")},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("got %v, want %v", x.got, x.want)
		}
	}
}

// A mistake in the file is told although a variable stands above it.
func TestOverriddenMistake(t *testing.T) {
	_, err := Load(write(t, t.TempDir(), "x.toml", "[turn]\nrealm = 1\n"), WithEnviron([]string{"CROLANG_AIO_TURN_REALM=fine"}))
	if err == nil || !strings.HasSuffix(err.Error(), "x.toml:2: turn.realm: must be a string, not an integer") {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"), WithEnviron(nil))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInvalid) || strings.Count(err.Error(), "none.toml") != 1 {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(t.TempDir(), WithEnviron(nil)); err == nil || errors.Is(err, ErrInvalid) {
		t.Errorf("a folder: %v", err)
	}
	large := write(t, t.TempDir(), "large.toml", strings.Repeat("#", maxFile+1))
	if _, err := Load(large, WithEnviron(nil)); !errors.Is(err, errTooLarge) {
		t.Errorf("large: %v", err)
	}
	_, err = Load(write(t, t.TempDir(), "x.toml", "[turn]\n\nrealm = \"\"\n"), WithEnviron(nil))
	var e *Error
	if !errors.As(err, &e) || e.Line != 3 || e.Key != "turn.realm" || !strings.HasSuffix(e.Source, "x.toml") {
		t.Errorf("%+v", e)
	}
}

func TestWithCheck(t *testing.T) {
	text := `[hooks.authenticate]
mode = "tokens"
tokens = ["alice x",
  "bob y"]
[hooks.authenticate.jwt]
claim = ""
[hooks.authorize.groups]
ops = ["[", "b"]
`
	wrong := errors.New("is wrong")
	check := func(c *Config) []*Error {
		if len(c.Hooks.Authenticate.Tokens) != 2 || c.Hooks.Authenticate.JWT.Claim != "sub" {
			t.Errorf("%+v", c.Hooks.Authenticate)
		}
		var all []*Error
		for _, key := range []string{
			"hooks.authenticate.tokens[1]", "hooks.authenticate.tokens[9]", "hooks.authenticate.tokens", "hooks.authenticate.jwt", "hooks.authenticate.jwt.claim",
			"hooks.authorize.groups.ops", "hooks.authorize.groups.ops[0]", "hooks.authorize", "hooks.listen", "certs.hosts", "certs",
		} {
			all = append(all, &Error{Key: key, Err: wrong})
		}
		return all
	}
	path := write(t, t.TempDir(), "x.toml", text)
	_, err := Load(path, WithEnviron([]string{"CROLANG_AIO_CERTS_HOSTS=a"}), WithCheck(check))
	want := `x.toml:3: hooks.authenticate.tokens: is wrong
x.toml:3: hooks.authenticate.tokens: is wrong
x.toml:4: hooks.authenticate.tokens: is wrong
x.toml:6: hooks.authenticate.jwt.claim: must not be empty
x.toml:7: hooks.authorize: is wrong
x.toml:8: hooks.authorize.groups.ops: is wrong
x.toml:8: hooks.authorize.groups.ops: is wrong
hooks.listen: is wrong
CROLANG_AIO_CERTS_HOSTS: certs: is wrong
CROLANG_AIO_CERTS_HOSTS: certs.hosts: is wrong`
	if got := strings.ReplaceAll(fmt.Sprint(err), filepath.Dir(path)+"/", ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !errors.Is(err, wrong) {
		t.Error("the mistake is not inside")
	}
	if _, err := Load("", WithEnviron(nil), WithCheck(func(*Config) []*Error { return nil })); err != nil {
		t.Error(err)
	}
}

// The wildcard of IPv6 stands for IPv4 too, so both beside each other are bound once.
func TestBothWildcards(t *testing.T) {
	c, err := Load(write(t, t.TempDir(), "x.toml", `turn.listen = ["0.0.0.0:3478", "[::]:3478", "0.0.0.0:3479"]`), WithEnviron(nil))
	if err != nil || !slices.Equal(c.Turn.Listen, []string{"[::]:3478", "0.0.0.0:3479"}) {
		t.Errorf("%v, %v", c, err)
	}
}

func TestPortsThatMayBeShared(t *testing.T) {
	for _, text := range []string{
		`turn.listen = ["0.0.0.0:3478", "[::]:3478"]`,
		`turn.listen = ["127.0.0.1:0", "127.0.0.1:0"]`,
		"turn.listen = [\":50000\"]\nturn.transports = [\"tcp\", \"tls\"]",
		"turn.listen = [\":8083\"]\nturn.transports = [\"udp\"]",
		"redis.listen = \"127.0.0.1:8083\"", // it is off
		"hooks.listen = \"127.0.0.1:50000\"",
		"admin.listen = \"127.0.0.2:8083\"",
	} {
		if _, err := Load(write(t, t.TempDir(), "x.toml", text), WithEnviron(nil)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
