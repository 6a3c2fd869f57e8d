package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

func TestNew(t *testing.T) {
	registry, err := nodes.New(nodes.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	status, ready := func() adminapi.Status { return adminapi.Status{} }, func() []string { return nil }
	for _, cfg := range []Config{
		{},
		{Nodes: registry},
		{Nodes: registry, Relays: &relays{}},
		{Nodes: registry, Relays: &relays{}, Status: status},
		{Nodes: registry, Relays: &relays{}, Status: status, NotReady: ready, MaxStreams: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	if _, err := New(Config{Nodes: registry, Relays: &relays{}, Status: status, NotReady: ready}); err != nil {
		t.Error(err)
	}
}

func TestEmptyAnswersHaveEveryKey(t *testing.T) {
	s := serve(t, "", nil)
	s.want("GET", "/api/nodes", "", 200, `{"nodes":[],"total":0}`)
	s.want("GET", "/api/allocations", "", 200, `{"allocations":[],"total":0}`)
	s.want("GET", "/api/bans", "", 200, `{"bans":[],"total":0}`)
	s.want("GET", "/api/nodes/nobody", "", 404, `{"error":"nothing is known of this Node"}`)
	s.want("GET", "/healthz", "", 200, `{"status":"ok"}`)
	s.want("GET", "/readyz", "", 200, `{"ready":true,"not_ready":[]}`)
	s.want("GET", "/api/status", "", 200, `~"listeners":[],"urls":[],`)
	s.want("GET", "/metrics", "", 404, `{"error":"no such path"}`)
	s.want("POST", "/api/test", "{}", 404, `{"error":"this server offers no test credentials"}`)
}

func TestReadiness(t *testing.T) {
	s := serve(t, "secret", nil)
	s.token = "" // none is needed
	s.setNotReady("turn", "draining")
	s.want("GET", "/readyz", "", 503, `{"ready":false,"not_ready":["turn","draining"]}`)
	s.want("HEAD", "/readyz", "", 503, "")
	s.want("GET", "/healthz", "", 200, `{"status":"ok"}`)
	s.want("GET", "/api/nodes", "", 401, "")
	s.want("GET", "/metrics", "", 401, "")
	s.want("GET", "/api/%6eodes", "", 401, "")
	s.want("GET", "//api/nodes", "", 404, `{"error":"no such path"}`)
	s.want("GET", "/../api/nodes", "", 404, `{"error":"no such path"}`)
}

func TestNodeAndItsBan(t *testing.T) {
	s := serve(t, "", nil)
	for _, id := range []string{"alice", "a/b?c#d", "..", ".", "%2F", `ü"<b>`, "a b+c", "😀", "-"} {
		s.relays.list = []adminapi.Allocation{allocation("1", id), allocation("2", "other"), allocation("3", id)}
		s.registry.Refused(id, "allocation refused: credential expired 42 s ago")
		path := "/api/nodes/" + strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
		var rec adminapi.NodeRecord
		_, _, data := s.do("GET", path, "")
		if err := json.Unmarshal([]byte(data), &rec); err != nil || rec.Node != id || rec.Banned || len(rec.Allocations) != 2 || len(rec.Events) != 1 {
			t.Fatalf("%s: %v %s", path, err, data)
		}
		quoted, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		s.want("POST", "/api/bans", fmt.Sprintf(`{"node":%s,"reason":"spam","for":"1h"}`, quoted), 201, fmt.Sprintf(`{"node":%s,"closed":2,"kept":true}`, quoted))
		s.want("GET", "/api/node?id="+url.QueryEscape(id), "", 200, `~"banned":true,"ban":{`)
		s.want("GET", "/api/bans", "", 200, `~"reason":"spam"`)
		s.want("DELETE", "/api/bans/"+strings.TrimPrefix(path, "/api/nodes/"), "", 204, "")
		s.want("DELETE", "/api/bans?id="+url.QueryEscape(id), "", 404, `{"error":"this Node is not banned"}`)
	}
}

func TestListsAreCutAndFiltered(t *testing.T) {
	s := serve(t, "", nil)
	for i := range 5 {
		id := fmt.Sprint("node", i)
		s.registry.Refused(id, "x")
		s.relays.list = append(s.relays.list, allocation(fmt.Sprint(i), id))
		s.want("POST", "/api/bans", `{"node":"ban`+id+`"}`, 201, `{"node":"ban`+id+`","closed":0,"kept":true}`)
	}
	for path, total := range map[string]int{
		"/api/nodes?limit=2": 10, "/api/nodes?q=de3&limit=2": 2, "/api/nodes?q=zzz": 0,
		"/api/allocations?limit=1": 5, "/api/allocations?node=node3": 1, "/api/allocations?node=": 0,
		"/api/bans?limit=3": 5, "/api/bans?q=node4": 1,
	} {
		s.want("GET", path, "", 200, fmt.Sprintf(`~],"total":%d}`, total))
	}
	_, _, data := s.do("GET", "/api/nodes?q=node3", "")
	if !strings.Contains(data, `"allocations":1,"bytes_in":1500,"bytes_out":2500000,"last_event":{"time":`) {
		t.Errorf("summary: %s", data)
	}
	for _, q := range []string{"0", "-1", "x", "1e3", "99999999999999999999"} {
		s.want("GET", "/api/nodes?limit="+q, "", 400, `{"error":"limit must be a number above 0"}`)
	}
	s.want("DELETE", "/api/allocations/3", "", 204, "")
	s.want("DELETE", "/api/allocations/3", "", 404, `{"error":"no live allocation has this id"}`)
	s.want("GET", "/api/allocations", "", 200, `~"total":4`)
}

func TestBadRequests(t *testing.T) {
	s := serve(t, "", nil)
	deep := strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"PUT", "/api/nodes", "", 405, `{"error":"this path takes GET"}`},
		{"POST", "/api/nodes", "{}", 405, `{"error":"this path takes GET"}`},
		{"OPTIONS", "/api/bans", "", 405, `{"error":"this path takes GET and POST and DELETE"}`},
		{"GET", "/api/allocations/x", "", 405, `{"error":"this path takes DELETE"}`},
		{"GET", "/api", "", 404, `{"error":"no such path"}`},
		{"GET", "/api/nodes/", "", 404, ``},
		{"GET", "/api/nodes/a/b", "", 404, `{"error":"no such path"}`},
		{"GET", "/api/nodes/%00%0a", "", 404, `{"error":"nothing is known of this Node"}`},
		{"DELETE", "/api/bans", "", 404, `{"error":"this Node is not banned"}`},
		{"POST", "/api/bans", "", 415, `{"error":"the body must have the type application/json"}`},
		{"POST", "/api/bans", "{", 400, ``},
		{"POST", "/api/bans", "null", 400, ``},
		{"POST", "/api/bans", "[]", 400, ``},
		{"POST", "/api/bans", `"x"`, 400, ``},
		{"POST", "/api/bans", `{} {}`, 400, ``},
		{"POST", "/api/bans", `{"node":5}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","fro":"1h"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","Node":"b"}`, 400, ``},
		{"POST", "/api/bans", `{"node":` + deep + `}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","reason":"` + strings.Repeat("x", maxBody) + `"}`, 413, ``},
		{"POST", "/api/bans", `{}`, 400, `{"error":"node id is empty"}`},
		{"POST", "/api/bans", `{"node":"a\u0000b"}`, 400, `{"error":"node id has a control character"}`},
		{"POST", "/api/bans", `{"node":"` + strings.Repeat("x", 257) + `"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","reason":"\u001b[2J"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"0s"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"-1h"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"0d"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"soon"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"99999d"}`, 400, ``},
		{"POST", "/api/bans", `{"node":"a","for":"9999999999h"}`, 400, ``},
	} {
		status, header, data := s.do(c.method, c.path, c.body)
		data = strings.TrimSuffix(data, "\n")
		var p adminapi.Problem
		if json.Unmarshal([]byte(data), &p) != nil || p.Error == "" || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %.60s: no JSON error: %q", c.method, c.path, c.body, data)
		}
		if status != c.status || c.answer != "" && data != c.answer {
			t.Errorf("%s %s %.60s: %d %s, want %d %s", c.method, c.path, c.body, status, data, c.status, c.answer)
		}
		if (status == 405) != (header.Get("Allow") != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, header.Get("Allow"))
		}
	}
	if status, _, _ := s.do("POST", "/api/bans", "{}", "Content-Type", "text/plain"); status != 415 {
		t.Errorf("text: %d", status)
	}
	if status, _, _ := s.do("POST", "/api/bans", `{"node":"a"}`, "Origin", "http://evil.example"); status != 403 {
		t.Errorf("foreign origin: %d", status)
	}
	if n := len(s.registry.Bans()); n != 0 {
		t.Errorf("%d bans were made", n)
	}
	if status, _, _ := s.do("POST", "/api/bans", `{"node":"a","for":"30d"}`, "Content-Type", "application/json; charset=utf-8"); status != 201 {
		t.Errorf("with a charset: %d", status)
	}
}

