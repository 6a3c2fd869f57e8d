package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FleetStats is this machine's part in the fleet in numbers.
type FleetStats struct {
	RedisOK            bool
	Machines           map[string]int    // by state, this one too
	Unshared           int               // bans, and liftings of bans, that Redis does not have
	Sent, Received     uint64            // of them, to Redis and from other machines
	Compared           uint64            // how often all were compared with Redis
	Refused            map[string]uint64 // entries in Redis that were not believed, by cause
	Exchanges, Failure uint64            // with Redis: heartbeats that reached it, and what failed

	Differing            int           // machines that are there and have another configuration than this one
	Skew                 time.Duration // of the clock that is furthest from this one's
	Latency              time.Duration // of the last heartbeat to Redis
	Answered, Unanswered uint64        // questions of other machines, and answers that they did not give in time
}

// fleetDescs are the metrics of the fleet.
type fleetDescs struct {
	up, redis, machines, unshared, sent, received, compared, refused, exchanges, failures *prometheus.Desc

	differing, skew, latency, answered, unanswered *prometheus.Desc
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
		refused:   desc("fleet", "entries_refused_total", "Entries in Redis, and questions of other machines, that count for nothing, by cause.", "cause"),
		exchanges: desc("fleet", "heartbeats_total", "Heartbeats that reached Redis."),
		failures:  desc("fleet", "redis_failures_total", "Exchanges with the fleet's Redis that failed."),

		differing:  desc("fleet", "machines_differing", "Machines that are there and have another configuration or secret than this one."),
		skew:       desc("fleet", "clock_skew_seconds", "How far the clock of another machine is from this one's at most."),
		latency:    desc("fleet", "redis_latency_seconds", "How long the last heartbeat to Redis took."),
		answered:   desc("fleet", "questions_answered_total", "Questions of other machines that this one answered."),
		unanswered: desc("fleet", "answers_missed_total", "Answers that other machines did not give within a second."),
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
	s.gauge(d.differing, float64(st.Differing))
	s.gauge(d.skew, st.Skew.Seconds())
	s.gauge(d.latency, st.Latency.Seconds())
	s.counter(d.answered, st.Answered)
	s.counter(d.unanswered, st.Unanswered)
}
