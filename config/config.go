// Package config reads the configuration: defaults, a TOML file, environment variables, in this order, into one
// validated Config. Decoding, the names of the variables, what `config init` prints and the reference all come from one
// table of keys, see [Tables]. Only internal/app and internal/cli import it: the parts have settings of their own.
package config

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Config is a whole configuration. [Load] makes it, and nobody changes it afterwards. Its paths are absolute, or
// relative to the working directory.
type Config struct {
	DataDir      string        // folder of what serve makes and keeps
	DrainTimeout time.Duration // 0: none

	Log         Log
	Public      Public
	Turn        Turn
	Credentials Credentials
	Hooks       Hooks
	Certs       Certs
	HTTPS       HTTPS
	Broker      Broker
	Fleet       Fleet
	Redis       Redis
	Admin       Admin
	Usage       Usage
}

// Log is the table [log].
type Log struct {
	Level  slog.Level
	Format string // auto, text, json
	File   string // empty: standard error
	// Size is a number of whole MiB, in bytes; Age and Files may be 0, for all.
	Size  int64
	Age   time.Duration
	Files int
}

// Public is the table [public].
type Public struct {
	Host string   // "auto", a name or an address
	IPv4 string   // "auto", "off" or an IPv4 address
	IPv6 string   // "auto", "off" or an IPv6 address
	STUN []string // "stun:HOST" or "stun:HOST:PORT"; at most 16
}

// Turn is the table [turn].
type Turn struct {
	Realm      string
	Listen     []string // ADDRESS:PORT, [ADDRESS]:PORT or :PORT; with ListenTLS at least one
	ListenTLS  []string
	Transports []string // of udp, tcp, tls, dtls; at least one, each once
	RelayPorts PortRange
	// PublicPorts maps the ports of listeners to those that clients are told, if they differ. Never nil.
	PublicPorts map[uint16]uint16
	// ProxyProtocol has addresses and prefixes.
	ProxyProtocol []string
	Offload       string // off, auto or require
	Software      string
	ICMP          bool
	// Alternate has at most one address and port of each family, with a comma between; see [AddrPorts].
	Alternate string
	Mobility  bool
	SHA256    bool
	// NATDiscovery has none or two addresses of each family; see [Outlets].
	NATDiscovery []string
	Limits       Limits
	Peers        Peers
}

// PortRange is a range of ports, both ends included. Min is at least 1 and at most Max.
type PortRange struct{ Min, Max uint16 }

// String is the range as it is written in the file.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.Min, r.Max) }

// Limits is the table [turn.limits]. 0 means no limit.
type Limits struct {
	Allocations              int
	AllocationsPerNode       int
	BitsPerSecond            int64 // of one allocation, each way
	ConnectionsPerIP         int
	UnauthenticatedPerSecond int
	AllocationLifetime       time.Duration // 1 s to 1 h, never 0
	TotalBitsPerSecond       int64         // of all allocations, both ways
	BytesPerMonth            int64         // relayed by all Nodes, both ways, with headers
	BytesPerMonthPerNode     int64
}

// Usage is the table [usage].
type Usage struct {
	Keep time.Duration // how long after its end a month is kept
}

// Peers is the table [turn.peers].
type Peers struct {
	Mode  string   // open
	Deny  []string // "recommended", addresses and prefixes
	Allow []string // addresses and prefixes
}

// Credentials is the table [credentials].
type Credentials struct {
	Secret          Secret // not set: serve makes one and keeps it in DataDir
	PreviousSecrets []Secret
	TTL             time.Duration
	WhileConnected  bool
	MaxSession      time.Duration
	StrictExpiry    bool
}

// Hooks is the table [hooks].
type Hooks struct {
	Listen       string
	Token        Secret // not set: none on loopback, generated elsewhere unless AllowNoToken
	AllowNoToken bool
	Hosts        []string // names and addresses, without port
	MaxBody      int64    // bytes
	RTC          RTC
	Authenticate Authenticate
	Authorize    Authorize
	Messages     Messages
	Upstream     Upstream
}

