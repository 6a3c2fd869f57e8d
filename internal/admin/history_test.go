package admin

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/history"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// remembering gives a server a history.
func remembering(t *testing.T) func(c *Config) {
	k, err := history.New(history.Config{DataDir: t.TempDir(), Totals: func() (uint64, uint64) { return 0, 0 }})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.History = k }
}

func TestHistory(t *testing.T) {
	s := serve(t, "", remembering(t))
	if _, err := s.registry.Ban("Mallory", "spam", time.Hour); err != nil {
		t.Fatal(err)
	}
	s.registry.Refused("Bob", "no mark")
	s.registry.Tell(nodes.KindReloaded, "a changed configuration holds: log.level")
	for step, n := range map[string]int{"": history.Minutes, "?step=minute": history.Minutes, "?step=hour": history.Hours} {
		_, _, body := s.do("GET", "/api/history"+step, "")
		var got adminapi.History
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.In) != n || len(got.Out) != n || got.Step*n != map[int]int{history.Minutes: 86_400, history.Hours: 30 * 86_400}[n] || got.Until.IsZero() {
			t.Errorf("%s: %d in, %d out, step %d", step, len(got.In), len(got.Out), got.Step)
		}
		kinds := ""
		for _, m := range got.Marks {
			kinds += string(m.Kind) + " " + m.Node + ";"
		}
		if kinds != "started ;banned Mallory;reloaded ;" {
			t.Errorf("marks %s", kinds)
		}
	}
	s.want("GET", "/api/history?step=second", "", 400, `{"error":"step must be minute or hour"}`)
	s.want("GET", "/api/status", "", 200, `~"history":true`)
	without := serve(t, "", nil)
	without.want("GET", "/api/history", "", 404, `~this server does not remember what it relayed`)
}

// TestHistoryOfANode has what one Node relayed and what happened to it, until it is forgotten; its page shows it by minute and hour.
func TestHistoryOfANode(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Minute).Add(30 * time.Second) // by the browser's clock, and not at the end of a minute
	dir := t.TempDir()
	keeper := func() *history.Keeper {
		k, err := history.New(history.Config{DataDir: dir, Totals: func() (uint64, uint64) { return 0, 0 }, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := keeper()
	now = now.Add(10 * time.Second)
	k.Relayed("Bob", 5000, 1000)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := k.Run(ended); err != nil { // looks, and writes
		t.Fatal(err)
	}
	s := serve(t, "", func(c *Config) { c.History, c.Now = keeper(), func() time.Time { return now } })
	s.registry.Observed("Bob", "something")
	_, _, body := s.do("GET", "/api/history?node=Bob", "")
	var got adminapi.History
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.In) != history.Minutes || *got.In[len(got.In)-1] != 500 || *got.Out[len(got.Out)-1] != 100 {
		t.Errorf("%s %v", body[max(0, len(body)-200):], err)
	}
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/node?id=Bob")
	p.wait(`!document.querySelector('[aria-label="Range"]').hidden`)
	p.eval(`[...document.querySelectorAll('[aria-label="Range"] button')].find((b) => b.textContent === "24 h").click()`)
	p.wait(`document.querySelector(".reading").textContent.startsWith("Now 500 B/s sent, 100 B/s received")`)
	p.clean()
	s.want("DELETE", "/api/node?id=Bob", "", 204, "")
	if _, _, body = s.do("GET", "/api/history?node=Bob", ""); json.Unmarshal([]byte(body), &got) != nil || *got.In[len(got.In)-1] != 0 {
		t.Error("what it relayed is not forgotten")
	}
}

// TestDashboardRanges shows a day, and a month, and keeps the range that was chosen.
func TestDashboardRanges(t *testing.T) {
	s := serve(t, "", remembering(t))
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url)
	chosen := `document.querySelector('[aria-label="Range"] [aria-pressed="true"]').textContent`
	p.wait(`!document.querySelector('[aria-label="Range"]').hidden && ` + chosen + ` === "5 min"`) // there is nothing older to show
	for _, name := range []string{"30 d", "24 h"} {
		p.eval(`[...document.querySelectorAll('[aria-label="Range"] button')].find((b) => b.textContent === "` + name + `").click()`)
		p.wait(chosen + ` === "` + name + `"`)
		p.wait(`document.querySelector(".grid").textContent.includes("` + map[string]string{"30 d": "−30 d", "24 h": "−1 d"}[name] + `")`)
		p.wait(`document.querySelectorAll(".mark.restart").length >= 1`)
	}
	checkAccessibility(p, axeCore(t), "ranges")
	p.call("Page.reload", nil, nil)
	p.wait(chosen + ` === "24 h"`)
	p.clean()
}
