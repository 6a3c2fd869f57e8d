package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// node is a Node at the Broker of a site.
type node struct {
	t        testing.TB
	nc       net.Conn
	user     string // of its TURN credential
	password string
	urls     []string // of TURN
}

const patience = 20 * time.Second

// dialNode connects and returns what the Broker says to CONNECT.
func dialNode(addr, id, data string) (nc net.Conn, said string, err error) {
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}, "id": {id}, "version": {"1.0"}, "runtime": {"test"}, "data": {data}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, early, _, err := ws.Dial(ctx, "ws://"+addr+"/socket.io/?"+q.Encode())
	if err != nil {
		return nil, "", err
	}
	if early != nil { // what came with the answer
		nc = withEarly{nc, early}
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	n := &node{nc: nc}
	if _, err = n.read(); err == nil {
		if err = wsutil.WriteClientText(nc, []byte("40")); err == nil {
			said, err = n.read()
		}
	}
	if err != nil {
		nc.Close()
	}
	return nc, said, err
}

// withEarly is a connection of which something was read already.
type withEarly struct {
	net.Conn
	r io.Reader
}

func (w withEarly) Read(b []byte) (int, error) { return w.r.Read(b) }

// joinNode joins the Broker of s.
func joinNode(t *testing.T, s *site, id string) *node {
	t.Helper()
	nc, said, err := dialNode(s.broker.Addr().String(), id, "")
	if err != nil || !strings.HasPrefix(said, "40") {
		t.Fatalf("%s: %q, %v", id, said, err)
	}
	n := &node{t: t, nc: nc}
	t.Cleanup(func() { nc.Close() })
	text, err := n.read()
	var told []string
	var rtc struct {
		ICEServers []struct {
			URLs               []string
			Username, Password string
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(text, "42")), &told)
	}
	if err == nil {
		err = json.Unmarshal([]byte(told[1]), &rtc)
	}
	if err != nil || told[0] != "AUTHENTICATED" {
		t.Fatalf("%s: %s, %v", id, text, err)
	}
	for _, server := range rtc.ICEServers {
		if server.Username != "" {
			n.user, n.password, n.urls = server.Username, server.Password, server.URLs
		}
	}
	return n
}

// read returns the next message; pings are passed over.
func (n *node) read() (string, error) {
	for {
		msg, op, err := wsutil.ReadServerData(n.nc)
		if err != nil || op == ws.OpText && string(msg) != "2" {
			return string(msg), err
		}
	}
}

// want fails unless the next message begins so.
func (n *node) want(prefix string) string {
	n.t.Helper()
	got, err := n.read()
	if err != nil || !strings.HasPrefix(got, prefix) {
		n.t.Fatalf("got %q, %v; want %s…", got, err, prefix)
	}
	return got
}

// emit sends an event with an acknowledgement's id.
func (n *node) emit(ack int, event string, payload map[string]any) {
	n.t.Helper()
	text, _ := json.Marshal(payload)
	args, _ := json.Marshal([]string{event, string(text)})
	if err := wsutil.WriteClientText(n.nc, fmt.Appendf(nil, "42%d%s", ack, args)); err != nil {
		n.t.Fatal(err)
	}
}

// ends waits for the end of the connection, and reports whether 41 came before.
func (n *node) ends() (told bool) {
	n.t.Helper()
	for {
		msg, err := n.read()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			n.t.Fatal("the connection does not end")
		case err != nil:
			return told
		case msg == "41":
			told = true
		}
	}
}

