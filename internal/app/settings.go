package app

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
)

// relays shows the TURN server to the registry and the admin API.
type relays struct{ turn *turnsrv.Server }

// CloseNode ends every live allocation of a Node.
func (r relays) CloseNode(node, cause string) int { return r.turn.CloseNode(node, cause) }

// CloseAllocation ends one.
func (r relays) CloseAllocation(id, cause string) bool { return r.turn.CloseAllocation(id, cause) }

// Allocations lists the live ones.
func (r relays) Allocations() []adminapi.Allocation { return described(r.turn.Allocations()) }

// Toward lists those of a Node that let data through to and from one of these addresses.
func (r relays) Toward(node string, peers []netip.Addr) []adminapi.Allocation {
	return described(r.turn.Toward(node, peers))
}

func described(all []control.Allocation) []adminapi.Allocation {
	out := make([]adminapi.Allocation, len(all))
	for i, x := range all {
		out[i] = adminapi.Allocation{
			ID: x.ID, Node: x.Node, Transport: x.Transport, Client: x.Client, Relayed: x.Relayed, Also: x.Also,
			Created: x.Created, Expires: x.Expires,
			BytesIn: x.Stats.Up.Bytes, BytesOut: x.Stats.Down.Bytes,
			DatagramsIn: x.Stats.Up.Datagrams, DatagramsOut: x.Stats.Down.Datagrams,
			Drops: x.Stats.Up.Dropped + x.Stats.Down.Dropped, Peers: x.Permissions, Channels: x.Channels,
		}
	}
	return out
}

// LiveByNode counts the live ones of each Node.
func (r relays) LiveByNode() map[string]int {
	live := make(map[string]int)
	for _, x := range r.turn.Allocations() {
		live[x.Node]++
	}
	return live
}

// addressSettings are what the addresses of this machine depend on.
func addressSettings(cfg *config.Config) publicaddr.Settings {
	p := cfg.Public
	return publicaddr.Settings{
		Host: p.Host, IPv4: p.IPv4, IPv6: p.IPv6, STUN: p.STUN,
		Listen: cfg.Turn.Listen, PortMin: cfg.Turn.RelayPorts.Min, PortMax: cfg.Turn.RelayPorts.Max,
	}
}

// machineHosts are the names and addresses of this machine that a browser may ask for.
func machineHosts(p publicaddr.Public) []string { return []string{p.Machine()} }

// guardSettings are those of the admin listener that a reload can change.
func guardSettings(c config.Admin, token string) webguard.Settings {
	return webguard.Settings{Token: token, ReadToken: c.ReadToken.Reveal(), Hosts: c.Hosts, Path: c.Path}
}

func turnSettings(cfg *config.Config) turnsrv.Settings {
	l := cfg.Turn.Limits
	return turnsrv.Settings{
		Settings: control.Settings{
			Allocations: l.Allocations, AllocationsPerNode: l.AllocationsPerNode,
			Lifetime: l.AllocationLifetime, TTLOnly: !cfg.Credentials.WhileConnected,
			StrictExpiry: cfg.Credentials.StrictExpiry, MaxSession: cfg.Credentials.MaxSession,
			PeerMode: peerModes[cfg.Turn.Peers.Mode], AuthorizedFor: cfg.Credentials.TTL,
			Software: cfg.Turn.Software, Alternate: config.AddrPorts(cfg.Turn.Alternate), UnauthenticatedPerSecond: l.UnauthenticatedPerSecond,
			SHA256: cfg.Turn.SHA256, Mobility: cfg.Turn.Mobility,
		},
		DrainTimeout: cfg.DrainTimeout, BitsPerSecond: l.BitsPerSecond, TotalBitsPerSecond: l.TotalBitsPerSecond, ConnectionsPerIP: l.ConnectionsPerIP,
		ICMP: cfg.Turn.ICMP, HTTP: len(cfg.HTTPS.Serve) > 0, Proxies: prefixes(cfg.Turn.ProxyProtocol),
		Discovery: discoveryIPs(cfg.Turn.NATDiscovery), OuterPorts: cfg.Turn.PublicPorts,
	}
}

func discoveryIPs(list []string) (all []turnsrv.DiscoveryIP) {
	for _, o := range config.Outlets(list) {
		all = append(all, turnsrv.DiscoveryIP{Told: o.Public, Local: o.Local})
	}
	return all
}

