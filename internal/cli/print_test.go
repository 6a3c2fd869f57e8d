package cli

import (
	"bytes"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func allocation(id, node string) adminapi.Allocation {
	return adminapi.Allocation{
		ID: id, Node: node, Transport: "udp", Client: netip.MustParseAddrPort("198.51.100.7:4000"),
		Relayed: netip.MustParseAddrPort("203.0.113.5:50123"), Created: started, Expires: started.Add(10 * time.Minute),
		BytesIn: 1500, BytesOut: 2_500_000, DatagramsIn: 3, DatagramsOut: 4, Drops: 1, Peers: 2, Channels: 1,
	}
}

func TestPrint(t *testing.T) {
	now := started.Add(90 * time.Second)
	hostile := "x\U000e0001\x1b[31m\u202etxt\n\t\x00é😀\xff"
	first, second := allocation("a1", "alice"), allocation("b2", hostile)
	second.Transport, second.Client, second.Relayed = "tls", netip.MustParseAddrPort("[2001:db8::7]:4000"), netip.MustParseAddrPort("[2001:db8::1]:50000")
	events := []nodes.Event{
		{Time: started, Kind: nodes.KindCredential, Detail: "credential issued, ends 12:05:00 UTC"},
		{Time: started.Add(time.Minute), Kind: nodes.KindRefused, Detail: "allocation refused: 16 of 16 in use", Count: 12},
		{Time: now, Kind: nodes.Kind(hostile), Detail: hostile},
	}
	bans := []nodes.Ban{
		{Node: "mallory", Reason: "spam", Since: started},
		{Node: hostile, Reason: hostile, Since: started.Add(-50 * time.Hour), Until: now.Add(25*time.Hour + time.Minute)},
	}
	for name, print := range map[string]func(w io.Writer) error{
		"nodes": func(w io.Writer) error {
			return printNodes(w, now, adminapi.NodeList{Total: 7, Nodes: []adminapi.NodeSummary{
				{Node: "alice", Connected: true, Seen: now, Allocations: 2, BytesIn: 999, BytesOut: 1_234_567, LastEvent: &events[1], Broker: link()},
				{Node: hostile, Connected: true, Banned: true, Seen: started},
			}})
		},
		"nodes-none": func(w io.Writer) error { return printNodes(w, now, adminapi.NodeList{}) },
		"allocations": func(w io.Writer) error {
			return printAllocations(w, now, adminapi.AllocationList{Allocations: []adminapi.Allocation{first, second}, Total: 2})
		},
		"allocations-none": func(w io.Writer) error { return printAllocations(w, now, adminapi.AllocationList{}) },
		"bans": func(w io.Writer) error {
			return printBans(w, now, adminapi.BanList{Bans: []adminapi.Ban{{Ban: bans[0]}, {Ban: bans[1]}}, Total: 2})
		},
		"bans-unshared": func(w io.Writer) error {
			return printBans(w, now, adminapi.BanList{Bans: []adminapi.Ban{{Ban: bans[0]}, {Ban: bans[1], Unshared: true}}, Total: 2})
		},
		"fleet": func(w io.Writer) error {
			return printFleet(w, adminapi.Fleet{Name: "eu-1", Redis: "it does not answer in time", Unshared: 2, Machines: []adminapi.Machine{
				{Name: "eu-1", Region: "eu", Here: true, State: "up", Version: "1.2.3", Allocations: 7, FreePorts: 100, BitsPerSecond: 12_345_678, CPU: 0.123, Nodes: 4, Bans: 2},
				{Name: hostile, State: "full", Version: hostile, HeardSeconds: 1.26, Allocations: 5, Limit: 5, Differs: []string{"turn.realm", hostile}},
			}})
		},
		"audit": func(w io.Writer) error {
			return printAudit(w, adminapi.AuditPage{More: true, Entries: []audit.Entry{
				{N: 4, Time: now, What: audit.Reload, By: "SIGHUP", Refused: hostile},
				{N: 3, Time: started, What: audit.Unban, Node: hostile, By: "admin.token", Via: "dashboard", From: "198.51.100.7"},
				{N: 2, Time: started, What: audit.Ban, Node: hostile, Reason: hostile, Detail: "for 1h", By: "no token", Via: "command", From: "127.0.0.1"},
			}})
		},
		"audit-none": func(w io.Writer) error { return printAudit(w, adminapi.AuditPage{}) },
		"bans-none":  func(w io.Writer) error { return printBans(w, now, adminapi.BanList{}) },
		"why": func(w io.Writer) error {
			return printNode(w, now, adminapi.NodeRecord{
				Node: hostile, Banned: true, Ban: &bans[1], Connected: true, Checked: started, CredentialsIssued: 3,
				CredentialEnds: started.Add(5 * time.Minute), Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")},
				Allocations: []adminapi.Allocation{first}, Events: events,
			})
		},
		"why-broker": func(w io.Writer) error {
			return printNode(w, now, adminapi.NodeRecord{Node: "alice", Connected: true, Broker: link(), Partners: []string{hostile, "bob"}})
		},
		"story": func(w io.Writer) error {
			return printStory(w, now, adminapi.Story{
				Nodes: [2]string{"alice", hostile}, Missing: "accepted", Conclusion: "the other Node did not accept", Messages: 3, MessageBytes: 1500, Last: started,
				Steps: []adminapi.StoryStep{{Name: "joined", State: adminapi.StepDone, Detail: hostile}, {Name: "accepted", State: adminapi.StepFailed, Detail: "refused"}},
			})
		},
		"why-fleet": func(w io.Writer) error {
			at := link()
			at.Machine = "eu-2"
			there := first
			there.Machine = hostile
			late := events[0]
			late.Machine = "eu-1, " + hostile
			return printNode(w, now, adminapi.NodeRecord{
				Node: "alice", Connected: true, Broker: at, Machine: "eu-1", ConnectedAt: []string{"eu-2"}, Allocations: []adminapi.Allocation{there}, LeftOut: 3,
				Events: []nodes.Event{late}, Unanswered: []adminapi.Unanswered{{Machine: hostile, Why: "it has not answered within a second"}},
			})
		},
		"why-fleet-elsewhere": func(w io.Writer) error {
			return printNode(w, now, adminapi.NodeRecord{Node: "alice", Connected: true, ConnectedAt: []string{"eu-1", "eu-2"}})
		},
		"story-fleet": func(w io.Writer) error {
			return printStory(w, now, adminapi.Story{
				Nodes: [2]string{"alice", "bob"}, Conclusion: "no connection was asked for",
				Unanswered: []adminapi.Unanswered{{Machine: hostile, Why: "its version does not know the question"}},
			})
		},
		"why-little": func(w io.Writer) error { return printNode(w, now, adminapi.NodeRecord{Node: "bob", Checked: started}) },
		"json": func(w io.Writer) error {
			return terminal.PrintJSON(w, adminapi.BanAnswer{Node: hostile, Closed: 2, Kept: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := print(&b); err != nil {
				t.Fatal(err)
			}
			for _, r := range b.String() {
				if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0xe0001 {
					t.Errorf("%q reaches the terminal", r)
				}
			}
			golden(t, filepath.Join("testdata", "print", name+".golden"), b.Bytes())
		})
	}
}

func link() *adminapi.BrokerLink {
	return &adminapi.BrokerLink{
		From: netip.MustParseAddr("192.0.2.7"), Runtime: "JVM", Version: "1.0.2\x1b[31m", Since: started, Attempts: 1, Acceptances: 2, Refusals: 3, Candidates: 4,
		Messages: 5, SentBytes: 1500, GotBytes: 6,
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestPrintSaysWhatTheWriterSays(t *testing.T) {
	l := adminapi.AllocationList{Allocations: []adminapi.Allocation{allocation("a", "b")}, Total: 1}
	if printAllocations(fullDisk{}, started, l) == nil || printBans(fullDisk{}, started, adminapi.BanList{}) == nil {
		t.Error("an error of the writer was lost")
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1_500_000_000: "1.5 GB", 1 << 63: "9.2 EB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "(now)", time.Second: "(1s ago)", 61 * time.Second: "(1m1s ago)", 10*time.Minute + 5*time.Second: "(10m ago)", 26 * time.Hour: "(1d2h ago)",
		-90 * time.Minute: "(in 1h30m)", 400 * 24 * time.Hour: "(400d ago)", time.Hour: "(1h ago)",
		-12*time.Hour + 10*time.Second: "(in 12h)", -time.Hour + 400*time.Millisecond: "(in 1h)", 9*time.Hour + 59*time.Minute + 40*time.Second: "(10h ago)",
		23*time.Hour + 50*time.Minute: "(1d ago)", 59 * time.Second: "(59s ago)", 10*time.Minute + 40*time.Second: "(11m ago)",
	} {
		got := ago(started, started.Add(d))
		if got != "2026-03-01 12:00:00 "+want {
			t.Errorf("ago %v: %q, want %q", d, got, want)
		}
	}
}