func (n *node) allocate(s *site) *turnclient.Client {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	c, err := turnclient.Dial(ctx, turnclient.Options{Addr: "127.0.0.1:" + portOf(s), Transport: "udp", Username: n.user, Password: n.password})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	if _, err = c.Allocate(ctx, nil); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// await waits until ok holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// Two Nodes join, and reach each other; what passed is in their why-records.
func TestBroker(t *testing.T) {
	s := startSite(t, "")
	alice, bob := joinNode(t, s, "Alice"), joinNode(t, s, "Bob")
	alice.allocate(s)
	alice.emit(1, "CONNECTION_ATTEMPT", map[string]any{"from": "Alice", "to": "Bob", "sessionId": "1"})
	alice.want(`431["OK"]`)
	bob.want(`42["CONNECTION_ATTEMPT","{`)
	bob.emit(1, "SOCKET_MSG_EXCHANGE", map[string]any{"from": "Alice", "to": "Alice"})
	bob.want(`431["ERROR"]`)
	for id, words := range map[string][]string{
		"Alice": {"joined the Broker from 127.0.0.1 with test 1.0", `asked for a connection: "Bob"`},
		"Bob":   {`was asked for a connection by "Alice"`, "the Broker answered ERROR to SOCKET_MSG_EXCHANGE for \"Alice\": its sender is given as another Node"},
	} {
		var all string
		await(t, id+": "+strings.Join(words, ", "), func() bool {
			_, events, _ := s.nodes.Lookup(id)
			all = fmt.Sprint(events)
			for _, w := range words {
				if !strings.Contains(all, w) {
					return false
				}
			}
			return true
		})
		if strings.Contains(all, "asked for its RTC configuration") {
			t.Errorf("%s: %s", id, all)
		}
	}
	if story, ok := s.stories.Between("Bob", "Alice"); !ok || story.Asker != "Alice" || story.Answer != "OK" {
		t.Errorf("%+v", story)
	}
	// Connected is exact: one that leaves is not, one that is lost still is.
	if err := wsutil.WriteClientText(alice.nc, []byte("41")); err != nil {
		t.Fatal(err)
	}
	await(t, "Alice has left and counts as connected", func() bool { return !s.nodes.Connected("Alice") })
	bob.nc.Close()
	await(t, "Bob is still at the Broker", func() bool { _, here := s.broker.Node("Bob"); return !here })
	if !s.nodes.Connected("Bob") {
		t.Error("Bob's connection was lost a moment ago, and it counts as gone")
	}
}

// What two Nodes have at the TURN server for each other is theirs alone: a relay that lets another address in is none of it.
func TestRelaysTowardEachOther(t *testing.T) {
	s := startSite(t, openToLoopback)
	alice, bob := joinNode(t, s, "Alice"), joinNode(t, s, "Bob")
	first, other := alice.allocate(s), alice.allocate(s)
	bob.allocate(s)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	toward := func() int { return len(relays{s.turn}.Toward("Alice", []netip.Addr{netip.MustParseAddr("127.0.0.1")})) }
	if err := other.Permit(ctx, netip.MustParseAddrPort("9.9.9.9:1")); err != nil {
		t.Fatal(err)
	}
	if n := toward(); n != 0 {
		t.Errorf("%d before there was a permission", n)
	}
	if err := first.Permit(ctx, netip.MustParseAddrPort("127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	if n := toward(); n != 1 {
		t.Errorf("%d with one", n)
	}
	if list := (relays{s.turn}).Toward("Bob", []netip.Addr{netip.MustParseAddr("127.0.0.1")}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// A ban ends the connection and the relays at once.
func TestBanEndsConnectionAndRelays(t *testing.T) {
	s := startSite(t, "")
	n := joinNode(t, s, "Mallory")
	n.allocate(s)
	await(t, "no allocation", func() bool { return s.turn.Live() == 1 })
	started := time.Now()
	done, err := s.nodes.Ban("Mallory", "spam", 0)
	if err != nil || !done.Cut || done.Closed != 1 || s.turn.Live() != 0 {
		t.Errorf("%+v, %v, %d live", done, err, s.turn.Live())
	}
	if !n.ends() {
		t.Error("it was not told 41")
	}
	if took := time.Since(started); took > 100*time.Millisecond {
		t.Logf("the end took %v; the machine is busy", took)
	}
	if _, said, err := dialNode(s.broker.Addr().String(), "Mallory", ""); err != nil || !strings.HasPrefix(said, `44{"message":"authentication failed"`) {
		t.Errorf("%q, %v", said, err)
	}
	if s.nodes.Connected("Mallory") {
		t.Error("a banned Node counts as connected")
	}
}

// A ban finds a Node however it spells its id.
func TestBanFindsEverySpelling(t *testing.T) {
	s := startSite(t, "")
	spelt, node := "Ame\u0301lie", "Am\u00e9lie"
	n := joinNode(t, s, spelt)
	await(t, "not known by its canonical spelling", func() bool {
		_, ok := links{&s.parts}.Link(node)
		return ok && s.nodes.Connected(node)
	})
	if done, err := s.nodes.Ban(node, "", 0); err != nil || !done.Cut {
		t.Errorf("%+v, %v", done, err)
	}
	if !n.ends() {
		t.Error("it was not told 41")
	}
}

// A reload changes what the Broker does, and a reload that would let everybody in is refused.
func TestReloadBroker(t *testing.T) {
	s := startSite(t, "")
	alice := joinNode(t, s, "Alice")
	joinNode(t, s, "Bob")
	s.reloadTo("[broker]\nrelay_messages = false\n")
	alice.emit(1, "SOCKET_MSG_EXCHANGE", map[string]any{"from": "Alice", "to": "Bob"})
	alice.want(`431["DISABLED"]`)
	s.reloadTo("[hooks.authenticate]\nmode = 'deny'\n")
	if _, said, err := dialNode(s.broker.Addr().String(), "Carol", ""); err != nil || !strings.HasPrefix(said, "44") {
		t.Errorf("%q, %v", said, err)
	}
	alice.emit(2, "CONNECTION_ATTEMPT", map[string]any{"from": "Alice", "to": "Bob"})
	alice.want(`432["OK"]`)
}

// A Broker that listens beyond loopback by its start stays one for those who can prove who they are.
func TestReloadOpensNothing(t *testing.T) {
	s := startSite(t, "[broker]\nlisten = '0.0.0.0:0'\n[hooks.authenticate]\nmode = 'deny'\n")
	s.write("")
	next, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	next, _ = config.Keep(s.cfg(), next)
	if err := s.Apply(t.Context(), next); err == nil || !strings.Contains(err.Error(), "broker.open = true") {
		t.Errorf("%v", err)
	}
}

// While the server drains, Nodes are sent away, and newcomers told to try again.
func TestDrainLetsNodesGo(t *testing.T) {
	s := startSite(t, "drain_timeout = '1m'\n")
	n := joinNode(t, s, "Alice")
	turn := n.allocate(s)
	await(t, "no allocation", func() bool { return s.turn.Live() == 1 })
	s.Drain()
	if !n.ends() {
		t.Error("it was not told 41")
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.broker.Addr().String()+
		"/socket.io/?EIO=4&transport=websocket&id=Alice&version=1&runtime=x", nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", res.StatusCode)
	}
	if s.turn.Live() != 1 || !s.nodes.Connected("Alice") {
		t.Errorf("%d live allocations, connected %v", s.turn.Live(), s.nodes.Connected("Alice"))
	}
	turn.Close()
	s.turn.CloseNode("Alice", "the test is over")
}

// With relays_end_after a Node that has left the Broker loses its relays, and one that comes back does not.
func TestRelaysEndAfter(t *testing.T) {
	s := startSite(t, "[broker]\nrelays_end_after = '1s'\n")
	alice, bob := joinNode(t, s, "Alice"), joinNode(t, s, "Bob")
	alice.allocate(s)
	bob.allocate(s)
	await(t, "no allocations", func() bool { return s.turn.Live() == 2 })
	alice.nc.Close()
	bob.nc.Close()
	await(t, "Bob is still there", func() bool { _, here := s.broker.Node("Bob"); return !here })
	joinNode(t, s, "Bob")
	await(t, "the relay of Alice lives on", func() bool { return s.turn.Live() == 1 })
	if got := s.turn.Allocations(); len(got) != 1 || got[0].Node != "Bob" {
		t.Errorf("%+v", got)
	}
}

// A machine of today: another program, such as a Broker of its own, has port 8080, and nothing is configured.
func TestUpgradeWithBrokerBeside(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Logf("port 8080 is taken already, which will do: %v", err)
	} else {
		defer taken.Close()
	}
	s := startSite(t, noBroker, func(a *App) {
		if a.broker != nil {
			t.Error("there is a Broker")
		}
	})
	if s.broker != nil {
		t.FailNow()
	}
	found := s.found.All()
	if len(found) != 1 || found[0].ID != "broker.port" || !strings.Contains(found[0].Remedy, "broker.listen") || !strings.Contains(found[0].Remedy, "broker.enabled = false") {
		t.Errorf("found %+v", found)
	}
	s.servesABroker()
	if n := s.life.notReady(); len(n) != 0 && !strings.Contains(fmt.Sprint(n), "starting") {
		t.Errorf("not ready: %v", n)
	}
	s.reloadTo(noBroker + "[turn]\nsoftware = 'new'\n")
}

// servesABroker does what a Broker elsewhere and its Nodes do, through all five webhooks.
func (s *site) servesABroker() {
	t := s.t
	t.Helper()
	call := func(path, body, want string, code int) string {
		t.Helper()
		got, answer := s.post(path, body, "")
		if got != code || !strings.Contains(answer, want) {
			t.Fatalf("%s: %d %s", path, got, answer)
		}
		return answer
	}
	call("/authenticate-node", `{"id":"Alice","data":""}`, `"authenticated":true`, 200)
	var answer struct {
		RTC struct {
			Servers []struct{ Username, Password string } `json:"iceServers"`
		} `json:"rtcConfiguration"`
	}
	if err := json.Unmarshal([]byte(call("/resolve-rtc-configuration", `{"nodeId":"Alice"}`, "turn:", 200)), &answer); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t}
	for _, server := range answer.RTC.Servers {
		if server.Username != "" {
			n.user, n.password = server.Username, server.Password
		}
	}
	n.allocate(s)
	call("/authorize-nodes-communication", `{"from":"Alice","to":"Bob"}`, `"authorized":true`, 200)
	call("/authenticated-socket-msg", `{"senderId":"Alice","receiverId":"Bob","isReceiverConnected":true}`, "", 204)
	call("/validity-check", `{"connectedNodesIds":["Alice","Bob"]}`, `"invalidNodesIds":[]`, 200)
	if !s.nodes.Connected("Alice") {
		t.Error("a Node that the Broker named does not count as connected")
	}
	if done, err := s.nodes.Ban("Alice", "", 0); err != nil || done.Closed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	call("/validity-check", `{"connectedNodesIds":["Alice","Bob"]}`, `"invalidNodesIds":["Alice"]`, 200)
	call("/authenticate-node", `{"id":"Alice","data":""}`, `"authenticated":false`, 200)
}

// Where somebody has asked for the Broker there, a port that is taken is a mistake.
func TestBrokerPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := &site{t: t, Reloader: &Reloader{file: filepath.Join(t.TempDir(), "c.toml")}}
	s.write("[broker]\nlisten = '" + taken.Addr().String() + "'\n")
	cfg, err := Load(s.file, config.WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, newLog(t, &s.log, cfg), Pace{})
	if err == nil {
		a.Close()
	}
	if err == nil || !strings.HasPrefix(err.Error(), "broker.listen: TCP port") {
		t.Errorf("%v", err)
	}
}
