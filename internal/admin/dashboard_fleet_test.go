package admin

import (
	"fmt"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// stateOf is a fleet of which there is but what it shows.
type stateOf struct {
	others
	state adminapi.Fleet
}

func (s *stateOf) State() adminapi.Fleet { return s.state }

// TestDashboardMachines shows the machines of a fleet, with what is wrong with each, and their link; alone there is none.
func TestDashboardMachines(t *testing.T) {
	fleet := &stateOf{state: adminapi.Fleet{Name: "eu-1", Bans: 3, Unshared: 1, Machines: []adminapi.Machine{
		{Name: "eu-1", Process: "a", Region: "eu", Here: true, State: "up", Version: "1.2.3", Takes: true, Allocations: 12, BitsPerSecond: 80_000_000, CPU: 0.2, Ports: 100, FreePorts: 88, Nodes: 40},
		{Name: "eu-2", Process: "b", Region: "eu", State: "draining", Version: "1.2.4", Takes: true, Allocations: 7, Limit: 100, BitsPerSecond: 8_000_000, CPU: 0.9, Ports: 100, FreePorts: 93, Differs: []string{"turn.realm", "turn.limits"}},
		{Name: hostile, Process: "c", State: "silent", Version: "1.2.3", HeardSeconds: 90, SkewSeconds: 300},
	}}}
	for i := range fleet.state.Machines {
		m := &fleet.state.Machines[i]
		m.Differs = append([]string{}, m.Differs...)
	}
	s := serve(t, "", func(c *Config) { c.Fleet = fleet })
	p, axe := openPage(t), axeCore(t)
	p.open(s.url + "/#/machines")
	for _, look := range []struct {
		name          string
		width, height int
		dark          bool
	}{{"desktop", 1280, 900, false}, {"desktop-dark", 1280, 900, true}, {"phone", 390, 844, false}, {"phone-dark", 390, 844, true}} {
		p.size(look.width, look.height, look.dark)
		heading(p, "Machines")
		p.wait(`document.querySelectorAll("tbody tr").length === 3 && !document.querySelector("#nav-machines").hidden`)
		p.wait(`document.querySelector(".lead.warn")?.textContent.startsWith("2 of 3 machines serve. To look at: eu-2, ")`)
		p.wait(`["Another turn.realm, turn.limits.", "Its clock is 5 min ahead; last heard of"].every((s) => document.querySelector("main").textContent.includes(s))`)
		p.wait(`(document.querySelector(".line.in").getAttribute("d") ?? "").length > 20`)
		if over := p.eval(`document.documentElement.scrollWidth - innerWidth`); over[0] != '-' && over != "0" {
			t.Errorf("%s: the page is %s pixels wider than the screen", look.name, over)
		}
		checkAccessibility(p, axe, look.name)
		p.shot(look.name + "-machines")
	}
	alone := serve(t, "", nil)
	p.open(alone.url + "/")
	p.wait(`document.querySelector("#state").textContent === "Ready"`)
	if got := p.eval(`document.querySelector("#nav-machines").hidden`); got != "true" {
		t.Error("a machine that is alone has a view of machines")
	}
	p.clean()
}

// TestDashboardNodeOfAllMachines names machines with what happened there, and closes only what is here.
func TestDashboardNodeOfAllMachines(t *testing.T) {
	one, two, _, _, _, _ := threeMachines(t)
	one.relays.list = []adminapi.Allocation{allocation("a1", "alice")}
	two.relays.list = []adminapi.Allocation{allocation("a1", "alice")}
	two.registry.Joined("alice", "joined the Broker")
	p := openPage(t)
	p.open(one.url + "/#/node?id=alice")
	p.wait(`document.querySelectorAll("tbody tr").length === 2 && document.querySelectorAll("button[data-allocation]").length === 1`)
	for _, text := range []string{"at eu-2", "eu-4: it has not answered within a second", "Connected at"} {
		p.wait(fmt.Sprintf(`document.querySelector("main").textContent.includes(%q)`, text))
	}
	p.clean()
}
