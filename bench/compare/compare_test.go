package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

func TestMedianAndSpan(t *testing.T) {
	for _, test := range []struct {
		s                   sample
		median, least, most float64
	}{
		{sample{3}, 3, 3, 3},
		{sample{9, 1, 5}, 5, 1, 9},
		{sample{4, 1, 3, 2}, 2.5, 1, 4},
	} {
		least, most := test.s.span()
		if m := test.s.median(); m != test.median || least != test.least || most != test.most {
			t.Errorf("%v: median %g, from %g to %g", test.s, m, least, most)
		}
	}
	s := sample{2, 1}
	if s.median(); s[0] != 2 {
		t.Error("the sample was sorted in place")
	}
	if !math.IsNaN(sample(nil).median()) {
		t.Error("a median of nothing")
	}
}

func TestJudge(t *testing.T) {
	less := goal{must: 0.65, aim: 0.55}
	more := goal{must: 1.5, aim: 2, more: true}
	for _, test := range []struct {
		g    goal
		v    float64
		want verdict
	}{
		{less, 0.5, reached},
		{less, 0.55, reached},
		{less, 0.6, held},
		{less, 0.65, held},
		{less, 0.66, missed},
		{more, 2.5, reached},
		{more, 1.7, held},
		{more, 1.4, missed},
		{goal{must: 40}, 39, held},
		{goal{must: 40}, 41, missed},
		{less, math.NaN(), unknown},
	} {
		if got := test.g.judge(test.v); got != test.want {
			t.Errorf("%+v of %g: %s, want %s", test.g, test.v, got, test.want)
		}
	}
}

