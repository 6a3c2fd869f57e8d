package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// errRefused is a Broker's decided no.
var errRefused = errors.New("the Broker refused")

// brokerAt is where this machine reaches the Broker in the server's process; empty: there is none.
func brokerAt(s *adminapi.Status) string {
	for _, l := range s.Listeners {
		at, err := netip.ParseAddrPort(l.Address)
		if l.Part != "broker" || err != nil {
			continue
		}
		switch ip := at.Addr(); {
		case ip == netip.IPv6Unspecified():
			at = netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
		case ip.IsUnspecified():
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
		}
		return at.String()
	}
	return ""
}

// nodes joins two Nodes of its own to the Broker in the server's process, which do what two Nodes do: the one sends the other a
// message, they agree on a connection, and send a datagram through the relays that they were told.
func (l *local) nodes(ctx context.Context) []Finding {
	var n notes
	if l.status == nil || brokerAt(l.status) == "" {
		return nil
	}
	at := brokerAt(l.status)
	step, cancel := context.WithTimeout(ctx, 8*l.cfg.Patience)
	defer cancel()
	id := nodeid.Doctor(l.Secret, l.cfg.Now())
	one, err := joinBroker(step, at, id+"-1")
	if err == nil {
		defer one.Close()
		var two *brokerNode
		if two, err = joinBroker(step, at, id+"-2"); err == nil {
			defer two.Close()
			return l.exchanged(ctx, one, two)
		}
	}
	switch {
	case ctx.Err() != nil:
		return []Finding{unfinished(ctx, "")}
	case errors.Is(err, errRefused):
		n.add(OK, "join", "the Broker at "+at+" answers, and does not let doctor's Nodes in, as hooks.authenticate or another credentials.secret has it: "+err.Error(), "")
	default:
		n.add(Fail, "join", "no Node can join the Broker at "+at+": "+err.Error(), "look at the server's log")
	}
	return n
}

// brokerNode is a Node that has joined a Broker.
type brokerNode struct {
	net.Conn
	id  string
	rtc []rtcServer
}

// rtcServer is an entry of the RTC configuration that a Node is told. Its password is a secret.
type rtcServer struct {
	URLs     []string `json:"urls"`
	Username string   `json:"username"`
	Password string   `json:"password"`
}

// joinBroker joins the Broker at addr. The caller closes the Node.
func joinBroker(ctx context.Context, addr, id string) (*brokerNode, error) {
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}, "id": {id}, "version": {"1"}, "runtime": {"doctor"}}
	c, early, _, err := ws.Dial(ctx, "ws://"+addr+"/socket.io/?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if early != nil { // what came with the answer
		c = readFrom{c, early}
	}
	n := &brokerNode{Conn: c, id: id}
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	if err = n.join(); err != nil {
		c.Close()
		return nil, err
	}
	return n, nil
}

type readFrom struct {
	net.Conn
	r io.Reader
}

func (r readFrom) Read(b []byte) (int, error) { return r.r.Read(b) }

func (n *brokerNode) join() error {
	if _, err := n.want("0"); err != nil {
		return err
	}
	if err := wsutil.WriteClientText(n, []byte("40")); err != nil {
		return err
	}
	if _, err := n.want("40"); err != nil {
		return err
	}
	text, err := n.want(`42["AUTHENTICATED",`)
	if err != nil {
		return err
	}
	var event []string
	var rtc struct {
		Servers []rtcServer `json:"iceServers"`
	}
	if err = json.Unmarshal([]byte(text[2:]), &event); err == nil {
		err = json.Unmarshal([]byte(event[1]), &rtc)
	}
	n.rtc = rtc.Servers
	return err
}

// want reads until a message begins so.
func (n *brokerNode) want(prefix string) (string, error) {
	for {
		msg, err := wsutil.ReadServerText(n)
		text := string(msg)
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(text, prefix):
			return text, nil
		case strings.HasPrefix(text, "44"):
			return "", fmt.Errorf("%w: %s", errRefused, text[2:])
		case text != "2":
			return "", fmt.Errorf("it says %.60q, where %s was to come", text, prefix)
		}
	}
}

// send sends an event to another Node, and returns the Broker's answer once an event that was passed on has arrived.
func (n *brokerNode) send(ack int, event string, to *brokerNode, more map[string]any) (answer string, err error) {
	message := map[string]any{"from": n.id, "to": to.id}
	maps.Copy(message, more)
	payload, err := json.Marshal(message)
	if err != nil {
		return "", err
	}
	args, err := json.Marshal([]string{event, string(payload)})
	if err != nil {
		return "", err
	}
	if err = wsutil.WriteClientText(n, fmt.Appendf(nil, "42%d%s", ack, args)); err != nil {
		return "", err
	}
	prefix := fmt.Sprintf("43%d", ack)
	text, err := n.want(prefix)
	var said []string
	if err == nil {
		err = json.Unmarshal([]byte(text[len(prefix):]), &said)
	}
	if err != nil || len(said) != 1 || said[0] != "OK" {
		return strings.Join(said, " "), err
	}
	_, err = to.want("42" + string(args))
	return "OK", err
}
