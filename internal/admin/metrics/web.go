package metrics

import "github.com/prometheus/client_golang/prometheus"

// WebStats is HTTP at the TURN server's TLS ports in numbers.
type WebStats struct {
	Connections int    // open
	Accepted    uint64 // clients that spoke HTTP
	NotFound    uint64 // requests for what is not served there
}

type webDescs struct{ connections, accepted, notFound *prometheus.Desc }

func newWebDescs(desc func(subsystem, name, help string, labels ...string) *prometheus.Desc) webDescs {
	return webDescs{
		connections: desc("https", "connections", "Open connections of HTTP at the TLS ports, without those that are the Broker's."),
		accepted:    desc("https", "connections_total", "Connections to the TLS ports on which HTTP was spoken."),
		notFound:    desc("https", "requests_not_found_total", "Requests at the TLS ports for what is not served there."),
	}
}

func (d *webDescs) collect(s sink, st WebStats) {
	s.gauge(d.connections, float64(st.Connections))
	s.counter(d.accepted, st.Accepted)
	s.counter(d.notFound, st.NotFound)
}