func TestTooManyBans(t *testing.T) {
	s := serve(t, "", func(c *Config) {
		var err error
		if c.Nodes, err = nodes.New(nodes.Config{DataDir: t.TempDir(), MaxBans: 1}); err != nil {
			t.Fatal(err)
		}
	})
	s.want("POST", "/api/bans", `{"node":"a"}`, 201, `{"node":"a","closed":0,"kept":true}`)
	s.want("POST", "/api/bans", `{"node":"b"}`, 409, `{"error":"too many bans: lift some first (1 of 1 in use)"}`)
}

func TestThousandBansOverHTTP(t *testing.T) {
	s := serve(t, "", nil)
	for i := range 1000 {
		s.relays.list = append(s.relays.list, allocation(fmt.Sprint(i), fmt.Sprint("n", i)))
	}
	client, err := adminapi.NewClient(s.url, "")
	if err != nil {
		t.Fatal(err)
	}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for i := range work {
				id := fmt.Sprint("n", i)
				if a, err := client.Ban(t.Context(), adminapi.BanRequest{Node: id}); err != nil || a.Closed != 1 {
					t.Errorf("ban %s: %+v %v", id, a, err)
				}
				if err := client.Unban(t.Context(), id); err != nil {
					t.Errorf("unban %s: %v", id, err)
				}
			}
		})
	}
	for i := range 1000 {
		work <- i
	}
	close(work)
	wg.Wait()
	if len(s.registry.Bans()) != 0 || len(s.relays.Allocations()) != 0 {
		t.Error("something is left over")
	}
}

