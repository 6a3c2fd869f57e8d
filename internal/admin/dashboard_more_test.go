package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

func TestDashboardPagesLongLists(t *testing.T) {
	s := lively(t, "")
	ids := []string{}
	for i := range 3000 {
		ids = append(ids, fmt.Sprintf("sensor-%04d", i))
	}
	s.registry.Validated(ids)
	now := time.Now()
	s.relays.mu.Lock()
	s.relays.list = nil
	for i, id := range ids {
		a := allocation(id, id)
		a.Created, a.Expires = now.Add(-time.Duration(i)*time.Second), now.Add(time.Minute)
		if i == 1234 {
			a.BytesOut *= 2
		}
		s.relays.list = append(s.relays.list, a)
	}
	s.relays.mu.Unlock()
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/allocations")
	p.wait(`document.querySelector(".pager span").textContent === "1 to 100 of 3,000"`)
	p.wait(`document.querySelectorAll("tbody tr").length === 100`)
	p.eval(`[...document.querySelectorAll(".pager button")].at(-1).focus()`)
	p.key("Enter")
	p.wait(`document.querySelector(".pager span").textContent === "101 to 200 of 3,000"`)
	p.wait(`document.querySelector("tbody a").textContent === "sensor-0100" && document.activeElement.textContent === "Next"`)
	p.eval(`(() => { const s = document.querySelector("#sort"); s.value = "traffic"; s.dispatchEvent(new Event("input")); })()`)
	p.wait(`document.querySelector(".pager span").textContent === "1 to 100 of 3,000" && document.querySelector("tbody a").textContent === "sensor-1234"`)
	p.eval(`document.querySelector("#search").focus()`)
	p.typeText("sensor-29")
	p.wait(`document.querySelector(".pager span").textContent === "100 in all"`)
	s.relays.drop(func(adminapi.Allocation) bool { return true })
	p.wait(`document.querySelector(".pager span").textContent === "0 in all"`)
	p.eval(`location.hash = "#/nodes"`)
	p.wait(`document.querySelectorAll("tbody tr").length === 100 && document.querySelector(".pager span").textContent.startsWith("1 to 100 of 3,00")`)
	p.clean()
}

func TestDashboardUndoesAndWarns(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/bans")
	p.wait(`document.querySelector("#warnings li")?.textContent === "public.host is a private address. Set an address that clients on the Internet reach."`)
	p.wait(`document.querySelector('button[data-node="Mallory"]')`)
	p.eval(`document.querySelector('button[data-node="Mallory"]').click()`)
	p.wait(`document.querySelector("#said button")?.textContent === "Undo"`)
	if s.registry.Banned("Mallory") {
		t.Error("the ban was not lifted")
	}
	p.eval(`document.querySelector("#said button").click()`)
	p.wait(`document.querySelector('button[data-node="Mallory"]') && document.querySelector("#said").textContent.includes("is banned")`)
	if b, ok := s.registry.BanOf("Mallory"); !ok || b.Reason != "spam" || b.Until.Before(time.Now().Add(50*time.Minute)) || b.Until.After(time.Now().Add(61*time.Minute)) {
		t.Errorf("not as it was: %+v %v", b, ok)
	}
	p.clean()
}

