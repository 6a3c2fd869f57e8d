package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// More of the same by hand: how many calls are live where a machine is killed, for how long one is cut off, and an earlier
// release's program, which is then what is upgraded.
const (
	callsVariable  = "FLEET_CALLS"
	cutVariable    = "FLEET_CUT_SECONDS"
	formerVariable = "FLEET_FORMER"
)

// number is a number of the environment.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	return must(strconv.Atoi(text))(t)
}

// machine starts a machine of the fleet that has its Redis at redis, and relay ports from ports on. former: it is of the release
// before, where there is one.
func machine(t *testing.T, redis, name string, ports int, former bool, edits ...string) *server {
	t.Helper()
	return serveWith(t, func(s *server) {
		if program := os.Getenv(formerVariable); former && program != "" {
			s.edit = func(cmd *exec.Cmd) { cmd.Args[3] = program }
		}
	}, append([]string{
		"[redis]\nenabled = true", "[redis]\nenabled = false",
		`relay_ports = "20000-24999"`, fmt.Sprintf(`relay_ports = "%d-%d"`, ports, ports+999), "allow = []", onLoopback,
		"[log]", fmt.Sprintf("[credentials]\nsecret = \"the secret of all machines of the fleet\"\n[fleet]\nredis_url = \"redis://%s\"\nname = %q\n[log]", redis, name),
	}, edits...)...)
}

// fleetStates are the machines' states as s knows them, by name.
func (s *server) fleetStates(t *testing.T) map[string]string {
	t.Helper()
	f := must(must(adminapi.NewClient("http://"+s.admin, ""))(t).Fleet(patiently(t)))(t)
	all := map[string]string{}
	for _, m := range f.Machines {
		if m.State != "left" && m.State != "silent" || all[m.Name] == "" { // else it is the process before
			all[m.Name] = m.State
		}
	}
	return all
}

// seesUp waits until each of some machines knows so many that are up.
func seesUp(t *testing.T, n int, all ...*server) {
	t.Helper()
	for _, s := range all {
		await(t, fmt.Sprintf("%d machines are up", n), func() bool {
			up := 0
			for _, state := range s.fleetStates(t) {
				if state == "up" {
					up++
				}
			}
			return up == n
		})
	}
}

// ban bans a Node at s.
func (s *server) ban(t *testing.T, node string) {
	t.Helper()
	must(must(adminapi.NewClient("http://"+s.admin, ""))(t).Ban(patiently(t), adminapi.BanRequest{Node: node}))(t)
}

// banned reports whether s has a ban on a Node, and whether Redis does not.
func (s *server) banned(t *testing.T, node string) (yes, unshared bool) {
	t.Helper()
	for _, b := range must(must(adminapi.NewClient("http://"+s.admin, ""))(t).Bans(patiently(t), 0))(t).Bans {
		if b.Node == node {
			return true, b.Unshared
		}
	}
	return false, false
}

// leadsTo reports whether one of some TURN URLs is that of a machine.
func (s *server) leadsTo(urls []string) bool {
	for _, u := range urls {
		if strings.Contains(u, s.turn+"?") || strings.Contains(u, s.tls+"?") {
			return true
		}
	}
	return false
}

// turnURLs are those of a new RTC configuration.
func (s *server) turnURLs(t *testing.T, node string) (urls []string) {
	t.Helper()
	conf, _ := s.resolve(t, node)
	for _, i := range conf.IceServers {
		if i.Username != "" {
			urls = append(urls, i.URLs...)
		}
	}
	return urls
}

// joined is a Node that has joined a Broker.
type joined struct {
	nc             net.Conn
	user, password string // of TURN
	urls           []string
}

// join joins the Broker of s.
func (s *server) join(t *testing.T, id string) (*joined, error) {
	t.Helper()
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}, "id": {id}, "version": {"1.0"}, "runtime": {"test"}, "data": {""}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	nc, early, _, err := ws.Dial(ctx, "ws://"+s.broker+"/socket.io/?"+q.Encode())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = nc.Close() })
	if early != nil { // what came with the answer
		nc = withEarly{nc, early}
	}
	n := &joined{nc: nc}
	if _, err = n.read(); err != nil {
		return nil, err
	}
	if err := wsutil.WriteClientText(nc, []byte("40")); err != nil {
		return nil, err
	}
	if said, err := n.read(); err != nil || !strings.HasPrefix(said, "40") {
		return nil, fmt.Errorf("%q: %w", said, err)
	}
	text, err := n.read()
	if err != nil {
		return nil, err
	}
	var told []string
	var conf rtc
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "42")), &told); err != nil || len(told) != 2 || told[0] != "AUTHENTICATED" {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if err := json.Unmarshal([]byte(told[1]), &conf); err != nil {
		return nil, err
	}
	for _, i := range conf.IceServers {
		if i.Username != "" {
			n.user, n.password, n.urls = i.Username, i.Password, i.URLs
		}
	}
	return n, nil
}

// read returns the next message; pings are passed over.
func (n *joined) read() (string, error) {
	_ = n.nc.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		msg, op, err := wsutil.ReadServerData(n.nc)
		if err != nil || op == ws.OpText && string(msg) != "2" {
			return string(msg), err
		}
	}
}

type withEarly struct {
	net.Conn
	r io.Reader
}

func (w withEarly) Read(b []byte) (int, error) { return w.r.Read(b) }

// liveRelay is a live call's relay and its peer.
type liveRelay struct {
	client *turnclient.Client
	peer   *net.UDPConn
}

// relay opens a relay at s with a credential, whoever issued it.
func (s *server) relay(t *testing.T, user, password string) liveRelay {
	t.Helper()
	c := must(turnclient.Dial(patiently(t), turnclient.Options{
		Transport: "udp", Addr: s.turn, Username: user, Password: password, Timeout: 30 * time.Second,
	}))(t)
	t.Cleanup(func() { _ = c.Close() })
	must(c.Allocate(patiently(t), nil))(t)
	sock, peer := udpPeer(t)
	if err := c.Bind(patiently(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	l := liveRelay{c, sock}
	l.relays(t, "first")
	return l
}

func (l liveRelay) relays(t *testing.T, text string) { t.Helper(); relays(t, l.client, l.peer, text) }

// killed ends s as kill -9 does.
func (s *server) killed(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
	s.err = nil // as it should be
}
