package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// asked runs a command against a server that answers every request alike.
func asked(t *testing.T, answer any, args ...string) (out, request string, code int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r.Method + " " + r.URL.String()
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("[admin]\nlisten = '"+strings.TrimPrefix(server.URL, "http://")+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var both bytes.Buffer
	code = Main(append([]string{"crolang-aio", "--config", file}, args...), &both, &both)
	return both.String(), request, code
}

func TestUsageCommand(t *testing.T) {
	used := adminapi.UsageRecord{In: 1_500_000, Out: 2_000, Seconds: 3725.5, Allocations: 3, Messages: 4}
	month := adminapi.UsageMonth{
		Month: "2026-11", Sum: used, Total: 3,
		Nodes: []adminapi.UsageLine{{Node: "alice", UsageRecord: used}, {Node: "=1+1\x1b[31m"}},
	}
	out, request, code := asked(t, month, "usage", "--month", "2026-11")
	want := "2026-11       SENT    RECEIVED  BOTH    RELAYING FOR  ALLOCATIONS  MESSAGES\n" +
		"all Nodes     1.5 MB  2.0 kB    1.5 MB  1h2m          3            4\n" +
		"alice         1.5 MB  2.0 kB    1.5 MB  1h2m          3            4\n" +
		"=1+1\\x1b[31m  0 B     0 B       0 B     0s            0            0\n2 of 3 shown\n"
	if code != 0 || out != want || request != "GET /api/usage?limit=200&month=2026-11" {
		t.Errorf("%d %s\n%s\nwant\n%s", code, request, out, want)
	}
	out, request, code = asked(t, month, "usage", "--csv")
	want = "month,node,wire_bytes_in,wire_bytes_out,seconds,allocations,messages\n" +
		"2026-11,alice,1500000,2000,3725.500,3,4\n2026-11,'=1+1\x1b[31m,0,0,0.000,0,0\n"
	if code != 0 || out != want || request != "GET /api/usage" {
		t.Errorf("%d %s\n%s", code, request, out)
	}
	if out, _, code = asked(t, month, "usage", "--json"); code != 0 || !strings.Contains(out, `"wire_bytes_in": 1500000`) {
		t.Errorf("%d %s", code, out)
	}
	if out, _, code = asked(t, adminapi.UsageMonth{Month: "2026-10"}, "usage"); code != 0 || out != "nothing was used in 2026-10\n" {
		t.Errorf("%d %s", code, out)
	}
	one := adminapi.UsageOfNode{Node: "a b", Months: []adminapi.UsageOfMonth{{Month: "2026-11", UsageRecord: used}, {Month: "2026-09"}}}
	out, request, code = asked(t, one, "usage", "a b")
	want = "MONTH    SENT    RECEIVED  BOTH    RELAYING FOR  ALLOCATIONS  MESSAGES\n" +
		"2026-11  1.5 MB  2.0 kB    1.5 MB  1h2m          3            4\n2026-09  0 B     0 B       0 B     0s            0            0\n"
	if code != 0 || out != want || request != "GET /api/usage/node?id=a+b" {
		t.Errorf("%d %s\n%s", code, request, out)
	}
	if out, _, code = asked(t, one, "usage", "--csv", "a b"); code != 0 || !strings.HasSuffix(out, "\n2026-09,a b,0,0,0.000,0,0\n") {
		t.Errorf("%d %s", code, out)
	}
	for _, args := range [][]string{{"usage", "--csv", "--json"}, {"usage", "--month", "11"}, {"usage", "--month", "2026-11", "alice"}, {"usage", "a", "b"}, {"forget"}} {
		if out, request, code := asked(t, one, args...); code != exitUsage || request != "" {
			t.Errorf("%v: %d %s %s", args, code, request, out)
		}
	}
	if out, request, code = asked(t, nil, "forget", "alice"); code != 0 || out != "deleted what was kept of alice\n" || request != "DELETE /api/node?id=alice" {
		t.Errorf("%d %s %s", code, request, out)
	}
}