func TestReplaceBlock(t *testing.T) {
	text := "# A\n\n" + socketMarks.begin + "\nold\n" + socketMarks.end + "\n\nmore\n"
	want := "# A\n\n" + socketMarks.begin + "\nnew\nlines\n" + socketMarks.end + "\n\nmore\n"
	got, err := socketMarks.replace(text, "\nnew\nlines\n\n")
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := socketMarks.replace(got, "new\nlines"); err != nil || again != want {
		t.Errorf("a second time: %q, %v", again, err)
	}
	for _, bad := range []string{"", "text", socketMarks.begin, socketMarks.end + socketMarks.begin, socketMarks.begin + socketMarks.end + socketMarks.begin} {
		if got, err := socketMarks.replace(bad, "x"); !errors.Is(err, errNoMarks) || got != bad {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func outcomes() []outcome {
	all := rows()
	start := startFigures()
	setup := all[slices.IndexFunc(all, func(r row) bool { return r.key == "setup" })]
	return []outcome{
		{figure: all[0].figures[0], ours: sample{2.6, 2.5, 2.9}, peer: sample{6.1, 6.0, 7}, floor: sample{2.5, 2.44, 2.6}},
		{figure: all[0].figures[1], ours: sample{1234567}, peer: sample{1000000}, floor: nil},
		{figure: setup.figures[1], ours: sample{7.5}, peer: sample{21}, floor: nil},
		{figure: start[0], ours: sample{61}, peer: nil, floor: nil},
		{figure: all[2].figures[0], ours: nil, peer: nil, floor: nil},
	}
}

func testReport() report {
	return report{
		near: outcomes(), across: outcomes()[:2], ours: "v1", coturn: "4.6.1", pace: pace{repeat: 3, duration: 5 * time.Second},
		machine: machine{cores: 2, model: "Some CPU", kernel: "6.1", os: "linux/amd64", date: "2026-01-02", goVersion: "go1.26", busy: 0.5},
	}
}

func TestTables(t *testing.T) {
	want := `|                                                            |        | coturn           | crolang-aio      | ratio | must | aim  | reached |
| ---------------------------------------------------------- | ------ | ---------------: | ---------------: | ----: | ---: | ---: | ------: |
| UDP to the peer, as fast as possible, 4 clients            | µs CPU | 6.10 (6.00–7.00) | 2.60 (2.50–2.90) | 0.43  | 0.50 | 0.40 | must    |
| UDP to the peer, as fast as possible, 4 clients, delivered | 1/s    | 1 000 000        | 1 234 567        | 1.23  | 1.50 | 2.00 | missed  |
`
	if got := strings.ReplaceAll(markdown(table(outcomes()[:2], true)), "\u202f", " "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	short := `|                                                 |        | coturn | crolang-aio | ratio |
| ----------------------------------------------- | ------ | -----: | ----------: | ----: |
| UDP to the peer, as fast as possible, 4 clients | µs CPU | 6.10   | 2.60        | 0.43  |
`
	if got := markdown(table(outcomes()[:1], false)); got != short {
		t.Errorf("got\n%s\nwant\n%s", got, short)
	}
	if p := plain(table(outcomes(), true)); !strings.Contains(p, "12 kB") || !strings.Contains(p, "150 ms") {
		t.Errorf("bounds in their own units are missing:\n%s", p)
	}
	bound := `|                                                 |        | coturn | floor            | crolang-aio | floor to coturn | crolang-aio to floor |
| ----------------------------------------------- | ------ | -----: | ---------------: | ----------: | --------------: | -------------------: |
| UDP to the peer, as fast as possible, 4 clients | µs CPU | 6.10   | 2.50 (2.44–2.60) | 2.60        | 0.41            | 1.04                 |
`
	if got := markdown(floorTable(outcomes())); got != bound {
		t.Errorf("got\n%s\nwant\n%s", got, bound)
	}
	if floorTable(outcomes()[1:]) != nil {
		t.Error("a table of the floor where it was not measured")
	}
	text, misses := summary(outcomes())
	if misses != 1 || !strings.HasPrefix(text, "3 of 5 figures reach what they must, 1 of them their aim. Missed: UDP to the peer") {
		t.Errorf("%d: %s", misses, text)
	}
}

func TestNumber(t *testing.T) {
	for want, got := range map[string]string{
		"1 234 567": number(1234567, 0), "999": number(999, 0), "-1 000": number(-1000, 0), "-100": number(-100, 0),
		"12 345.68": number(12345.678, 2), "0.5": number(0.5, 1), "-": number(math.NaN(), 0),
	} {
		if strings.ReplaceAll(got, "\u202f", " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	doc, readme := filepath.Join(dir, "docs", "b.md"), filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("x\n"+socketMarks.begin+"\n"+socketMarks.end+"\ny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := testReport()
	if err := r.save(doc, readme); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(doc)
	for _, want := range []string{"# Benchmarks", "crolang-aio v1 and coturn 4.6.1 on 2 cores of Some CPU", "2026-01-02", "noisy", "## How to read it", "## Across a network interface", "## What the kernel takes", "## Measure yours"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	text, _ = os.ReadFile(readme)
	if !strings.HasPrefix(string(text), "x\n"+socketMarks.begin+"\n| ") || !strings.HasSuffix(string(text), socketMarks.end+"\ny\n") {
		t.Errorf("README.md:\n%s", text)
	}
	if err := os.WriteFile(readme, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.save(doc, readme); !errors.Is(err, errNoMarks) {
		t.Errorf("error %v", err)
	}
	if text, _ = os.ReadFile(readme); string(text) != "no marks" {
		t.Errorf("README.md without marks became %q", text)
	}
}

// README.md shows figures that are measured.
func TestBriefFiguresAreMeasured(t *testing.T) {
	for _, b := range briefly {
		if !slices.ContainsFunc(rows(), func(r row) bool {
			return r.across == b.across && slices.ContainsFunc(r.figures, func(f figure) bool { return f.title == b.title })
		}) {
			t.Errorf("%q is not measured", b.title)
		}
	}
}

func TestRowsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if seen[r.key] {
			t.Errorf("%s twice", r.key)
		}
		seen[r.key] = true
		if (r.floor > 0 || r.across) != (r.load.Transport == "udp" && r.load.Direction != load.Setup) {
			t.Errorf("%s: %d threads for the floor", r.key, r.floor)
		}
		l := r.load
		l.Server, l.Secret, l.Duration = "h:1", "s", time.Second
		if err := l.Validate(); err != nil {
			t.Errorf("%s: %v", r.key, err)
		}
		for _, f := range r.figures {
			if (f.goal.must == 0) != (r.grid || f.key == thisEndKey) || f.of == nil || f.unit == "" {
				t.Errorf("%s %s is not complete", r.key, f.key)
			}
		}
	}
	for words, want := range map[string]int{"": len(rows()) - len(kernelRows()) - len(gridRows()), "udp": 8, "ethernet": 5, "tcp,tls": 4, "udp-up, setup": 5, "start": 0} {
		picked, start, err := chosen(words, false)
		if err != nil || len(picked) != want || start != (words == "" || words == "start") {
			t.Errorf("%q: %d rows, start %v, %v", words, len(picked), start, err)
		}
	}
	if picked, start, err := chosen("", true); err != nil || len(picked) != len(kernelRows())+len(gridRows()) || start {
		t.Errorf("of the kernel: %d rows, start %v, %v", len(picked), start, err)
	}
	if _, _, err := chosen("sctp", false); err == nil || !strings.Contains(err.Error(), "udp-up-max, ") {
		t.Errorf("error %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		args  string
		want  pace
		write bool
		bad   bool
	}{
		{args: "", want: pace{5, 5 * time.Second, time.Second}, write: true},
		{args: "-no-write", want: pace{5, 5 * time.Second, time.Second}},
		{args: "-quick", want: pace{1, time.Second, 300 * time.Millisecond}},
		{args: "-rows udp -repeat 3", want: pace{3, 5 * time.Second, time.Second}},
		{args: "-repeat 0", bad: true},
		{args: "-duration 1h", bad: true},
		{args: "udp", bad: true},
		{args: "-what", bad: true},
	} {
		o, err := parse(strings.Fields(test.args), io.Discard)
		if (err != nil) != test.bad || !test.bad && (o.pace != test.want || o.write != test.write) {
			t.Errorf("%q: %+v, %v", test.args, o, err)
		}
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-repeat", "0"}, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), "-repeat 0: 1 to 100") {
		t.Errorf("code %d, %s", code, &stderr)
	}
	if code := run(t.Context(), []string{"-coturn", "/nowhere/turnserver"}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "coturn is missing") {
		t.Errorf("code %d, %s", code, &stderr)
	}
}

func TestMachine(t *testing.T) {
	if got := busyTicks("cpu  10 20 30 400 500 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1\n"); got != 10+20+30+6+7+8 {
		t.Errorf("busy ticks %g", got)
	}
	if got := cpuModel("processor\t: 0\nmodel name\t: A  CPU @ 2 GHz\n"); got != "A CPU @ 2 GHz" {
		t.Errorf("model %q", got)
	}
	if got := cpuModel("processor\t: 0\n"); got != "" {
		t.Errorf("model %q", got)
	}
	if s := testReport().machine.String(); s != "2 cores of Some CPU (linux/amd64), kernel 6.1, go1.26" {
		t.Error(s)
	}
}
