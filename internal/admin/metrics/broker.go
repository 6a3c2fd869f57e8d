package metrics

import "github.com/prometheus/client_golang/prometheus"

// BrokerStats is the Broker in this process in numbers.
type BrokerStats struct {
	Connections, Nodes int                          // open, and those of them that have joined
	Waiting            int64                        // bytes that wait for Nodes to read them
	Joins              map[string]uint64            // by result
	Answers            map[string]map[string]uint64 // of events that Nodes send each other: by event and answer
	Asked              uint64                       // questions who is connected
	LetGo              map[string]uint64            // connections that were turned away or ended here, by cause
	SlowedDown         uint64                       // messages that were read later, for their Node's rate
	Received, Relayed  uint64                       // bytes
	RedisFailures      uint64
}

// brokerDescs are the metrics of the Broker.
type brokerDescs struct {
	up, connections, nodes, waiting, joins, events, questions, letGo, slowed, received, relayed, redisFailures *prometheus.Desc
}

func newBrokerDescs(desc func(subsystem, name, help string, labels ...string) *prometheus.Desc) brokerDescs {
	return brokerDescs{
		up:            desc("broker", "up", "1 where the Broker in this process runs."),
		connections:   desc("broker", "connections", "Open connections to the Broker in this process."),
		nodes:         desc("broker", "nodes", "Nodes that have joined it."),
		waiting:       desc("broker", "waiting_bytes", "Bytes that wait for Nodes to read them."),
		joins:         desc("broker", "joins_total", "Nodes that wanted to join it, by what became of them.", "result"),
		events:        desc("broker", "events_total", "Events that Nodes sent each other through it, by event and answer.", "event", "answer"),
		questions:     desc("broker", "questions_total", "Questions of Nodes who is connected."),
		letGo:         desc("broker", "connections_let_go_total", "Connections that it turned away or ended, by cause.", "cause"),
		slowed:        desc("broker", "messages_slowed_total", "Messages that were read later, since their Node sends more than broker.limits.messages_per_second."),
		received:      desc("broker", "received_bytes_total", "Bytes of messages that Nodes have sent it."),
		relayed:       desc("broker", "relayed_bytes_total", "Bytes of payloads that it has passed on."),
		redisFailures: desc("broker", "redis_failures_total", "Questions to the Redis that Brokers share which failed."),
	}
}

func (d *brokerDescs) collect(s sink, st BrokerStats, up bool) {
	s.flag(d.up, up)
	if !up {
		return
	}
	s.gauge(d.connections, float64(st.Connections))
	s.gauge(d.nodes, float64(st.Nodes))
	s.gauge(d.waiting, float64(st.Waiting))
	s.causes(d.joins, st.Joins)
	for event, answers := range st.Answers { // both are words of the protocol
		for answer, n := range answers {
			s.counter(d.events, n, event, answer)
		}
	}
	s.counter(d.questions, st.Asked)
	s.causes(d.letGo, st.LetGo)
	s.counter(d.slowed, st.SlowedDown)
	s.counter(d.received, st.Received)
	s.counter(d.relayed, st.Relayed)
	s.counter(d.redisFailures, st.RedisFailures)
}
