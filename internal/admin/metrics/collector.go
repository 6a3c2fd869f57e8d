package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// collector reads all sources at each scrape.
type collector struct {
	cfg Config
	own *Metrics // has what is counted here

	allocations, opened, connections, datagrams, bytes, refusals, challenges, drops, ports, portsUsed, panics, offloaded, offloadOn, offloadApart, offloadWays, halfOpen, accepted, turnedAway, tables, mostTables,
	known, connected, banned, forgotten, events, eventsLost,
	limits, certificate, certificateOK, acme, upstream, messages, messagesQueued, tokensWatched, checksWaiting, checksRefused, refused, ready, draining,
	cut, monthBytes, monthSeconds, monthAllocations, monthMessages, monthNodes, monthNear, monthExhausted, usageUnkept,
	redisUp, redisClients, redisKeys, redisMemory, redisConnections, redisCommands, redisRefused, redisRefusedCommands,
	hellos, strangers, httpLost *prometheus.Desc

	broker brokerDescs
	web    webDescs
	fleet  fleetDescs
}

func newCollector(cfg Config, own *Metrics) *collector {
	desc := func(subsystem, name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
	}
	return &collector{
		cfg: cfg, own: own, broker: newBrokerDescs(desc), web: newWebDescs(desc), fleet: newFleetDescs(desc),
		allocations:  desc("turn", "allocations", "Live allocations, by the transport of their clients.", "transport"),
		opened:       desc("turn", "allocations_opened_total", "Allocations made since the start.", "transport"),
		connections:  desc("turn", "connections", "Open client connections; none over udp.", "transport"),
		datagrams:    desc("turn", "relayed_datagrams_total", "Datagrams relayed: in from clients to peers, out from peers to clients.", "transport", "direction"),
		bytes:        desc("turn", "relayed_bytes_total", "Payload relayed: in from clients to peers, out from peers to clients.", "transport", "direction"),
		refusals:     desc("turn", "refusals_total", "Error answers to clients, by STUN error code and cause.", "code", "cause"),
		challenges:   desc("turn", "challenges_total", "Requests without a credential that were asked for one: the beginning of every allocation."),
		drops:        desc("turn", "dropped_total", "Datagrams and messages dropped without an answer, by cause.", "cause"),
		ports:        desc("turn", "relay_ports", "Relay ports in the configured range."),
		portsUsed:    desc("turn", "relay_ports_used", "Relay ports in use."),
		offloaded:    desc("turn", "offload_datagrams_total", "Datagrams of channels that the kernel knows, by what it did: taken, or why they were left to the sockets.", "result"),
		offloadOn:    desc("turn", "offload_on", "1 while the kernel relays, or would if there were channels: 0 under a limit, and where all ways have failed."),
		offloadApart: desc("turn", "offload_apart", "Channels that the sockets relay while turn.offload is on, by why: family, fleet, kernel, limit, one_way or transport.", "reason"),
		offloadWays:  desc("turn", "offload_way", "Ways through the kernel from an interface to another, 1 each: state is untried, trial, doubted, trusted or condemned.", "in", "out", "mode", "state"),
		panics:       desc("turn", "panics_total", "Messages that a mistake in the program would have ended it at; each was dropped alone."),

		halfOpen:   desc("turn", "connections_half_open", "Client connections that have not said what they are, or not finished their handshake."),
		strangers:  desc("turn", "connections_without_allocation", "Client connections that have no allocation: those that may be displaced."),
		hellos:     desc("turn", "dtls_hellos_total", "First ClientHellos of DTLS, which are answered with a cookie and forgotten."),
		accepted:   desc("turn", "connections_accepted_total", "Client connections of TCP and TLS, and DTLS associations, that were accepted."),
		tables:     desc("turn", "table_bytes", "Memory that is kept for Nodes' allocations, permissions and channels, by estimate."),
		mostTables: desc("turn", "table_bytes_of_one_node", "That of the Node that has most."),
		turnedAway: desc("turn", "connections_turned_away_total", "Client connections that were refused, displaced or broke off before they were served, by cause.", "cause"),

		cut: desc("turn", "allocations_cut_total", "Allocations that were ended because a limit of the month was reached, by cause.", "cause"),

		monthBytes:       desc("usage", "month_bytes", "Bytes relayed in this month of UTC, as on the wire: in from clients to peers, out from peers to clients.", "direction"),
		monthSeconds:     desc("usage", "month_relaying_seconds", "Time that allocations spent relaying in this month, all of them added up."),
		monthAllocations: desc("usage", "month_allocations", "Allocations opened in this month."),
		monthMessages:    desc("usage", "month_messages", "Messages that Nodes sent each other through a Broker in this month."),
		monthNodes:       desc("usage", "month_nodes", "Nodes that used something in this month."),
		monthNear:        desc("usage", "month_nodes_near_limit", "Nodes that have used 80 % or more of turn.limits.bytes_per_month_per_node."),
		monthExhausted:   desc("usage", "month_nodes_at_limit", "Nodes that may relay no more this month."),
		usageUnkept:      desc("usage", "unkept", "1 while the disk does not take what Nodes used."),

		known:      desc("nodes", "known", "Nodes that something is remembered of."),
		connected:  desc("nodes", "connected", "Nodes that have joined a Broker and not left it."),
		banned:     desc("nodes", "banned", "Bans in force."),
		forgotten:  desc("nodes", "forgotten_total", "Nodes forgotten to keep memory bounded."),
		events:     desc("nodes", "events_total", "Events noted in why-records, by kind.", "kind"),
		eventsLost: desc("nodes", "events_lost_total", "Events that readers of the event stream were too slow for."),

		limits:         desc("", "limit", "Configured limits, by configuration key; a limit that is off is left out.", "key"),
		certificate:    desc("", "certificate_expiry_timestamp_seconds", "When the certificate of TLS and DTLS ends, in Unix time."),
		certificateOK:  desc("", "certificate_ok", "1 while TLS and DTLS clients get the certificate that is configured, and it is in its time."),
		acme:           desc("", "acme_attempts_total", "Attempts to get a certificate from a CA: obtained, or why not.", "result"),
		upstream:       desc("hooks", "upstream_total", "Questions for the operator's own webhook, by what became of them.", "result"),
		messages:       desc("hooks", "messages_total", "Messages between Nodes that the Brokers told of, by what became of the notice.", "result"),
		messagesQueued: desc("hooks", "messages_queued", "Notices of messages that wait to be forwarded to the operator's own webhook."),
		tokensWatched:  desc("hooks", "tokens_watched", "Nodes whose token's end is watched, to name them invalid then."),
		refused:        desc("http", "requests_refused_total", "HTTP requests refused before they were looked at, for their token, Host or Origin, by listener and status.", "listener", "status"),
		httpLost:       desc("http", "lost_total", "Connections that gave way to newer ones, and requests cut off by a mistake in the program, by listener and cause.", "listener", "cause"),
		checksWaiting:  desc("hooks", "token_checks_waiting", "Tokens that wait to be checked with argon2id."),
		checksRefused:  desc("hooks", "token_checks_refused_total", "Tokens that were not checked, since too many waited."),
		ready:          desc("", "ready", "1 where everything is ready to serve."),
		draining:       desc("", "draining", "1 while no new allocations are taken because the server is to end."),

		redisUp:          desc("redis", "up", "1 where the embedded Redis runs."),
		redisClients:     desc("redis", "clients", "Connected clients of the embedded Redis."),
		redisKeys:        desc("redis", "keys", "Keys in the embedded Redis."),
		redisMemory:      desc("redis", "memory_bytes", "Upper estimate of the memory that the embedded Redis's data takes."),
		redisConnections: desc("redis", "connections_total", "Connections that the embedded Redis accepted."),
		redisCommands:    desc("redis", "commands_total", "Commands that the embedded Redis executed."),
		redisRefused:     desc("redis", "connections_refused_total", "Connections that the embedded Redis refused or cut off, by cause.", "cause"),

		redisRefusedCommands: desc("redis", "commands_refused_total", "Commands that the embedded Redis did not execute, by cause.", "cause"),
	}
}

