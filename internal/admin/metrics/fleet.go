package metrics

import "github.com/prometheus/client_golang/prometheus"

// FleetStats is this machine's part in the fleet in numbers.
type FleetStats struct {
	RedisOK            bool
	Machines           map[string]int    // by state, this one too
	Unshared           int               // bans, and liftings of bans, that Redis does not have
	Sent, Received     uint64            // of them, to Redis and from other machines
	Compared           uint64            // how often all were compared with Redis
	Refused            map[string]uint64 // entries in Redis that were not believed, by cause
	Exchanges, Failure uint64            // with Redis: heartbeats that reached it, and what failed
}

// fleetDescs are the metrics of the fleet.
type fleetDescs struct {
	up, redis, machines, unshared, sent, received, compared, refused, exchanges, failures *prometheus.Desc
}

func newFleetDescs(desc func(subsystem, name, help string, labels ...string) *prometheus.Desc) fleetDescs {
	return fleetDescs{
		up:        desc("fleet", "up", "1 where this machine shares a Redis with others."),
		redis:     desc("fleet", "redis_usable", "1 where the fleet's Redis did what it should when it was last asked."),
		machines:  desc("fleet", "machines", "Machines of the fleet that this one knows, itself too, by state.", "state"),
		unshared:  desc("fleet", "unshared", "Bans and liftings of bans that Redis does not have yet."),
		sent:      desc("fleet", "bans_sent_total", "Bans and liftings of bans that Redis took from this machine."),
		received:  desc("fleet", "bans_received_total", "Bans and liftings of bans of other machines that were new here."),
		compared:  desc("fleet", "comparisons_total", "How often all bans were compared with Redis."),
		refused:   desc("fleet", "entries_refused_total", "Entries in Redis that were not believed, by cause.", "cause"),
		exchanges: desc("fleet", "heartbeats_total", "Heartbeats that reached Redis."),
		failures:  desc("fleet", "redis_failures_total", "Exchanges with the fleet's Redis that failed."),
	}
}

func (d *fleetDescs) collect(s sink, st FleetStats, up bool) {
	s.flag(d.up, up)
	if !up {
		return
	}
	s.flag(d.redis, st.RedisOK)
	for state, n := range st.Machines { // of which there are few
		s.gauge(d.machines, float64(n), state)
	}
	s.gauge(d.unshared, float64(st.Unshared))
	s.counter(d.sent, st.Sent)
	s.counter(d.received, st.Received)
	s.counter(d.compared, st.Compared)
	s.causes(d.refused, st.Refused)
	s.counter(d.exchanges, st.Exchanges)
	s.counter(d.failures, st.Failure)
}