// prefix reads an address or a prefix, which config has checked.
func prefix(text string) netip.Prefix {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p
	}
	ip, _ := netip.ParseAddr(text)
	ip = ip.Unmap()
	return netip.PrefixFrom(ip, ip.BitLen())
}

func prefixes(texts []string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, prefix(text))
	}
	return all
}

// certSettings are those that a reload can change.
func certSettings(cfg *config.Config, p publicaddr.Public) certs.Config {
	c := cfg.Certs
	set := certs.Config{
		CertFile: c.CertFile, KeyFile: c.KeyFile, PublicHost: p.Machine(), Hosts: c.Hosts, Validity: c.Validity, RenewBefore: c.RenewBefore,
	}
	if a := c.ACME; a.Enabled {
		set.ACME = &acme.Settings{
			Domains: a.Domains, Email: a.Email, Directory: a.Directory, CAFile: a.CAFile, Challenges: a.Challenges,
			HTTPListen: a.HTTPListen, DNSCommand: a.DNSCommand,
		}
	}
	return set
}

// tlsPorts are those at which clients reach TLS.
func tlsPorts(t config.Turn) (all []uint16) {
	if !slices.Contains(t.Transports, "tls") {
		return nil
	}
	for _, text := range slices.Concat(t.Listen, t.ListenTLS) { // it is recognised on either
		if a, err := listen.Parse(text); err == nil {
			all = append(all, cmp.Or(t.PublicPorts[a.Port()], a.Port()))
		}
	}
	return all
}

// certError names the table of the configuration that has the files c is wrong about.
func certError(c certs.Config, err error) error {
	if err == nil || c.CertFile == "" {
		return err
	}
	return fmt.Errorf("certs: %w", err)
}

var peerModes = map[string]control.PeerMode{
	"open": control.PeersOpen, "observe": control.PeersObserve, "authorized": control.PeersAuthorized,
}

func rtcSettings(r config.RTC) hooks.RTC {
	out := hooks.RTC{
		ICETransportPolicy: r.ICETransportPolicy, BundlePolicy: r.BundlePolicy, RTCPMuxPolicy: r.RTCPMuxPolicy,
		ICECandidatePoolSize: r.ICECandidatePoolSize,
	}
	for _, s := range r.ExtraICEServers {
		out.ExtraICEServers = append(out.ExtraICEServers, hooks.ICEServer{URLs: s.URLs, Username: s.Username, Password: s.Password.Reveal()})
	}
	return out
}

// PolicySettings translates the table [hooks] for the policies.
func PolicySettings(h config.Hooks) policy.Config {
	j, u := h.Authenticate.JWT, h.Upstream
	c := policy.Config{
		Authenticate: policy.Authenticate{
			Mode: h.Authenticate.Mode, Tokens: h.Authenticate.Tokens,
			JWT: policy.JWT{
				Secret: j.Secret.Reveal(), PublicKeyFile: j.PublicKeyFile, JWKSFile: j.JWKSFile, JWKSURL: j.JWKSURL,
				JWKSRefresh: j.JWKSRefresh, Claim: j.Claim, Audience: j.Audience, Issuer: j.Issuer, Leeway: j.Leeway,
			},
		},
		Authorize: policy.Authorize{Mode: h.Authorize.Mode, Default: h.Authorize.Default, Groups: h.Authorize.Groups},
		Messages:  policy.Messages{Mode: h.Messages.Mode},
		Upstream: policy.Upstream{
			AuthenticateURL: u.AuthenticateURL, AuthorizeURL: u.AuthorizeURL, ValidityURL: u.ValidityURL, MessagesURL: u.MessagesURL,
			Token: u.Token.Reveal(), Timeout: u.Timeout, MaxInFlight: u.MaxInFlight, Cache: u.Cache, FailOpen: u.FailOpen,
			MessageQueue: u.MessageQueue, MessageWorkers: u.MessageWorkers,
		},
	}
	for _, r := range h.Authorize.Rules {
		c.Authorize.Rules = append(c.Authorize.Rules, policy.Rule{From: r.From, To: r.To, Action: r.Action})
	}
	return c
}

var (
	_ control.Directory = (*nodes.Registry)(nil)
	_ hooks.Registry    = (*nodes.Registry)(nil)
)
