package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
)

// TestDashboardUsage shows what Nodes used, how near it is to the limits, and saves it as CSV that no spreadsheet runs.
func TestDashboardUsage(t *testing.T) {
	keeper, err := usage.New(usage.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	keeper.Used("Alice", 700_000_000, 150_000_000, time.Hour)
	keeper.Used("=Bob", 1000, 0, time.Minute)
	month, _ := keeper.This("Alice")
	s := serve(t, "", func(c *Config) {
		c.Usage = keeper
		c.Status = func() adminapi.Status {
			return adminapi.Status{Limits: map[string]int64{"turn.limits.bytes_per_month": 1_000_000_000, "turn.limits.bytes_per_month_per_node": 900_000_000}}
		}
	})
	s.registry.Opened("Alice", "an allocation")
	p := openPage(t)
	p.size(390, 844, true)
	p.open(s.url + "/#/usage")
	p.wait(`document.querySelector("main .lead.warn")?.textContent.includes("85 % of the 1.0 GB that turn.limits.bytes_per_month allows")`)
	p.wait(`document.querySelector("main > meter").value > 0.84`)
	p.wait(`document.querySelector("tbody tr").textContent.includes("94 %")`)
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	checkAccessibility(p, axeCore(t), "usage")
	p.eval(`URL.createObjectURL = (b) => { b.text().then((text) => { window.saved = text; }); return "#/usage"; }`)
	p.eval(`[...document.querySelectorAll("button")].find((b) => b.textContent === "Download CSV").click()`)
	p.wait(`window.saved`)
	saved := p.eval(`window.saved`)
	if want := month.String() + `,'=Bob,1000,0,60.000,0,0\n`; !strings.Contains(saved, want) || !strings.Contains(saved, "month,node,wire_bytes_in") {
		t.Errorf("CSV %s, want %s", saved, want)
	}
	p.eval(`location.hash = "#/node?id=Alice"`)
	p.wait(`document.querySelector(".a-known").textContent.includes("850.0 MB relayed, 94 % of the 900.0 MB that it may")`)
	p.clean()
}
