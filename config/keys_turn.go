package config

import (
	"math"
	"time"
)

func turnTables() []Table {
	return []Table{
		{Name: "turn", Doc: "The STUN and TURN server.", Keys: []Key{
			define("turn.realm", "crolang", text(all(notEmpty, notLonger(127))), func(c *Config) *string { return &c.Turn.Realm },
				"Realm that clients are asked to authenticate for.").restart(),
			define("turn.listen", []any{":3478"}, list(address()), func(c *Config) *[]string { return &c.Turn.Listen },
				"Addresses for UDP and TCP. TLS and DTLS are recognised here too. Without an address before the colon: all addresses of this machine.").
				example(`["192.0.2.10:3478", "[2001:db8::10]:3478"]`).restart(),
			define("turn.listen_tls", []any{":5349"}, list(address()), func(c *Config) *[]string { return &c.Turn.ListenTLS },
				"Addresses for TLS and DTLS. Plain TCP and UDP are recognised here too.").restart(),
			define("turn.transports", []any{"udp", "tcp", "tls", "dtls"}, distinct(oneOf("udp", "tcp", "tls", "dtls")),
				func(c *Config) *[]string { return &c.Turn.Transports },
				"What clients may use: any of udp, tcp, tls and dtls.").restart(),
			define("turn.relay_ports", "49152-65535", portRange(), func(c *Config) *PortRange { return &c.Turn.RelayPorts },
				"UDP ports for relays, first and last, and TCP ports with turn.tcp_relays. Each allocation takes one. A firewall must let them in; "+
					"a container must publish them.").restart(),
			define("turn.public_ports", any(map[string]any{}), portTable(), func(c *Config) *map[uint16]uint16 { return &c.Turn.PublicPorts },
				"Ports that clients are given instead of those of turn.listen and turn.listen_tls, if a router or a container "+
					"changes them: the listener's port = the outer port.").example(`{"3478" = 13478, "5349" = 15349}`),
			define("turn.proxy_protocol", none(), atMost(256, list(text(prefix))), func(c *Config) *[]string { return &c.Turn.ProxyProtocol },
				"Addresses and prefixes of proxies in front of TCP and TLS whose PROXY protocol headers (v1 and v2) are trusted: a client's "+
					"address is then the one in the header. Such a header from anywhere else ends the connection.").
				example(`["127.0.0.1", "10.0.0.0/8"]`),
			define("turn.offload", "off", oneOf("off", "auto", "require"), func(c *Config) *string { return &c.Turn.Offload },
				"Whether the Linux kernel relays channels of clients on UDP by itself (eBPF), which takes far less of the processor and bypasses "+
					"the firewall: off, auto (where it can) or require (which refuses to start where it cannot). See docs/operations.md.").restart(),
			define("turn.software", "", text(notLonger(127)), func(c *Config) *string { return &c.Turn.Software },
				"Server name in its answers. Empty: none, which keeps answers to strangers small."),
			define("turn.icmp", false, boolean(), func(c *Config) *bool { return &c.Turn.ICMP },
				"Whether clients of new allocations are told what ICMP says of the datagrams that they had sent to peers (RFC 8656 §11.5), on "+
					"Linux. Off, since clients that are made with pion stop reading when they are told. See docs/operations.md."),
			define("turn.alternate", "", text(alternate), func(c *Config) *string { return &c.Turn.Alternate },
				"Another TURN server, with the same secret, that clients are sent to when they ask for a new allocation (ALTERNATE-SERVER): "+
					"an IP address and port, or one of each family with a comma between. Live allocations stay, and so do clients on "+
					"TLS and DTLS and those of the other family. Empty: none is sent away.").
				example(`"192.0.2.20:3478, [2001:db8::20]:3478"`),
			define("turn.tcp_relays", false, boolean(), func(c *Config) *bool { return &c.Turn.TCPRelays },
				"Offer [relays for TCP](operations.md#tcp-relays) (RFC 6062) to clients on TCP and TLS. Not on Windows."),
			define("turn.mobility", true, boolean(), func(c *Config) *bool { return &c.Turn.Mobility },
				"Whether clients that ask for it keep their allocation, by a ticket, when their network or transport changes "+
					"(RFC 8016). Such an allocation outlives its client's connection, until its lifetime ends."),
			define("turn.sha256", false, boolean(), func(c *Config) *bool { return &c.Turn.SHA256 },
				"Offer clients SHA-256 instead of MD5, and outside fleets hashed user names (RFC 8489). A 401 then has 96 bytes, not 68."),
			define("turn.nat_discovery", none(), atMost(4, list(text(outlet))), func(c *Config) *[]string { return &c.Turn.NATDiscovery },
				"Two addresses of this machine at which clients can find out over UDP what kind of NAT they are behind (RFC 5780), or two of "+
					"each family. A listener must be at both, on two ports. Behind a NAT that gives each a public address of its own: the public "+
					"one, a slash, and the machine's. There, answers to strangers are up to 2.5 times as long on the wire as their requests. Empty: off.").
				example(`["192.0.2.10", "192.0.2.11"]`),
		}},
		turnLimits(),
		{Name: "turn.peers", Doc: "Which addresses relays may exchange data with. Relays of this server, and of a [fleet](fleet.md#between-machines), always reach each other.", Keys: []Key{
			define("turn.peers.mode", "open", oneOf("open", "observe", "authorized"), func(c *Config) *string { return &c.Turn.Peers.Mode },
				"open: any address that the lists below allow. authorized: only Nodes that a Broker was told may talk to each other. "+
					"observe: like open, but reports what authorized would refuse."),
			define("turn.peers.deny", []any{recommended}, list(text(denied)), func(c *Config) *[]string { return &c.Turn.Peers.Deny },
				"Addresses and prefixes that are refused, to relays of a fleet's other machines too. recommended, which those relays are excepted from: loopback, private, link-local, multicast, cloud metadata and other "+
					"special addresses, and this machine's own, including every IPv6 form of them.").example(`["recommended", "198.51.100.0/24"]`),
			define("turn.peers.allow", none(), list(text(prefix)), func(c *Config) *[]string { return &c.Turn.Peers.Allow },
				"Addresses and prefixes that are allowed despite deny.").example(`["192.168.1.0/24"]`),
		}},
	}
}

