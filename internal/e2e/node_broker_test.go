package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	nodebroker "github.com/crolang-p2p/crolang-aio/embedded/broker"
)

// brokerOf is a Broker of package broker in the test's own process that asks the running program's webhooks.
type brokerOf struct {
	s    *server
	addr string
	b    *nodebroker.Broker
	stop func()
}

func newBroker(t *testing.T, s *server) *brokerOf {
	t.Helper()
	b := &brokerOf{s: s, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	b.start(t)
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *brokerOf) start(t *testing.T) {
	t.Helper()
	made, err := nodebroker.New(nodebroker.Config{
		Listen: b.addr, Decider: webhooks{b.s},
		Settings: nodebroker.Settings{P2P: true, RelayMessages: true, CheckSender: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- made.Run(ctx) }()
	b.b = made
	b.stop = func() {
		cancel()
		if err, ok := <-done; ok && err != nil {
			t.Errorf("the Broker ended with %v", err)
		}
		close(done)
		b.stop = func() {}
	}
}

// restart ends the Broker and starts another in its place.
func (b *brokerOf) restart(t *testing.T) {
	t.Helper()
	b.stop()
	b.start(t)
}

// ban bans a Node and has it leave.
func (b *brokerOf) ban(t *testing.T, node string) {
	t.Helper()
	if code, text := b.s.ask(t, "POST", "/api/bans", fmt.Sprintf(`{"node":%q}`, node)); code != http.StatusCreated {
		t.Fatalf("ban: %d %s", code, text)
	}
	if !b.b.Disconnect(node, "it is banned") {
		t.Errorf("%s was not connected to the Broker", node)
	}
}

// webhooks decides by the program's webhooks, as an original Broker does.
type webhooks struct{ s *server }

func (w webhooks) post(ctx context.Context, path string, question, answer any) bool {
	body, err := json.Marshal(question)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.s.hooks+path, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(answer) == nil
}

func verdict(asked, yes bool) nodebroker.Verdict {
	switch {
	case !asked:
		return nodebroker.Verdict{}
	case yes:
		return nodebroker.Verdict{Outcome: nodebroker.Allowed}
	}
	return nodebroker.Verdict{Outcome: nodebroker.Refused}
}

func (w webhooks) Authenticate(ctx context.Context, j nodebroker.Join) nodebroker.Admission {
	question := map[string]any{"id": j.Node}
	if len(j.Data) > 0 {
		question["data"] = j.Data[0]
	}
	var answer struct {
		Authenticated bool `json:"authenticated"`
	}
	asked := w.post(ctx, "/authenticate-node", question, &answer)
	return nodebroker.Admission{Verdict: verdict(asked, answer.Authenticated)}
}

func (w webhooks) Configuration(ctx context.Context, node string) ([]byte, nodebroker.Verdict) {
	var answer struct {
		RTC json.RawMessage `json:"rtcConfiguration"`
	}
	asked := w.post(ctx, "/resolve-rtc-configuration", map[string]string{"nodeId": node}, &answer)
	return answer.RTC, verdict(asked, true)
}

func (w webhooks) Authorize(ctx context.Context, from, to string) nodebroker.Verdict {
	var answer struct {
		Authorized bool `json:"authorized"`
	}
	asked := w.post(ctx, "/authorize-nodes-communication", map[string]string{"from": from, "to": to}, &answer)
	return verdict(asked, answer.Authorized)
}

func (w webhooks) Invalid(ctx context.Context, nodes []string, name func(node, cause string)) {
	var answer struct {
		Invalid []string `json:"invalidNodesIds"`
	}
	if w.post(ctx, "/validity-check", map[string][]string{"connectedNodesIds": nodes}, &answer) {
		for _, node := range answer.Invalid {
			name(node, "the webhook says so")
		}
	}
}

func (webhooks) Message(string, string, bool) {}
