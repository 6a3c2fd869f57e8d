package admin

import (
	"fmt"
	"strings"
	"testing"
)

// TestDashboardTellsOfBefore opens the page after things have happened: they are there, with what failed on top.
func TestDashboardTellsOfBefore(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url)
	p.wait(`document.querySelector("#lead").textContent.startsWith("3 Nodes are connected. Of 1 connection asked for in the last hour, none was made and 1 failed.")`)
	p.wait(`document.querySelector("#lead").classList.contains("warn")`)
	failed := `[...document.querySelectorAll(".failures li")].map((li) => li.textContent)`
	p.wait(failed + `.some((text) => text.startsWith("Bob → ") && text.includes("refused"))`)
	p.wait(failed + `.some((text) => text.includes("Peer 10.0.0.5 refused: private address, see turn.peers.allow."))`)
	p.wait(`!` + failed + `.join().includes("Mallory")`) // a ban is no failure
	p.wait(`document.querySelector(".events").textContent.includes("banned by the operator: spam")`)
	p.eval(`document.querySelector("#only-refusals").click()`)
	p.wait(`!document.querySelector(".events").textContent.includes("allocation 203.0.113.5:50123")`)
	// The events that were there are not told again by the stream.
	if n := p.eval(`[...document.querySelectorAll(".events tr")].filter((r) => r.textContent.includes("spam")).length`); n != "1" {
		t.Errorf("the ban is listed %s times", n)
	}
	// The plot is read by the keyboard, and its marks with it.
	p.wait(`document.querySelector(".line.in").getAttribute("d").length > 100`)
	p.eval(`document.querySelector(".reader").focus()`)
	p.key("Home")
	p.wait(`/^\d.*: [\d.]+ .?B\/s from Nodes to their peers, /.test(document.querySelector(".reader").getAttribute("aria-valuetext"))`)
	p.wait(`/^\d/.test(document.querySelector(".reading").textContent)`)
	p.wait(`document.querySelectorAll(".mark.ban").length === 1`)
	p.key("Escape")
	p.wait(`document.querySelector(".reading").textContent.startsWith("Now ")`)
	p.clean()
}

// TestDashboardEmptyIsNotNoMatch asks each list for what is not there.
func TestDashboardEmptyIsNotNoMatch(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url)
	// Nodes are not the last: the view is opened anew below.
	for _, v := range [][2]string{{"nodes", "No Node fits"}, {"allocations", "No allocation fits"}, {"bans", "No ban fits"}} {
		view, want := v[0], v[1]
		p.eval(fmt.Sprintf(`location.hash = "#/%s"`, view))
		p.wait(`document.querySelectorAll("tbody tr").length > 0`)
		p.eval(`document.querySelector("#search").focus()`)
		p.typeText("zzz")
		p.wait(fmt.Sprintf(`document.querySelector("#main").innerText.includes("%s “\u2068zzz\u2069”.")`, want))
	}
	p.eval(`location.hash = "#/nodes"`)
	p.wait(`document.querySelectorAll("tbody tr").length === 4`)
	p.eval(`document.querySelector('[data-state="banned"]').click()`)
	p.wait(`document.querySelectorAll("tbody tr").length === 1 && document.querySelector("tbody a").textContent === "Mallory"`)
	if err := s.registry.Unban("Mallory"); err != nil {
		t.Fatal(err)
	}
	p.wait(`document.querySelector("#main").innerText.includes("No Node that is known is banned")`)
	p.clean()

	empty := serve(t, "", nil)
	for view, want := range map[string]string{"nodes": "No Node has joined yet.", "allocations": "Nothing is relayed now.", "bans": "No Node is banned."} {
		p.open(empty.url + "/#/" + view)
		p.wait(fmt.Sprintf(`document.querySelector("#main").innerText.includes(%q)`, want))
	}
}

// TestDashboardClosesDialogs leaves a view while its question is open.
func TestDashboardClosesDialogs(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/node?id=Alice")
	p.wait(`document.querySelector('button[data-node="Alice"]')`)
	p.eval(`document.querySelector('button[data-node="Alice"]').click()`)
	p.wait(`document.querySelector("dialog")?.open`)
	p.eval(`history.pushState(null, "", "#/bans"); window.dispatchEvent(new HashChangeEvent("hashchange"))`)
	heading(p, "Bans")
	p.wait(`!document.querySelector("dialog")`)
	if s.registry.Banned("Alice") {
		t.Error("a dialog that was left has banned a Node")
	}
	p.clean()
}