func FuzzBanTime(f *testing.F) {
	for _, s := range []string{"", "1h", "365d", "0", "-1d", "1e9d", "1.5h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := banTime(s); err == nil && (d < 0 || d > maxBan || d == 0 && s != "") {
			t.Errorf("banTime(%q) = %v", s, d)
		}
	})
}

func TestPartsOfLists(t *testing.T) {
	s := serve(t, "", nil)
	s.registry.Validated([]string{"a", "b", "c"})
	for i, id := range []string{"c", "b", "a"} {
		a := allocation(id, id)
		a.Created = started.Add(time.Duration(i) * time.Second)
		a.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 4000)
		a.BytesIn, a.Drops = uint64((i+1)%3), uint64((i+2)%3)
		s.relays.list = append(s.relays.list, a)
		if _, err := s.registry.Ban("banned-"+id, "", 0); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"": "a b c 3", "?limit=2": "a b 3", "?limit=2&offset=2": "c 3", "?offset=1": "b c 3", "?offset=9": " 3",
		"?sort=newest": "a b c 3", "?sort=traffic": "b c a 3", "?sort=drops&limit=1": "c 3",
		"?q=192.0.2.1:": "b 1", "?q=c": "c 1", "?q=nobody": " 0", "?offset=1&limit=9223372036854775807": "b c 3",
	} {
		var list adminapi.AllocationList
		_, _, body := s.do("GET", "/api/allocations"+query, "")
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		ids := []string{}
		for _, a := range list.Allocations {
			ids = append(ids, a.ID)
		}
		if got := fmt.Sprintf("%s %d", strings.Join(ids, " "), list.Total); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for _, path := range []string{"/api/nodes", "/api/bans"} {
		_, _, all := s.do("GET", path, "")
		for i := range 3 {
			var one, whole map[string]json.RawMessage
			_, _, body := s.do("GET", fmt.Sprintf("%s?limit=1&offset=%d", path, i), "")
			if err := errors.Join(json.Unmarshal([]byte(body), &one), json.Unmarshal([]byte(all), &whole)); err != nil {
				t.Fatal(err)
			}
			key := path[len("/api/"):]
			var part, list []json.RawMessage
			if err := errors.Join(json.Unmarshal(one[key], &part), json.Unmarshal(whole[key], &list)); err != nil {
				t.Fatal(err)
			}
			if len(part) != 1 || string(part[0]) != string(list[i]) {
				t.Errorf("%s, %d: %s is not in place in %s", path, i, one[key], whole[key])
			}
		}
	}
	s.want("GET", "/api/bans?offset=-1", "", 400, `{"error":"offset must be 0 or a number above"}`)
}
