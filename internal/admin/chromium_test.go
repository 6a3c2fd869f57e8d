package admin

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// page is a tab of headless Chromium, driven by the DevTools protocol over a pipe.
type page struct {
	*browser
	t           *testing.T
	id, session string // of its target
}

// browser is the Chromium that its tabs share.
type browser struct {
	in io.Writer

	mu       sync.Mutex
	last     int
	answers  map[int]chan message
	problems []string // what its pages logged as an error: exceptions, CSP violations, failed loads
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
	Sess   string          `json:"sessionId,omitempty"`
}

// openPage starts Chromium with one tab, until the test ends. Without Chromium the test is skipped, or fails where the
// environment says that nothing may be.
func openPage(t *testing.T, flags ...string) *page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatal("chromium is missing: run `make test`, which installs it")
		}
		t.Skip("chromium is not installed: `make test` installs it")
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "chromium-*")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir=" + profile,
	}, flags...)
	cmd := exec.Command(path, args...)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	p := &page{t: t, browser: &browser{in: ourOut, answers: make(map[int]chan message)}}
	read := make(chan struct{})
	go func() { defer close(read); p.read(ourIn) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = ourOut.Close()
		<-read // ends when the last of Chromium's processes has
		_ = ourIn.Close()
		for range 100 {
			if os.RemoveAll(profile) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond) // its helpers may still be writing
		}
	})
	return p.tab()
}

// tab opens another tab.
func (p *page) tab() *page {
	p.t.Helper()
	return p.target(map[string]any{"url": "about:blank"})
}

// window opens a tab in a window of its own, which is seen whatever others are.
func (p *page) window() *page {
	p.t.Helper()
	return p.target(map[string]any{"url": "about:blank", "newWindow": true})
}

func (p *page) target(params map[string]any) *page {
	p.t.Helper()
	all := &page{browser: p.browser, t: p.t} // without a session: the browser itself
	var target struct{ TargetID string }
	all.call("Target.createTarget", params, &target)
	var attached struct{ SessionID string }
	all.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	next := &page{browser: p.browser, t: p.t, id: target.TargetID, session: attached.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		next.call(domain+".enable", nil, nil)
	}
	return next
}

// close closes the tab.
func (p *page) close() {
	p.t.Helper()
	(&page{browser: p.browser, t: p.t}).call("Target.closeTarget", map[string]any{"targetId": p.id}, nil)
}

func (p *browser) read(from io.Reader) {
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		p.mu.Lock()
		switch {
		case m.ID != 0:
			p.answers[m.ID] <- m
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded" && strings.Contains(string(m.Params), `"level":"error"`):
			p.problems = append(p.problems, string(m.Params))
		}
		p.mu.Unlock()
	}
}

// call sends a command and decodes its result into into, where that is not nil.
func (p *page) call(method string, params, into any) {
	p.t.Helper()
	answer := make(chan message, 1)
	p.mu.Lock()
	p.last++
	m := map[string]any{"id": p.last, "method": method}
	p.answers[p.last] = answer
	p.mu.Unlock()
	if params != nil {
		m["params"] = params
	}
	if p.session != "" {
		m["sessionId"] = p.session
	}
	data, err := json.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(data, 0)); err != nil {
		p.t.Fatal(err)
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			p.t.Fatalf("%s: %s", method, a.Error)
		}
		if into != nil {
			if err := json.Unmarshal(a.Result, into); err != nil {
				p.t.Fatal(err)
			}
		}
	case <-time.After(60 * time.Second):
		p.t.Fatalf("%s: Chromium does not answer", method)
	}
}

// eval runs JavaScript, awaits its promise, and returns the value as JSON.
func (p *page) eval(script string) string {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.ExceptionDetails != nil {
		p.t.Fatalf("%.200s: %s", script, r.ExceptionDetails)
	}
	return string(r.Result.Value)
}

// wait polls a condition in the page, at each frame, until it holds.
func (p *page) wait(condition string) {
	p.t.Helper()
	got := p.eval(fmt.Sprintf(`new Promise((done) => {
		const end = Date.now() + 30000;
		(function look() {
			let ok = false;
			try { ok = (%s); } catch {}
			if (ok || Date.now() > end) done(Boolean(ok)); else setTimeout(look, 20);
		})();
	})`, condition))
	if got != "true" {
		p.t.Fatalf("after 30 s still not: %s\nproblems %v\npage: %s", condition, p.problems, p.eval("document.body.innerText.slice(0, 3000)"))
	}
}

func (p *page) open(url string) {
	p.t.Helper()
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	p.wait(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// key presses a key, such as "Tab" or "Enter".
func (p *page) key(name string) {
	p.t.Helper()
	params := map[string]any{"type": "keyDown", "key": name, "code": name}
	switch name {
	case "Enter":
		params["text"], params["windowsVirtualKeyCode"] = "\r", 13
	case "Tab":
		params["windowsVirtualKeyCode"] = 9
	case "Escape":
		params["windowsVirtualKeyCode"] = 27
	}
	p.call("Input.dispatchKeyEvent", params, nil)
	p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name, "code": name}, nil)
}

func (p *page) typeText(text string) {
	p.t.Helper()
	p.call("Input.insertText", map[string]any{"text": text}, nil)
}

// size sets the viewport, and whether the device prefers dark.
func (p *page) size(width, height int, dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shot writes a picture of the whole page into the folder of CROLANG_AIO_SCREENSHOTS, for people to look at.
func (p *page) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("CROLANG_AIO_SCREENSHOTS")
	if dir == "" {
		return
	}
	var r struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// clean fails the test where the page had errors.
func (p *page) clean() {
	p.t.Helper()
	p.cleanBut("")
}

// cleanBut passes over errors that contain a text.
func (p *page) cleanBut(text string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		if text == "" || !strings.Contains(problem, text) {
			p.t.Errorf("the page has an error: %s", problem)
		}
	}
}
