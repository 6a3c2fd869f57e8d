package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// maxPartners is how many partners of a Node are named.
const maxPartners = 20

// Broker is the Broker in this process, as an operator sees it.
type Broker interface {
	// Link returns a Node's connection; ok is false if it has none.
	Link(node string) (link adminapi.BrokerLink, ok bool)
}

// link is a Node's connection to the Broker in this process, nil if it has none.
func (a *Admin) link(node string) *adminapi.BrokerLink {
	if a.cfg.Broker == nil {
		return nil
	}
	link, ok := a.cfg.Broker.Link(node)
	if !ok {
		return nil
	}
	return &link
}

func (a *Admin) partners(node string) []string {
	if a.cfg.Stories == nil {
		return []string{}
	}
	return a.cfg.Stories.Partners(node, maxPartners)
}

// story answers GET /api/story.
func (a *Admin) story(c *call, _ none) (adminapi.Story, error) {
	id, with := nodeid.Canonical(c.query.Get("id")), nodeid.Canonical(c.query.Get("with"))
	if id == "" || with == "" || id == with {
		return adminapi.Story{}, problem(http.StatusBadRequest, "a story is of two Nodes: ?id=NODE&with=OTHER")
	}
	var s stories.Story
	known := a.cfg.Stories != nil && a.cfg.Broker != nil
	if known {
		s, _ = a.cfg.Stories.Between(id, with)
	}
	t := teller{sides: [2]side{a.side(id), a.side(with)}}
	if a.cfg.Fleet != nil {
		var elsewhere bool
		t.out.Unanswered, elsewhere = a.wholeStory(&s, &t.sides)
		known = known || elsewhere
	}
	if !known {
		return adminapi.Story{}, problem(http.StatusNotFound,
			"what Nodes exchange is known where the Broker runs in this process: it does not here"+withoutThose(t.out.Unanswered))
	}
	t.s = s
	a.toward(&t.sides[0], t.sides[1].addresses)
	a.toward(&t.sides[1], t.sides[0].addresses)
	if s.Asked == id { // the one who asked comes first
		t.sides[0], t.sides[1] = t.sides[1], t.sides[0]
	}
	return t.tell(), nil
}

// side is one of the two Nodes of a story.
type side struct {
	node        string
	connected   bool
	banned      bool
	link        *adminapi.BrokerLink
	allocations int
	at          []string     // machines of the fleet that have some of these
	addresses   []netip.Addr // that its data may come from: of its relays, and its own

	// Of its allocations that let the other in, and none else: what a Node has with a third is not in the story.
	toward           int
	sent, got, drops uint64
}

func (a *Admin) side(node string) side {
	s := side{node: node, banned: a.cfg.Nodes.Banned(node), connected: a.cfg.Nodes.Connected(node), link: a.link(node)}
	var relays []adminapi.Allocation
	for _, al := range a.cfg.Relays.Allocations() {
		if al.Node == node {
			relays = append(relays, al)
		}
	}
	s.allocations, s.addresses = len(relays), addressesOf(s.link, relays)
	return s
}

// toward adds up what s has for a Node with these addresses.
func (a *Admin) toward(s *side, peers []netip.Addr) {
	for _, al := range a.cfg.Relays.Toward(s.node, peers) {
		s.toward++
		s.sent += al.DatagramsIn
		s.got += al.DatagramsOut
		s.drops += al.Drops
	}
}

func (s *side) quoted() string { return strconv.Quote(s.node) }

// teller tells a story step by step, in the order in which a connection comes about.
type teller struct {
	s     stories.Story
	sides [2]side
	own   map[string]string // conclusions of steps, better than the usual ones
	out   adminapi.Story
}

func (t *teller) step(name string, state adminapi.StepState, detail string) {
	t.out.Steps = append(t.out.Steps, adminapi.StoryStep{Name: name, State: state, Detail: detail})
}

func (t *teller) tell() adminapi.Story {
	t.out.Nodes = [2]string{t.sides[0].node, t.sides[1].node}
	t.joined()
	t.asked()
	t.answered()
	t.candidates()
	t.relays()
	t.out.Messages, t.out.MessageBytes, t.out.Last = t.s.Messages, t.s.Bytes, t.s.Last
	t.conclude()
	return t.out
}

func (t *teller) joined() {
	state := adminapi.StepDone
	var words []string
	for _, s := range t.sides {
		what := "is not connected to a Broker"
		switch {
		case s.banned:
			what, state = "is banned", adminapi.StepFailed
		case s.link != nil:
			what = "is connected from " + s.link.From.String() + atMachines(s.link.Machine)
		case s.connected:
			what = "left a moment ago, or is connected to another Broker"
		case state == adminapi.StepDone:
			state = adminapi.StepMissing
		}
		words = append(words, s.quoted()+" "+what)
	}
	t.step("joined", state, strings.Join(words, "; "))
}

// atMachines says where in the fleet something is.
func atMachines(names ...string) string {
	if text := strings.Join(names, ", "); text != "" {
		return " at " + text
	}
	return ""
}

func (t *teller) asked() {
	if t.s.Asker == "" {
		t.step("asked", adminapi.StepMissing, "neither has asked the other for a connection through this Broker")
		t.step("authorized", adminapi.StepMissing, "nobody has asked")
		return
	}
	asker, asked := t.sides[0].quoted(), t.sides[1].quoted()
	times := ""
	if t.s.Attempts > 1 {
		times = fmt.Sprintf(", of %d attempts the last one", t.s.Attempts)
	}
	t.step("asked", adminapi.StepDone, fmt.Sprintf("%s asked %s for a connection%s", asker, asked, times))
	switch t.s.Answer {
	case stories.OK:
		t.step("authorized", adminapi.StepDone, "it may, and the Broker passed it on")
	case "UNAUTHORIZED":
		cause := t.s.Cause
		if cause == "" {
			cause = "see its why-record"
		}
		t.step("authorized", adminapi.StepFailed, fmt.Sprintf("it may not: %s", cause))
	case "NOT_CONNECTED":
		t.step("authorized", adminapi.StepFailed, fmt.Sprintf("%s was not connected when it was asked", asked))
	case "DISABLED":
		t.step("authorized", adminapi.StepFailed, "broker.p2p is false")
	default:
		t.step("authorized", adminapi.StepFailed, fmt.Sprintf("the Broker could not take it: %s", t.s.Answer))
	}
}

