package admin

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// draining is a server that can be drained.
func draining(t *testing.T, token string) (s *server, begun *atomic.Int32) {
	begun = new(atomic.Int32)
	s = serve(t, token, func(c *Config) {
		c.Drain = func() { begun.Add(1) }
		c.Draining = func() *adminapi.Drain {
			if begun.Load() == 0 {
				return nil
			}
			return &adminapi.Drain{Allocations: 3, SecondsLeft: 4.5}
		}
	})
	return s, begun
}

func TestDrain(t *testing.T) {
	s, begun := draining(t, "0123abcd")
	s.want("GET", "/api/drain", "", 405, `{"error":"this path takes POST"}`)
	if status, _, body := s.do("POST", "/api/drain", "", "Origin", "https://evil.example"); status != 403 {
		t.Errorf("another site's call: %d %s", status, body)
	}
	if status, _, body := s.do("POST", "/api/drain", "", "Authorization", "Bearer wrong"); status != 401 {
		t.Errorf("a wrong token: %d %s", status, body)
	}
	if begun.Load() != 0 {
		t.Fatal("a call that was refused has begun the drain")
	}
	s.want("GET", "/api/status", "", 200, `~"draining":false`)
	c, err := adminapi.NewClient(s.url, "0123abcd")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.Drain(t.Context()); err != nil || d != (adminapi.Drain{Allocations: 3, SecondsLeft: 4.5}) || begun.Load() != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	s.want("POST", "/api/drain", "", 202, `{"allocations":3,"seconds_left":4.5}`)
	s.want("GET", "/api/status", "", 200, `~"draining":true,"drain":{"allocations":3,"seconds_left":4.5}`)
	s.setNotReady("draining")
	s.want("GET", "/readyz", "", 503, `{"ready":false,"not_ready":["draining"],"drain":{"allocations":3,"seconds_left":4.5}}`)
	if err := c.Ready(t.Context()); !errors.Is(err, adminapi.ErrNotReady) {
		t.Error(err)
	}
}

func TestDrainIsSeenInEvents(t *testing.T) {
	s, _ := draining(t, "")
	lines, _ := s.stream("")
	if data := next(t, lines, "stats"); strings.Contains(data, `"drain"`) || !strings.Contains(data, `"draining":false`) {
		t.Errorf("before: %s", data)
	}
	s.do("POST", "/api/drain", "")
	for !strings.Contains(next(t, lines, "stats"), `"draining":true,"drain":{"allocations":3,"seconds_left":4.5}`) {
	}
}

func TestNoDrainWithoutOne(t *testing.T) {
	serve(t, "", nil).want("POST", "/api/drain", "", 404, `{"error":"this server cannot be drained from here"}`)
}

func TestDashboardShowsADrain(t *testing.T) {
	s, _ := draining(t, "")
	p := openPage(t)
	p.open(s.url + "/")
	p.wait(`document.querySelector("#state").textContent === "Ready" && document.querySelector("#banner").hidden && document.querySelector("#drain").hidden`)
	s.do("POST", "/api/drain", "")
	p.wait(`document.querySelector("#state").textContent === "Draining" && !document.querySelector("#banner").hidden &&
		document.querySelector("#drain").textContent === "Live allocations: 3. They are ended in 5 s at the latest."`)
	checkAccessibility(p, axeCore(t), "draining")
	p.clean()
}
