package hooks

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Nobody comes in with an id that this program keeps for its own tests, whose doings would be taken for one of them; its own tests do.
func TestKeptIDs(t *testing.T) {
	own := nodeid.DoctorPrefix + "own"
	r := start(t, func(s *setup) { s.Asked.Own = func(id string) bool { return id == own } })
	ctx := t.Context()
	for _, feigned := range []string{nodeid.DoctorPrefix + "1", nodeid.Dashboard} {
		if a := r.decider.Authenticate(ctx, feigned, nil, netip.Addr{}); a.OK() || !strings.Contains(a.Cause, "kept for crolang-aio's own tests") {
			t.Errorf("%s: %+v", feigned, a)
		}
	}
	if _, a := r.decider.Configuration(ctx, nodeid.DoctorPrefix+"1", netip.Addr{}); a.OK() {
		t.Error("a feigned id is given a configuration")
	}
	feigned := `{"id":"` + nodeid.DoctorPrefix + `1"}`
	if got := r.post(PathResolve, feigned, nil); got.status == http.StatusOK {
		t.Error("a Broker is given a configuration for a feigned id")
	}
	// Doctor may have another secret than the server, and is to find that out.
	if got := r.post(PathResolve, feigned, func(q *http.Request) { q.Header.Set("User-Agent", nodeid.DoctorAgent) }); got.status != http.StatusOK {
		t.Errorf("doctor is answered %d", got.status)
	}
	if a := r.decider.Authenticate(ctx, own, nil, netip.Addr{}); !a.OK() {
		t.Errorf("doctor's own: %+v", a)
	}
	if _, a := r.decider.Configuration(ctx, own, netip.Addr{}); !a.OK() {
		t.Errorf("doctor's own: %+v", a)
	}
	if len(r.policy.asked) != 1 {
		t.Errorf("the policy was asked %v", r.policy.asked)
	}
}