func (t *teller) answered() {
	switch asked := t.sides[1].quoted(); t.s.Reply {
	case stories.Acceptance:
		t.step("accepted", adminapi.StepDone, fmt.Sprintf("%s accepted", asked))
	case stories.Refusal:
		t.step("accepted", adminapi.StepFailed, fmt.Sprintf("%s refused", asked))
	case stories.NotAllowed:
		t.step("accepted", adminapi.StepFailed, fmt.Sprintf("%s takes no connections", asked))
	default:
		t.step("accepted", adminapi.StepMissing, "no answer came")
	}
}

func (t *teller) candidates() {
	state := adminapi.StepDone
	if len(t.s.FromAsker) == 0 || len(t.s.FromAsked) == 0 {
		state = adminapi.StepMissing
	}
	if there, back := t.passed(); there && back { // however they were exchanged
		state = adminapi.StepDone
	}
	t.step("candidates", state, fmt.Sprintf("of %s %s; of %s %s", t.sides[0].quoted(), kinds(t.s.FromAsker), t.sides[1].quoted(), kinds(t.s.FromAsked)))
}

// passed reports whether datagrams went from the first Node to the second, and back.
func (t *teller) passed() (there, back bool) {
	x, y := &t.sides[0], &t.sides[1]
	return x.sent+y.got > 0, y.sent+x.got > 0
}

// kinds counts candidates by kind.
func kinds(all map[string]int) string {
	if len(all) == 0 {
		return "none"
	}
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		words = append(words, fmt.Sprintf("%d %s", all[kind], kind))
	}
	return strings.Join(words, ", ")
}

// fewDrops are so many that every connection may have them.
const fewDrops = 10

// relays tells of what the two have at the TURN server now, for each other.
func (t *teller) relays() {
	x, y := &t.sides[0], &t.sides[1]
	state := func(done bool) adminapi.StepState {
		if done {
			return adminapi.StepDone
		}
		return adminapi.StepMissing
	}
	t.step("allocations", state(x.allocations+y.allocations > 0), fmt.Sprintf("%s %d%s, %s %d%s", x.quoted(), x.allocations, atMachines(x.at...), y.quoted(), y.allocations, atMachines(y.at...)))
	if x.allocations+y.allocations == 0 {
		if t.s.FromAsker["relay"]+t.s.FromAsked["relay"] == 0 {
			t.ends("allocations", "neither sent a candidate of a relay, and neither has one: they are connected directly, or did not reach the TURN server")
		}
	}
	t.step("permissions", state(x.toward+y.toward > 0),
		fmt.Sprintf("%d of %s for %s, %d of %s for %s", x.toward, x.quoted(), y.quoted(), y.toward, y.quoted(), x.quoted()))
	there, back := t.passed()
	t.step("datagrams", state(there && back),
		fmt.Sprintf("%s sent %d and got %d, %s sent %d and got %d through them", x.quoted(), x.sent, x.got, y.quoted(), y.sent, y.got))
	switch {
	case there && !back:
		t.ends("datagrams", "datagrams go from "+x.quoted()+" to "+y.quoted()+" and not back")
	case back && !there:
		t.ends("datagrams", "datagrams go from "+y.quoted()+" to "+x.quoted()+" and not back")
	}
	if dropped := x.drops + y.drops; dropped > 0 {
		few := dropped <= fewDrops || 20*dropped <= x.sent+x.got+y.sent+y.got
		words := fmt.Sprintf("%s %d, %s %d datagrams", x.quoted(), x.drops, y.quoted(), y.drops)
		if few {
			t.step("dropped", adminapi.StepDone, words+", no more than usual: the first of a call come before the permission")
		} else {
			t.step("dropped", adminapi.StepFailed, words)
		}
	}
}

// ends gives a step a conclusion of its own.
func (t *teller) ends(step, conclusion string) {
	if t.own == nil {
		t.own = map[string]string{}
	}
	t.own[step] = conclusion
}

// conclusions says what to make of a story whose first step that is not done is this one.
var conclusions = map[string]string{
	"joined":      "one of the two, or neither, is at the Broker now",
	"asked":       "no connection was asked for",
	"authorized":  "the request did not reach the other Node",
	"accepted":    "the other Node did not accept",
	"candidates":  "candidates are missing: that Node found none, or its library sent none",
	"allocations": "all was exchanged, and neither has a relay any more: they are connected directly, or it is over",
	"permissions": "there is a relay, but it does not let the other in: the other's candidates did not arrive, or could not be used",
	"datagrams":   "the relay lets the other in, and nothing has passed through it: they are connected directly, or a firewall is in the way of turn.relay_ports",
	"dropped":     "datagrams pass, and many are dropped: see why of both",
}

func (t *teller) conclude() {
	for _, s := range t.out.Steps {
		if s.State == adminapi.StepDone {
			continue
		}
		t.out.Missing, t.out.Conclusion = s.Name, conclusions[s.Name]
		if own := t.own[s.Name]; own != "" {
			t.out.Conclusion = own
		}
		return
	}
	t.out.Conclusion = "every step came, and datagrams are relayed"
}
