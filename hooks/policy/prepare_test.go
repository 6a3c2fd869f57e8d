package policy

import (
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// TestPrepareChangesNothing has a prepared configuration that allows wait, be dropped, and at last hold.
func TestPrepareChangesNothing(t *testing.T) {
	log := &logtest.Buffer{}
	p := run(t, Config{Logger: logTo(log), Authenticate: Authenticate{Mode: ModeDeny}})
	allows := func() bool { return p.Authenticate(t.Context(), Request{Node: "Alice"}).OK() }
	weak := Config{Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{Secret: "short"}}}
	for _, next := range []Config{{}, weak} {
		c, err := p.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		if allows() || log.String() != "" {
			t.Errorf("preparing changed something: %s", log)
		}
		c.Drop()
		if allows() || log.String() != "" {
			t.Errorf("dropping changed something: %s", log)
		}
	}
	c, err := p.Prepare(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Apply(); !allows() {
		t.Error("the new configuration does not hold")
	}
	if c, err = p.Prepare(weak); err != nil {
		t.Fatal(err)
	}
	if c.Apply(); allows() || !strings.Contains(log.String(), "shorter than 32 bytes") {
		t.Errorf("the last configuration does not hold: %s", log)
	}
}
