//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// stats follows /api/events until the test ends; the newest totals are taken from the channel.
func (s *server) stats(t *testing.T) <-chan adminapi.Live {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res := must(http.DefaultClient.Do(must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/api/events", nil))(t)))(t)
	out, ended := make(chan adminapi.Live), make(chan struct{})
	go func() {
		defer close(ended)
		name := ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if rest, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = rest
			}
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			var l adminapi.Live
			if !ok || name != "stats" || json.Unmarshal([]byte(data), &l) != nil {
				continue
			}
			select {
			case out <- l:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended; _ = res.Body.Close() })
	return out
}

// until takes totals until ok, which must come within 20 s.
func until(t *testing.T, all <-chan adminapi.Live, what string, ok func(adminapi.Live) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case l := <-all:
			if ok(l) {
				return
			}
		case <-limit:
			t.Fatalf("%s: not seen in /api/events", what)
		}
	}
}

// However it is asked for, a drain refuses new allocations and nothing else: live ones relay and are refreshed, and the
// webhooks answer, until the last one is given back. How far it is can be seen everywhere.
func TestDrain(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, s *server){
		"command": func(t *testing.T, s *server) {
			out, err := run(t, binary, "drain", "--json", "--config", s.config)
			var d adminapi.Drain
			if err != nil || json.Unmarshal([]byte(out), &d) != nil || d.Allocations != 2 || d.SecondsLeft <= 0 || d.SecondsLeft > 60 {
				t.Errorf("drain --json: %v\n%s", err, out)
			}
		},
		"SIGTERM": func(t *testing.T, s *server) {
			if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, `drain_timeout = "2s"`, `drain_timeout = "1m"`, "allow = []", onLoopback)
			stats := s.stats(t)
			var live []*turnclient.Client
			for _, transport := range []string{"udp", "tls"} {
				c := s.client(t, transport, "live")
				must(c.Allocate(patiently(t), nil))(t)
				live = append(live, c)
			}
			late := s.client(t, "udp", "late")
			sock, peer := udpPeer(t)
			if err := live[0].Bind(patiently(t), 0x4000, peer); err != nil {
				t.Fatal(err)
			}
			begin(t, s)
			until(t, stats, "a drain with two allocations", func(l adminapi.Live) bool {
				return l.Draining && l.Drain != nil && l.Drain.Allocations == 2 && l.Drain.SecondsLeft < 60
			})
			if _, err := late.Allocate(patiently(t), nil); turnclient.Code(err) != 508 {
				t.Errorf("a new allocation: %v, want 508", err)
			}
			for _, c := range live {
				must(c.Refresh(patiently(t), time.Minute))(t)
			}
			relays(t, live[0], sock, "while draining")
			s.credentials(t, "resolved while draining")
			if got := s.get(t, "http://"+s.admin+"/readyz", nil); got.status != http.StatusServiceUnavailable ||
				!strings.Contains(got.body, `"not_ready":["draining"],"drain":{"allocations":2,`) {
				t.Errorf("readyz: %d %s", got.status, got.body)
			}
			if s.metric(t, "crolang_aio_draining") != 1 || s.metric(t, "crolang_aio_ready") != 0 {
				t.Error("the metrics do not say that it drains")
			}
			must(live[1].Refresh(patiently(t), 0))(t)
			until(t, stats, "one allocation fewer", func(l adminapi.Live) bool { return l.Drain != nil && l.Drain.Allocations == 1 })
			eventually(t, "the log says how far it is", 20*time.Second, func() bool {
				return strings.Contains(s.logs(), `"allocations":1,"seconds_left":5`)
			})
			wait := exec.CommandContext(patiently(t), binary, "drain", "--wait", "--config", s.config)
			out := must(wait.StdoutPipe())(t)
			if err := wait.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "draining: 1 live allocation, for at most ") {
				t.Errorf("drain --wait: %q, %v", line, err)
			}
			must(live[0].Refresh(patiently(t), 0))(t)
			select {
			case <-s.done:
			case <-time.After(20 * time.Second):
				t.Fatalf("does not end when nothing is left\n%s", s.logs())
			}
			if err := wait.Wait(); err != nil {
				t.Errorf("drain --wait: %v", err)
			}
			if !strings.Contains(s.logs(), "every allocation has ended") {
				t.Errorf("the log does not say why it ended:\n%s", s.logs())
			}
		})
	}
}

// What is live when drain_timeout is over is ended; a second signal does not wait for that.
func TestDrainEnds(t *testing.T) {
	for name, c := range map[string]struct {
		timeout string
		signal  syscall.Signal
		signals int
		after   time.Duration // of the second to the first
		clean   bool
	}{
		"when the time is over":     {"300ms", syscall.SIGTERM, 1, 0, true},
		"at a second signal":        {"1h", syscall.SIGTERM, 2, 1100 * time.Millisecond, false},
		"not at a supervisor's two": {"300ms", syscall.SIGTERM, 2, 0, true},
		"at a second SIGINT":        {"1h", syscall.SIGINT, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveWith(t, func(s *server) {
				// As a script starts what is to run in the background.
				s.edit = func(cmd *exec.Cmd) { cmd.Args[2] = `trap "" INT; ` + cmd.Args[2] }
			}, `drain_timeout = "2s"`, `drain_timeout = "`+c.timeout+`"`)
			must(s.client(t, "udp", "live").Allocate(patiently(t), nil))(t)
			for i := range c.signals {
				if err := s.cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
				if i+1 < c.signals {
					eventually(t, "it drains", 20*time.Second, func() bool { return strings.Contains(s.logs(), "a second signal ends at once") })
					time.Sleep(c.after) // the time between signals is what counts
				}
			}
			select {
			case <-s.done:
			case <-time.After(20 * time.Second):
				t.Fatalf("does not end\n%s", s.logs())
			}
			if (s.err == nil) != c.clean {
				t.Errorf("ended with %v", s.err)
			}
			if c.clean != strings.Contains(s.logs(), "ending the allocations that are still live") {
				t.Errorf("the log:\n%s", s.logs())
			}
			if c.clean != strings.Contains(s.logs(), `"msg":"ended"`) {
				t.Errorf("the log:\n%s", s.logs())
			}
			s.err = nil // as it should be
		})
	}
}