// RTC is the table [hooks.rtc].
type RTC struct {
	ICETransportPolicy   string
	BundlePolicy         string
	RTCPMuxPolicy        string
	ICECandidatePoolSize int // 0 to 255
	AdvertiseTLS         string
	ExtraICEServers      []ICEServer
}

// ICEServer is an entry of hooks.rtc.extra_ice_servers.
type ICEServer struct {
	URLs     []string
	Username string
	Password Secret
}

// Authenticate is the table [hooks.authenticate].
type Authenticate struct {
	Mode   string
	Tokens []string // lines as `token new` prints them
	JWT    JWT
}

// JWT is the table [hooks.authenticate.jwt]. At most one of the four sources of keys is set.
type JWT struct {
	Secret        Secret
	PublicKeyFile string
	JWKSFile      string
	JWKSURL       string
	JWKSRefresh   time.Duration
	Claim         string
	Audience      string
	Issuer        string
	Leeway        time.Duration
}

// Authorize is the table [hooks.authorize].
type Authorize struct {
	Mode    string
	Default string
	Rules   []Rule
	Groups  map[string][]string // never nil
}

// Rule is an entry of hooks.authorize.rules.
type Rule struct {
	From, To string // a glob, or @ and the name of a group
	Action   string // allow, deny
}

// Messages is the table [hooks.messages].
type Messages struct {
	Mode string
}

// Upstream is the table [hooks.upstream]. Its URLs may hold a password: they must not be printed.
type Upstream struct {
	AuthenticateURL string
	AuthorizeURL    string
	ValidityURL     string
	MessagesURL     string
	Token           Secret
	Timeout         time.Duration
	MaxInFlight     int
	Cache           time.Duration // 0: none
	FailOpen        bool
	MessageQueue    int
	MessageWorkers  int
}

// Broker is the table [broker].
type Broker struct {
	Enabled        bool
	Listen         string
	Asked          bool // somebody has set Enabled or Listen, and not only copied all defaults
	Open           bool
	Origins        []string // "*", or SCHEME://HOST[:PORT]
	TrustedProxies []string // addresses and prefixes
	P2P            bool
	RelayMessages  bool
	SameID         string // ask, refuse
	CheckSender    bool
	RelaysEndAfter time.Duration // 0: never
	Limits         BrokerLimits
}

// BrokerLimits is the table [broker.limits].
type BrokerLimits struct {
	Connections       int // 0: by the files that the process may open
	ConnectionsPerIP  int
	MessagesPerSecond int
	WaitingBytes      int64
}

// Fleet is the table [fleet].
type Fleet struct {
	RedisURL Secret // it may have a password; not set: no fleet
	Name     string // empty: the host's
	Region   string
	Regions  []Region // where Nodes are
}

// Region is an entry of fleet.regions.
type Region struct{ Prefix, Region string }

// Certs is the table [certs]. CertFile and KeyFile are both set or both empty.
type Certs struct {
	CertFile    string
	KeyFile     string
	Hosts       []string
	Validity    time.Duration
	RenewBefore time.Duration
	ACME        ACME
}

// ACME is the table [certs.acme].
type ACME struct {
	Enabled    bool     // then CertFile and KeyFile are empty
	Domains    []string // each once; a wildcard only if Challenges has dns-01
	Email      string
	Directory  string   // "", "staging" or a URL
	CAFile     string   // empty: the system's roots
	Challenges []string // of tls-alpn-01, http-01, dns-01; at least one if Enabled
	HTTPListen string
	DNSCommand string // set if Challenges has dns-01
}

// HTTPS is the table [https].
type HTTPS struct {
	Serve []string // of broker, hooks, admin, test, each once
}

// Serves reports whether the TLS ports answer for a part.
func (h HTTPS) Serves(part string) bool { return slices.Contains(h.Serve, part) }

// Redis is the table [redis].
type Redis struct {
	Enabled  bool
	Listen   string
	Password Secret // not set: none on loopback, generated elsewhere
}

// Admin is the table [admin].
type Admin struct {
	Listen       string
	TLS          bool
	Token        Secret // as Hooks.Token
	AllowNoToken bool
	ReadToken    Secret   // not set: there is none
	Hosts        []string // as Hooks.Hosts
	Path         string   // begins with a slash
}
