package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/servers"
	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

func kernelOutcomes() (all []outcome) {
	for _, r := range append(kernelRows()[2:3], gridRows()...) {
		for _, f := range r.figures {
			o := outcome{figure: f, row: r.key, grid: r.grid, ours: sample{1, 2, 3}, peer: sample{8}, sockets: sample{4}, floor: sample{0.5}}
			if r.load.Clients == gridFlows[len(gridFlows)-1] {
				o.ours = sample{2.5}
			}
			if r.load.Clients == 5000 && r.load.Size == 64 {
				o.ours = sample{2.7}
			}
			all = append(all, o)
		}
	}
	return all
}

func TestKernelTables(t *testing.T) {
	all := kernelOutcomes()
	want := "to the peer, as fast as possible, 4 clients|µs CPU|8.00|4.00|2.00 (1.00–3.00)|0.50|0.25|0.20|missed"
	if got := strings.Join(kernelTable(all)[1], "|"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if end := kernelTable(all)[2]; !strings.HasSuffix(end[0], "; this end of it") || end[7] != "" || end[8] != "" {
		t.Errorf("what has nothing to reach is %q", end)
	}
	if text, misses := summary(withGoals(all)); misses != 2 || !strings.HasPrefix(text, "0 of 2 figures") {
		t.Errorf("%d: %s", misses, text)
	}
	if rows := gridTable(all); len(rows) != 1+len(gridRows()) || rows[1][0] != "4 calls, 64 bytes" || rows[1][5] != "0.50" || rows[1][6] != "0.25" {
		t.Errorf("%q", rows)
	}
	text, misses := spread(all)
	if misses != 1 || !strings.Contains(text, "1.35, 1.25, 1.25 times what it costs among 4 (must 1.3)") || !strings.Contains(text, "back: 1.00, 1.00, 1.00 times") ||
		!strings.Contains(text, "that is 0.70, 0.50, 0.50 more than among 4; what is only sent back: 0.00, 0.00, 0.00 more") {
		t.Errorf("%d: %s", misses, text)
	}
	if !strings.HasSuffix(text, "of their own for every call, of 200 bytes: 1.25 times, and what is only sent back 1.00 times.") {
		t.Error(text)
	}
	if text, misses := spread(all[:3]); text != "" || misses != 0 {
		t.Errorf("of rows that were not measured: %d: %s", misses, text)
	}
	r := testReport()
	r.kernel = all
	if doc := r.kernelDocument(); !strings.Contains(doc, "# Benchmarks of relaying in the kernel") || !strings.Contains(doc, text) {
		t.Error(doc)
	}
	if block := r.kernelBlock(); !strings.Contains(block, "| datagrams a second") {
		t.Error(block)
	}
	dir := t.TempDir()
	doc, readme := filepath.Join(dir, "k.md"), filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte(kernelMarks.begin+"\n"+kernelMarks.end+"\n"+socketMarks.begin+socketMarks.end), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.save(doc, readme); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(readme); !strings.HasPrefix(string(b), kernelMarks.begin+"\n| ") || !strings.HasSuffix(string(b), socketMarks.begin+socketMarks.end) {
		t.Errorf("README.md:\n%s", b)
	}
	for _, b := range kernelBriefly {
		if !slices.ContainsFunc(kernelRows(), func(r row) bool {
			return slices.ContainsFunc(r.figures, func(f figure) bool { return f.title == b.title })
		}) {
			t.Errorf("%q is not measured", b.title)
		}
	}
	if r.misses() < misses {
		t.Error("what is missed in the kernel does not count")
	}
}

// What the kernel sends back arrives, and the time of the threads at both ends is counted.
func TestSentBack(t *testing.T) {
	n, remove, err := servers.Ethernet(t.Context())
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	f, err := buildFloor(t.Context(), "../..", dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{ethernet: n, dir: dir, secret: "s", pace: pace{1, time.Second, 100 * time.Millisecond}, progress: testWriter{t}}
	for _, row := range []row{kernelRows()[1], gridRows()[1]} {
		row.load.Rate = 1000
		res, err := c.one(t.Context(), reflector{f}, row)
		if err != nil {
			if strings.Contains(err.Error(), "not permitted") {
				t.Skip(err)
			}
			t.Fatal(err)
		}
		if p := res.Process; res.Direction != load.Back || res.Delivered == 0 || math.IsNaN(p.Kernel) || p.Kernel <= 0 || math.IsNaN(p.Beyond) || p.Beyond <= 0 {
			t.Errorf("%s: %+v, %+v", row.key, res, res.Process)
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}
