package doctor

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// saying is a Broker that says these messages to whoever connects, each in answer to one that it gets.
func saying(t *testing.T, first string, answers ...string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer c.Close()
		if wsutil.WriteServerText(c, []byte(first)) != nil {
			return
		}
		for _, a := range answers {
			if _, err := wsutil.ReadClientText(c); err != nil {
				return
			}
			for text := range strings.SplitSeq(a, "|") {
				if wsutil.WriteServerText(c, []byte(text)) != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Whatever a Broker says, it is a finding.
func TestBrokerFindings(t *testing.T) {
	const joined = `40{"sid":"a"}|42["AUTHENTICATED","{\"iceServers\":[{},{}]}"]`
	nobody, err := freeports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at     string
		status Status
		check  string
		says   string
	}{
		"refused":      {saying(t, "0{}", `44{"message":"authentication failed"}`), OK, "join", "authentication failed"},
		"nobody":       {nobody, Fail, "join", "no Node can join"},
		"hangs up":     {saying(t, "0{}"), Fail, "join", "no Node can join"},
		"nonsense":     {saying(t, "hello"), Fail, "join", `it says "hello", where 0 was to come`},
		"unauthorized": {saying(t, "0{}", joined, `430["UNAUTHORIZED"]`, `431["UNAUTHORIZED"]`), OK, "exchange", "as hooks.authorize says"},
		"disabled":     {saying(t, "0{}", joined, `430["DISABLED"]`, `431["DISABLED"]`), Warn, "exchange", "broker.p2p"},
		"other answer": {saying(t, "0{}", joined, `430["ERROR"]`, `431["ERROR"]`), Fail, "exchange", "answers ERROR"},
		"not passed":   {saying(t, "0{}", joined, `430["OK"]|41`), Fail, "exchange", "a message of a Node does not reach another"},
	} {
		cfg := Config{Patience: 200_000_000}
		cfg.setDefaults()
		l := &local{cfg: &cfg, Local: &Local{status: &adminapi.Status{Listeners: []adminapi.Listener{{Part: "hooks", Address: "127.0.0.1:1"}, {Part: "broker", Address: c.at}}}}}
		var all []string
		ok := false
		for _, f := range l.nodes(t.Context()) {
			all = append(all, string(f.Status)+" "+f.Check+" "+f.Detail+" -> "+f.Remedy)
			ok = ok || f.Status == c.status && f.Check == c.check && strings.Contains(f.Detail+f.Remedy, c.says)
		}
		if !ok {
			t.Errorf("%s: %q", name, all)
		}
	}
	if found := (&local{Local: &Local{status: &adminapi.Status{}}}).nodes(t.Context()); found != nil {
		t.Errorf("there is no Broker: %+v", found)
	}
}

// A Broker on every address is asked on loopback.
func TestBrokerAt(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "[::1]:8080", "192.0.2.1:8080": "192.0.2.1:8080", "nonsense": "",
	} {
		if got := brokerAt(&adminapi.Status{Listeners: []adminapi.Listener{{Part: "broker", Address: listen}}}); got != want {
			t.Errorf("%s: %q", listen, got)
		}
	}
}

// What a Node is told is tried as told: the first TURN URL over UDP, else the first; and what does not work has a cause.
func TestBrokerRelays(t *testing.T) {
	cfg := Config{Patience: 100_000_000}
	cfg.setDefaults()
	l := &local{cfg: &cfg, Local: &Local{}}
	quiet, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	for name, c := range map[string]struct {
		urls   []string
		tried  string
		status Status
		says   string
	}{
		"no TURN": {[]string{"stun:127.0.0.1", "nonsense"}, "", Warn, "turn.transports"},
		"silence": {[]string{"stun:127.0.0.1", "turn:127.0.0.1:1?transport=tcp", "turn:" + quiet.LocalAddr().String(), "turn:127.0.0.1:2"},
			"turn:" + quiet.LocalAddr().String(), Fail, "cannot use the relay that the Broker told it"},
		"refused": {[]string{"turn:127.0.0.1:1?transport=tcp", "turns:127.0.0.1:1"}, "turn:127.0.0.1:1?transport=tcp", Fail, "nothing listens on TCP port 1"},
	} {
		r := l.relayOf(t.Context(), &brokerNode{rtc: []rtcServer{{URLs: c.urls[:1]}, {URLs: c.urls[1:], Username: "u", Password: "hush"}}})
		if r.probe != nil && r.u.text != c.tried || r.probe == nil && c.tried != "" {
			t.Errorf("%s: tried %+v", name, r.probe)
		}
		var n notes
		l.relayed(t.Context(), &n, r, r)
		if len(n) != 1 || n[0].Status != c.status || !strings.Contains(n[0].Detail+n[0].Remedy, c.says) || n[0].Remedy == "" {
			t.Errorf("%s: %+v", name, n)
		}
		r.close(t.Context())
	}
}
