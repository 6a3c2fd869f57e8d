package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const golden = "../internal/admin/metrics/testdata/metrics.golden"

var (
	sample   = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? `)
	label    = regexp.MustCompile(`(\w+)=~?"`)
	used     = regexp.MustCompile(`\b((?:crolang_aio|process|go)_\w+)(?:\{([^}]*)\})?`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// offered are the program's metrics, each with its labels.
func offered(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{ // of the Go client's collectors, and of Prometheus itself
		"process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, "process_open_fds": nil, "process_max_fds": nil,
		"process_start_time_seconds": nil, "go_goroutines": nil, "go_memstats_heap_inuse_bytes": nil,
	}
	for _, m := range sample.FindAllStringSubmatch(read(t, golden), -1) {
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			all[m[1]] = append(all[m[1]], l[1])
		}
		if len(all[m[1]]) == 0 {
			all[m[1]] = []string{}
		}
	}
	return all
}

// check finds names and labels in an expression that no server has.
func check(t *testing.T, where, expr string, have map[string][]string) (n int) {
	t.Helper()
	var labels []string
	for _, m := range used.FindAllStringSubmatch(expr, -1) {
		n++
		offers, ok := have[m[1]]
		if !ok {
			t.Errorf("%s uses %s, which there is not", where, m[1])
		}
		labels = append(append(labels, offers...), "instance", "job")
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(offers, l[1]) && l[1] != "instance" && l[1] != "job" {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(name)) {
				t.Errorf("%s groups by %s, which nothing in it has", where, name)
			}
		}
	}
	return n
}

// The dashboard is JSON that Grafana takes, and every query in it asks for what there is.
func TestGrafanaDashboard(t *testing.T) {
	var dashboard struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
		Templating  struct{ List []struct{ Name string } }
		Annotations struct{ List []struct{ Expr string } }
	}
	if err := json.Unmarshal([]byte(read(t, "grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	have, ids, queried := offered(t), map[int]bool{}, map[string]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: the id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %q does not fit the grid", p.Title)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if check(t, "panel "+p.Title, target.Expr, have) == 0 {
				t.Errorf("panel %q has a query without a metric: %s", p.Title, target.Expr)
			}
			for _, m := range used.FindAllStringSubmatch(target.Expr, -1) {
				queried[m[1]] = true
			}
		}
	}
	for _, a := range dashboard.Annotations.List {
		check(t, "the annotation", a.Expr, have)
	}
	if len(queried) < 20 || dashboard.UID == "" || len(dashboard.Templating.List) != 2 {
		t.Errorf("%d metrics, uid %q, %d variables", len(queried), dashboard.UID, len(dashboard.Templating.List))
	}
}

// The alerts ask for what there is, and each says what to do.
func TestAlerts(t *testing.T) {
	rules := read(t, "prometheus-alerts.yml")
	have := offered(t)
	alerts := strings.Split(rules, "- alert: ")[1:]
	for _, a := range alerts {
		name, rest, _ := strings.Cut(a, "\n")
		expr := regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindStringSubmatch(rest)
		if expr == nil {
			t.Fatalf("%s has no expr in one line", name)
		}
		if check(t, name, expr[1], have) == 0 && !strings.HasPrefix(expr[1], "up{") {
			t.Errorf("%s asks for no metric", name)
		}
		for _, want := range []string{"severity: ", "summary: ", "remedy: "} {
			if !strings.Contains(rest, want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
	}
	if len(alerts) < 10 {
		t.Errorf("%d alerts", len(alerts))
	}
}

// Prometheus takes the alerts, and they fire when they should. Debian's package prometheus has promtool.
func TestAlertsInPrometheus(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for _, args := range [][]string{
		{"check", "rules", "prometheus-alerts.yml"},
		{"test", "rules", "testdata/alerts.test.yml"},
	} {
		cmd := exec.Command(promtool, args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