// TestDashboardMenuOnAPhone has the views behind a button, in a header of one row.
func TestDashboardMenuOnAPhone(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(390, 844, false)
	p.open(s.url)
	p.wait(live)
	if got := p.eval(`document.querySelector(".top").getBoundingClientRect().height < 64 && getComputedStyle(document.querySelector("#bar")).display`); got != `"none"` {
		t.Errorf("the header is no single row: %s", got)
	}
	p.eval(`document.querySelector("#menu").focus()`)
	p.key("Enter")
	p.wait(`document.querySelector("#menu").getAttribute("aria-expanded") === "true" && document.querySelector("#bar").getBoundingClientRect().height > 100`)
	checkAccessibility(p, axeCore(t), "menu")
	p.shot("menu")
	p.key("Escape")
	p.wait(`document.activeElement.id === "menu" && document.querySelector("#menu").getAttribute("aria-expanded") === "false"`)
	p.key("Enter")
	p.eval(`document.querySelector('#nav a[href="#/nodes"]').click()`)
	heading(p, "Nodes")
	p.wait(`document.querySelector("#menu").getAttribute("aria-expanded") === "false"`)
	// A Node takes two lines.
	p.wait(`document.querySelectorAll("tbody tr").length === 4 && [...document.querySelectorAll("tbody tr")].every((r) => r.getBoundingClientRect().height < 72)`)
	p.clean()
}

// TestDashboardFirstSteps shows what to do on the first day, and goes when it is done.
func TestDashboardFirstSteps(t *testing.T) {
	s := serve(t, "", nil)
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url)
	p.wait(`document.querySelectorAll(".steps li").length === 3`)
	checkAccessibility(p, axeCore(t), "first steps")
	p.shot("first-steps")
	s.registry.Validated([]string{"Alice"})
	p.wait(`document.querySelector(".steps li").classList.contains("done") && document.querySelector(".steps li").textContent.includes("(done)")`)
	if got := p.eval(`document.querySelectorAll(".steps .done").length`); got != "1" {
		t.Errorf("%s steps are done", got)
	}
	p.eval(`document.querySelector(".first button").click()`)
	p.wait(`document.querySelector(".first").hidden`)
	p.open(s.url + "/?again")
	p.wait(live + ` && document.querySelector("#lead").textContent.startsWith("1 Node is connected")`)
	if got := p.eval(`document.querySelector(".first").hidden`); got != "true" {
		t.Error("the steps have come back")
	}
	p.clean()
	if strings.Contains(p.eval(`document.body.innerText`), "First steps") {
		t.Error("the steps are seen")
	}
}

// TestDashboardPlotsOneAllocation goes from the list of allocations to the plot of one, and from there to that of all of its Node.
func TestDashboardPlotsOneAllocation(t *testing.T) {
	s := lively(t, "")
	p := openPage(t)
	p.size(1280, 900, false)
	p.open(s.url + "/#/allocations")
	p.wait(`document.querySelector('a.address[href*="relay=a1"]')`)
	p.eval(`document.querySelector('a.address[href*="relay=a1"]').click()`)
	p.wait(`document.querySelector("#relay")?.value === "a1"`)
	relayed := p.eval(`document.querySelector("#relay").selectedOptions[0].textContent`)
	p.wait(`[...document.querySelectorAll("tbody .address")].some((a) => a.textContent === ` + relayed + `)`)
	p.wait(`document.querySelector(".line.in").getAttribute("d").length > 5`) // two looks have been taken
	checkAccessibility(p, axeCore(t), "plot of an allocation")
	p.eval(`document.querySelector("#relay").value = ""; document.querySelector("#relay").dispatchEvent(new Event("change"))`)
	p.wait(`document.querySelector("#relay").selectedOptions[0].textContent === "all its relays" && document.querySelector(".line.in").getAttribute("d").length > 5`)
	p.clean()
}