// Describe implements prometheus.Collector, by collecting once.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// sink sends constant metrics to a scrape.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s sink) flag(d *prometheus.Desc, v bool) {
	if v {
		s.gauge(d, 1)
		return
	}
	s.gauge(d, 0)
}

// causes sends counters by cause, of which a scrape has at most maxCauses.
func (s sink) causes(d *prometheus.Desc, counts map[string]uint64) {
	n := 0
	for cause, count := range counts {
		if n++; n > maxCauses {
			return
		}
		s.counter(d, count, cause)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := sink(ch)
	if c.cfg.Turn != nil {
		c.turn(s, c.cfg.Turn())
	}
	if c.cfg.Nodes != nil {
		st := c.cfg.Nodes()
		s.gauge(c.known, float64(st.Nodes))
		s.gauge(c.connected, float64(st.Connected))
		s.gauge(c.banned, float64(st.Bans))
		s.counter(c.forgotten, st.Evicted)
		s.counter(c.eventsLost, st.Lost)
		for kind, n := range st.Events {
			s.counter(c.events, n, string(kind))
		}
	}
	if c.cfg.Limits != nil {
		for key, n := range c.cfg.Limits() {
			if n != 0 {
				s.gauge(c.limits, float64(n), key)
			}
		}
	}
	if c.cfg.Certificate != nil {
		end, ok := c.cfg.Certificate()
		s.gauge(c.certificate, float64(end.Unix()))
		s.flag(c.certificateOK, ok)
	}
	if c.cfg.ACME != nil {
		all := c.cfg.ACME()
		for _, result := range slices.Sorted(maps.Keys(all)) {
			s.counter(c.acme, all[result], result)
		}
	}
	c.own.mu.Lock()
	for k, n := range c.own.refused {
		s.counter(c.refused, n, k[0], k[1])
	}
	c.own.mu.Unlock()
	if c.cfg.HTTP != nil {
		for listener, lost := range c.cfg.HTTP() {
			for cause, n := range lost {
				s.counter(c.httpLost, n, listener, cause)
			}
		}
	}
	if c.cfg.Policy != nil {
		c.policy(s, c.cfg.Policy())
	}
	if c.cfg.Usage != nil {
		c.usage(s, c.cfg.Usage())
	}
	if c.cfg.State != nil {
		ready, draining := c.cfg.State()
		s.flag(c.ready, ready)
		s.flag(c.draining, draining)
	}
	if c.cfg.Broker != nil {
		st, up := c.cfg.Broker()
		c.broker.collect(s, st, up)
	}
	if c.cfg.Web != nil {
		if st, on := c.cfg.Web(); on {
			c.web.collect(s, st)
		}
	}
	if c.cfg.Fleet != nil {
		st, up := c.cfg.Fleet()
		c.fleet.collect(s, st, up)
	}
	c.redis(s)
}

func (c *collector) policy(s sink, st PolicyStats) {
	s.causes(c.upstream, st.Upstream)
	s.causes(c.messages, st.Messages)
	s.gauge(c.messagesQueued, float64(st.MessagesQueued))
	s.gauge(c.tokensWatched, float64(st.TokensWatched))
	s.gauge(c.checksWaiting, float64(st.ChecksWaiting))
	s.counter(c.checksRefused, st.ChecksRefused)
}

func (c *collector) usage(s sink, st UsageStats) {
	s.gauge(c.monthBytes, float64(st.In), "in")
	s.gauge(c.monthBytes, float64(st.Out), "out")
	s.gauge(c.monthSeconds, st.Time.Seconds())
	s.gauge(c.monthAllocations, float64(st.Allocations))
	s.gauge(c.monthMessages, float64(st.Messages))
	s.gauge(c.monthNodes, float64(st.Nodes))
	s.gauge(c.monthNear, float64(st.Near))
	s.gauge(c.monthExhausted, float64(st.Exhausted))
	s.flag(c.usageUnkept, st.Unkept)
}

func (c *collector) redis(s sink) {
	if c.cfg.Redis == nil {
		return
	}
	st, up := c.cfg.Redis()
	s.flag(c.redisUp, up)
	if !up {
		return
	}
	s.gauge(c.redisClients, float64(st.Clients))
	s.gauge(c.redisKeys, float64(st.Keys))
	s.gauge(c.redisMemory, float64(st.Memory))
	s.counter(c.redisConnections, st.Connections)
	s.counter(c.redisCommands, st.Commands)
	s.causes(c.redisRefused, st.Refused)
	s.causes(c.redisRefusedCommands, st.RefusedCommands)
}

// maxRefusals and maxCauses bound the series of one scrape, should a cause ever be made from what a stranger sent.
const (
	maxRefusals = 200
	maxCauses   = 50
)

func (c *collector) turn(s sink, st adminapi.TurnStats) {
	for _, t := range st.Transports {
		s.gauge(c.allocations, float64(t.Allocations), t.Transport)
		s.counter(c.opened, t.Opened, t.Transport)
		if t.Transport != "udp" {
			s.gauge(c.connections, float64(t.Connections), t.Transport)
		}
		s.counter(c.datagrams, t.In.Datagrams, t.Transport, "in")
		s.counter(c.datagrams, t.Out.Datagrams, t.Transport, "out")
		s.counter(c.bytes, t.In.Bytes, t.Transport, "in")
		s.counter(c.bytes, t.Out.Bytes, t.Transport, "out")
	}
	refusals := slices.Clone(st.Refusals)
	slices.SortFunc(refusals, func(a, b adminapi.Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Cause, b.Cause))
	})
	for _, r := range refusals[:min(len(refusals), maxRefusals)] {
		s.counter(c.refusals, r.Count, strconv.Itoa(r.Code), r.Cause)
	}
	s.counter(c.challenges, st.Challenges)
	s.causes(c.drops, st.Drops)
	s.gauge(c.halfOpen, float64(st.HalfOpen))
	s.gauge(c.strangers, float64(st.Strangers))
	s.counter(c.hellos, st.Hellos)
	s.counter(c.accepted, st.Accepted)
	s.causes(c.turnedAway, st.TurnedAway)
	s.causes(c.cut, st.Cut)
	s.counter(c.panics, st.Panics)
	s.offload(c, st.Offload)
	s.gauge(c.tables, float64(st.Tables))
	s.gauge(c.mostTables, float64(st.MostTables))
	if st.Ports > 0 {
		s.gauge(c.ports, float64(st.Ports))
		s.gauge(c.portsUsed, float64(st.PortsUsed))
	}
}