func turnLimits() Table {
	return Table{Name: "turn.limits", Doc: "0 means no limit.", Keys: []Key{
		define("turn.limits.allocations", 0, limit(), func(c *Config) *int { return &c.Turn.Limits.Allocations },
			"Total number of allocations at once."),
		define("turn.limits.allocations_per_node", 128, limit(), func(c *Config) *int { return &c.Turn.Limits.AllocationsPerNode },
			"Allocations of one Node at once, over all machines of a [fleet](fleet.md#limits)."),
		define("turn.limits.bits_per_second", 0, number[int64](0, math.MaxInt64), func(c *Config) *int64 { return &c.Turn.Limits.BitsPerSecond },
			"Bits per second of one allocation in each direction, including IP and UDP headers. Anything above that is dropped; TCP waits.").example("10_000_000"),
		define("turn.limits.total_bits_per_second", 0, number[int64](0, math.MaxInt64),
			func(c *Config) *int64 { return &c.Turn.Limits.TotalBitsPerSecond },
			"Bits per second of all allocations together, in both directions, including IP and UDP headers. When Nodes want more, it is "+
				"divided fairly: none gets more as long as another has less and wants more.").example("900_000_000"),
		define("turn.limits.connections_per_ip", 4096, limit(), func(c *Config) *int { return &c.Turn.Limits.ConnectionsPerIP },
			"TCP and TLS connections from one address at once."),
		define("turn.limits.unauthenticated_per_second", 200, limit(), func(c *Config) *int { return &c.Turn.Limits.UnauthenticatedPerSecond },
			"Answers per second to one address that has not authenticated yet, STUN included."),
		define("turn.limits.allocation_lifetime", "10m", span(time.Second, time.Hour),
			func(c *Config) *time.Duration { return &c.Turn.Limits.AllocationLifetime },
			"How long an allocation lives without being refreshed: 1s to 1h."),
		define("turn.limits.bytes_per_month", "0", size(0, math.MaxInt64), func(c *Config) *int64 { return &c.Turn.Limits.BytesPerMonth },
			"Bytes relayed in a month of UTC for all Nodes together, in both directions, including IP and UDP headers. At the limit "+
				"every relay ends, and new allocations are refused until the month is over. At 80 % there is a warning. All machines of a "+
				"[fleet](fleet.md#limits) count.").example(`"2TB"`),
		define("turn.limits.bytes_per_month_per_node", "0", size(0, math.MaxInt64),
			func(c *Config) *int64 { return &c.Turn.Limits.BytesPerMonthPerNode },
			"The same for each Node.").example(`"50GB"`),
	}}
}
