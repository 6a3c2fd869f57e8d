package admin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
)

func TestUsage(t *testing.T) {
	now := time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)
	keeper, err := usage.New(usage.Config{DataDir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	s := serve(t, "", func(c *Config) {
		c.Usage = keeper
		c.Now = func() time.Time { return now }
	})
	client, err := adminapi.NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	keeper.Used("little", 1, 2, time.Second)
	keeper.Used("much/..", 1000, 0, 1500*time.Millisecond)
	keeper.Opened("much/..")
	keeper.Message("much/..")
	u, err := client.Usage(t.Context(), "", 1)
	much := adminapi.UsageRecord{In: 1000, Seconds: 1.5, Allocations: 1, Messages: 1}
	if err != nil || u.Month != "2026-11" || u.Total != 2 || len(u.Nodes) != 1 || u.Nodes[0] != (adminapi.UsageLine{Node: "much/..", UsageRecord: much}) ||
		u.Sum.In != 1001 || u.Sum.Out != 2 || len(u.Months) != 1 {
		t.Errorf("%+v %v", u, err)
	}
	if u, err = client.Usage(t.Context(), "2026-01", 0); err != nil || u.Nodes == nil || len(u.Nodes) != 0 || u.Sum != (adminapi.UsageRecord{}) {
		t.Errorf("an empty month: %+v %v", u, err)
	}
	if _, err = client.Usage(t.Context(), "November", 0); err == nil || !strings.Contains(err.Error(), "a month is written like 2026-11") {
		t.Errorf("no month: %v", err)
	}
	n, err := client.UsageOf(t.Context(), "much/..")
	if err != nil || len(n.Months) != 1 || n.Months[0] != (adminapi.UsageOfMonth{Month: "2026-11", UsageRecord: much}) {
		t.Errorf("%+v %v", n, err)
	}
	s.registry.Observed("much/..", "something")
	if rec, err := client.Node(t.Context(), "much/.."); err != nil || rec.Usage == nil || rec.Usage.UsageRecord != much {
		t.Errorf("%+v %v", rec, err)
	}
	if err := client.Forget(t.Context(), "much/.."); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/api/usage/node?id=", "/api/node?id="} {
		if code, _, text := s.do("GET", path+url.QueryEscape("much/.."), ""); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if err := client.Forget(t.Context(), "much/.."); err == nil || !strings.Contains(err.Error(), "nothing is known of this Node") {
		t.Errorf("again: %v", err)
	}
	if u, err = client.Usage(t.Context(), "", 0); err != nil || len(u.Nodes) != 1 || u.Sum.In != 1001 {
		t.Errorf("%+v %v", u, err)
	}
}
