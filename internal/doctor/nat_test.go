package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/natprobe"
)

func TestJudgeNAT(t *testing.T) {
	const e, a, p, u = natprobe.EndpointIndependent, natprobe.AddressDependent, natprobe.PortDependent, natprobe.Unknown
	inside, outside := netip.MustParseAddrPort("192.168.1.5:40000"), netip.MustParseAddrPort("203.0.113.9:61000")
	for _, c := range []struct {
		nat                bool
		mapping, filtering natprobe.Behavior
		alg                bool
		status             Status
		text               string
	}{
		{false, e, e, false, OK, "there is no NAT on the way to it: it sees this machine's own 192.168.1.5; nothing keeps out who was not written to: direct connections work"},
		{false, e, p, false, OK, "; a firewall is there all the same (address- and port-dependent filtering), and only who was written to can answer: direct connections usually work"},
		{true, e, e, false, OK, "this machine is behind a NAT (192.168.1.5 is seen as 203.0.113.9) with endpoint-independent mapping and filtering; nothing keeps out"},
		{true, e, a, false, OK, "with endpoint-independent mapping and address-dependent filtering; only who was written to can answer"},
		{true, e, p, false, OK, "direct connections usually work"},
		{true, e, u, false, Warn, "its other address 198.51.100.2:3479 does not answer from here"},
		{true, a, a, false, Warn, "with address-dependent mapping and filtering; each peer sees another address or port of it (a symmetric NAT)"},
		{true, p, p, false, Warn, "with address- and port-dependent mapping and filtering; each peer"},
		{true, p, e, false, Warn, "with address- and port-dependent mapping and endpoint-independent filtering; each peer"},
		{true, u, u, false, Warn, "with unknown mapping and filtering; its other address 198.51.100.2:3479 does not answer from here"},
		{true, e, p, true, Warn, "something on the way rewrites addresses"},
	} {
		r := natprobe.Result{Local: inside, Mapped: inside, Other: netip.MustParseAddrPort("198.51.100.2:3479"), Mapping: c.mapping, Filtering: c.filtering, ALG: c.alg}
		if c.nat {
			r.Mapped = outside
		}
		f := judgeNAT(r, "stun:x")
		if f.Status != c.status || !strings.Contains(f.Detail, c.text) || (f.Remedy == "") != (f.Status == OK) || f.Check != "nat" || f.URL != "stun:x" {
			t.Errorf("%+v: %+v", c, f)
		}
	}
}

// A STUN server without a second address says so; one of TURN is asked for that only where it offers it.
func TestNATIsNotOffered(t *testing.T) {
	udp, _ := turnServer(t, relays{}, nil)
	want(t, examine(t, Config{}, Target{URL: "stun:" + udp}), OK, "nat", "was not tried", "does not offer NAT behavior discovery")
	for _, f := range examine(t, Config{}, Target{"turn:" + udp, user, password}) {
		if f.Check == "nat" {
			t.Errorf("%+v", f)
		}
	}
}