// TestDashboardFollowsARestart ends the server under the page and starts another one at its address.
func TestDashboardFollowsARestart(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(390, 844, false)
	p.open(s.url + "/")
	p.wait(`document.querySelector("#state").textContent === "Ready"`)
	s.stop()
	p.wait(`document.querySelector("#banner").textContent.startsWith("The connection to the server is lost. What you see is from ") && document.body.classList.contains("stale")`)
	checkAccessibility(p, axeCore(t), "connection lost")
	p.shot("lost")
	again := lively(t, "")
	guard, err := webguard.New(webguard.Config{
		Key: "admin.listen", Listen: strings.TrimPrefix(s.url, "http://"), Handler: again.admin, Exempt: Exempt, CheckHost: webguard.OwnHosts,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- guard.Run(ctx) }()
	p.wait(`document.querySelector("#state").textContent === "Ready" && document.querySelector("#banner").hidden && !document.body.classList.contains("stale")`)
	again.stop() // ends the streams
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDashboardByKeyboard goes through the page with the Tab key: everything is reached, and each stop is seen.
func TestDashboardByKeyboard(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, true)
	p.open(s.url + "/#/nodes")
	p.wait(views[1].ready)
	p.wait(`!document.querySelector("#warnings").hidden`)
	stops := map[string]bool{}
	for range 60 {
		p.key("Tab")
		var at struct {
			Name  string
			Shown bool
		}
		if err := json.Unmarshal([]byte(p.eval(`(() => {
			const el = document.activeElement, style = getComputedStyle(el), box = el.getBoundingClientRect();
			return {
				name: el === document.body ? "" : el.getAttribute("aria-label") ?? (el.textContent.trim() || el.id),
				shown: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.bottom > 0 && box.top < innerHeight && box.width > 0,
			};
		})()`)), &at); err != nil {
			t.Fatal(err)
		}
		if at.Name == "" || stops[at.Name] { // round
			break
		}
		stops[at.Name] = true
		if !at.Shown {
			t.Errorf("the focus is not seen at %q", at.Name)
		}
	}
	for _, want := range []string{
		"Skip to the content", "Overview", "Nodes", "Allocations", "Bans", "Set-up", "Browser test", "Theme: auto",
		"1 warning about the set-up", "All", "Refused last", "search", "Known Nodes", "Alice", "Mallory",
	} {
		if !stops[want] {
			t.Errorf("%q is not reached: %v", want, stops)
		}
	}
	p.eval(`document.querySelector('#nav a[href="#/bans"]').focus()`)
	p.key("Enter")
	heading(p, "Bans")
	p.wait(`document.activeElement === document.querySelector("h1")`)
	p.clean()
}

// TestHostilePage lets a page of another origin do what a browser lets it do, against a listener without a token.
func TestHostilePage(t *testing.T) {
	drained := make(chan struct{}, 8)
	s := serve(t, "", func(c *Config) { c.Drain = func() { drained <- struct{}{} } })
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>x</title><body>"))
	}))
	t.Cleanup(other.Close)
	p := openPage(t)
	p.open(other.URL)
	got := p.eval(fmt.Sprintf(`(async () => {
		const at = %q, out = [];
		const body = JSON.stringify({node: "Alice", reason: "", for: ""});
		const tried = (name, promise) => Promise.race([promise, new Promise((r) => setTimeout(r, 5000, "nothing"))]).then((v) => out.push(name + " " + v), () => out.push(name + " refused"));
		await tried("read", fetch(at + "/api/nodes").then((r) => r.text()));
		await tried("json", fetch(at + "/api/bans", {method: "POST", headers: {"Content-Type": "application/json"}, body}).then((r) => r.text()));
		await tried("delete", fetch(at + "/api/bans/Alice", {method: "DELETE"}).then((r) => r.text()));
		await tried("blind", fetch(at + "/api/bans", {method: "POST", mode: "no-cors", body}).then((r) => r.type));
		await tried("drain", fetch(at + "/api/drain", {method: "POST", mode: "no-cors"}).then((r) => r.type));
		await tried("follow", fetch(at + "/api/events", {mode: "no-cors"}).then((r) => r.type));
		await tried("source", new Promise((ok, no) => { const e = new EventSource(at + "/api/events"); e.onopen = ok; e.onerror = no; }));
		await tried("script", new Promise((ok, no) => { const e = document.createElement("script"); e.src = at + "/assets/app.js"; e.onload = ok; e.onerror = no; document.body.append(e); }));
		await tried("image", new Promise((ok, no) => { const e = new Image(); e.src = at + "/assets/icon.svg"; e.onload = ok; e.onerror = no; }));
		const frame = document.createElement("iframe");
		frame.name = "f";
		document.body.append(frame);
		const form = document.createElement("form");
		Object.assign(form, {method: "post", enctype: "text/plain", action: at + "/api/drain", target: "f"});
		document.body.append(form);
		await tried("form", new Promise((ok) => { frame.onload = () => ok("loaded"); form.submit(); }));
		return out.join("\n");
	})()`, s.url))
	var lines string
	if err := json.Unmarshal([]byte(got), &lines); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"read", "json", "delete", "source", "script", "image"} {
		if !strings.Contains(lines, name+" refused") {
			t.Errorf("%s was not refused:\n%s", name, lines)
		}
	}
	s.admin.mu.Lock()
	streams := s.admin.streams
	s.admin.mu.Unlock()
	if len(s.registry.Bans()) != 0 || len(drained) != 0 || streams != 0 {
		t.Errorf("bans %v, drained %d times, %d streams held:\n%s", s.registry.Bans(), len(drained), streams, lines)
	}
	if status, _, _ := s.do("GET", "/api/events", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); status != 403 {
		t.Errorf("a link to the events: %d", status)
	}
	_, header, _ := s.do("GET", "/api/nodes", "")
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if header.Get(name) != want {
			t.Errorf("%s: %q", name, header.Get(name))
		}
	}
}

// TestPrintable asks the page for what it makes of ids that could pass for others.
func TestPrintable(t *testing.T) {
	s := serve(t, "", nil)
	p := openPage(t)
	p.open(s.url + "/")
	for text, want := range map[string]string{
		"Alice B":                         "Alice B",
		"Zoë, אבג":                        "Zoë, אבג",
		"a\u202eb":                        `a\u{202e}b`,
		"a\u2066b\u200bc":                 `a\u{2066}b\u{200b}c`,
		" a  b ":                          `\u{20}a\u{20} b\u{20}`,
		"a\u00a0b\u3164":                  `a\u{a0}b\u{3164}`,
		"a" + strings.Repeat("\u0301", 4): "a\u0301\u0301" + `\u{301}\u{301}`,
		"<b>&amp;":                        "<b>&amp;",
	} {
		got := p.eval(fmt.Sprintf(`import("/assets/dom.js").then((m) => m.printable(%q))`, text))
		var shown string
		if err := json.Unmarshal([]byte(got), &shown); err != nil || shown != want {
			t.Errorf("%q is shown as %q, want %q", text, shown, want)
		}
	}
}
