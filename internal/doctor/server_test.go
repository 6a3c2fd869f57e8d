package doctor

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// stub is a server of this program as far as its admin API and webhooks go.
type stub struct {
	fleet   adminapi.Fleet
	status  adminapi.Status
	metrics string
	token   string // asked for by the webhooks
	conf    string // the RTC configuration
	record  *adminapi.NodeRecord
	drops   func() uint64    // of every allocation; nil: there are none
	resolve http.HandlerFunc // in place of the webhook
}

const goodMetrics = "# TYPE x gauge\ncrolang_aio_turn_relay_ports 100\ncrolang_aio_turn_relay_ports_used 3\nprocess_max_fds 1024\n"

func goodStub() stub {
	now := time.Now().UTC()
	return stub{
		status:  adminapi.Status{Version: "v1", Now: now, Started: now.Add(-time.Hour), BrokerSeen: now.Add(-time.Minute)},
		metrics: goodMetrics,
		conf:    fmt.Sprintf(`{"iceServers":[{"urls":["stun:127.0.0.1:1"]},{"urls":["turn:127.0.0.1:1"],"username":"%d:n","credential":"c"}]}`, now.Add(time.Hour).Unix()),
	}
}

// examine serves the stub and runs the doctor on it.
func (s stub) examine(t *testing.T, change func(*Local, *Config)) []Finding {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.status) })
	mux.HandleFunc("GET /api/fleet", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s.fleet) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.metrics) })
	mux.HandleFunc("GET /api/allocations", func(w http.ResponseWriter, r *http.Request) {
		var list adminapi.AllocationList
		if relayed, err := netip.ParseAddrPort(r.URL.Query().Get("q")); err == nil && s.drops != nil {
			list.Allocations = []adminapi.Allocation{{Relayed: relayed, Drops: s.drops()}}
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("GET /api/node", func(w http.ResponseWriter, _ *http.Request) {
		if s.record == nil {
			http.Error(w, `{"error":"nothing"}`, http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(s.record)
	})
	mux.HandleFunc("POST /resolve-rtc-configuration", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.resolve != nil:
			s.resolve(w, r)
		case s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = fmt.Fprintf(w, `{"rtcConfiguration":%s}`, s.conf)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	client, err := adminapi.NewClient(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Local: &Local{Admin: client, AdminURL: server.URL, HooksURL: server.URL, HooksToken: s.token, Realm: realm}}
	if change != nil {
		change(cfg.Local, &cfg)
	}
	return examine(t, cfg)
}

func TestLocal(t *testing.T) {
	now := time.Now().UTC()
	for _, c := range []struct {
		name   string
		make   func(s *stub)
		change func(*Local, *Config)
		status Status
		check  string
		texts  []string
	}{
		{"in order", nil, nil, OK, "clock", []string{"agree"}},
		{"in order", nil, nil, OK, "broker", []string{"60 seconds ago"}},
		{"in order", nil, nil, OK, "ports", []string{"97 of 100 relay ports are free"}},
		{"clock an hour ahead", func(s *stub) { s.status.Now = now.Add(time.Hour + time.Minute) }, nil, Fail, "clock", []string{"60 minutes ahead", "NTP"}},
		{"clock an hour behind", func(s *stub) { s.status.Now = now.Add(-time.Hour) }, nil, Fail, "clock", []string{"60 minutes behind"}},
		{"clock ten seconds off", func(s *stub) { s.status.Now = now.Add(-10 * time.Second) }, nil, Warn, "clock", []string{"seconds behind"}},
		{"clock of the webhooks alone", nil, func(l *Local, cfg *Config) {
			l.Admin = nil
			cfg.Now = func() time.Time { return time.Now().Add(-2*time.Hour - time.Minute) }
		}, Fail, "clock", []string{"2 hours ahead"}},
		{"expired on arrival", func(s *stub) {
			s.conf = fmt.Sprintf(`{"iceServers":[{"urls":["stun:127.0.0.1:1"],"username":"%d:n"}]}`, now.Add(-time.Hour).Unix())
		}, nil, Fail, "credential", []string{"expired 60 minutes ago by this clock"}},
		{"another secret", nil, func(l *Local, _ *Config) { l.Secret = "another-secret-another-secret-another" }, Fail, "credential", []string{"another secret than this configuration", "restart"}},
		{"certificate that cannot be used", func(s *stub) {
			s.status.Warnings = []findings.Finding{{ID: "certificate.unusable", Detail: "no pair", Remedy: "mend it"}}
		}, nil, Fail, "certificate", []string{"no pair", "mend it"}},
		{"certificate that nobody is shown", func(s *stub) {
			s.status.Warnings = []findings.Finding{{ID: "certificate.expired", Detail: "it is over", Remedy: "renew it"}}
		}, nil, Warn, "certificate", []string{"it is over"}},
		{"short credentials", func(s *stub) {
			s.conf = fmt.Sprintf(`{"iceServers":[{"urls":["stun:127.0.0.1:1"],"username":"%d:n"}]}`, now.Add(30*time.Second).Unix())
		}, nil, Warn, "credential", []string{"seconds only", "credentials.ttl"}},
		{"no TURN", func(s *stub) { s.conf = `{"iceServers":[{"urls":["stun:127.0.0.1:1"]}]}` }, nil, Fail, "credential", []string{"no TURN URL", "turn.transports"}},
		{"nothing to tell", func(s *stub) { s.resolve = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) } }, nil, Fail, "webhooks", []string{"no URL that clients could be told", "hooks.rtc.advertise_tls"}},
		{"listener that is not up", nil, func(l *Local, _ *Config) { l.Listen = []string{"127.0.0.1:9"} }, Fail, "listener", []string{"127.0.0.1:9", "restart the server"}},
		{"very many URLs", func(s *stub) {
			s.conf = `{"iceServers":[{"urls":["stun:127.0.0.1:1"` + strings.Repeat(`,"stun:127.0.0.1:1"`, 999) + `]}]}`
		}, nil, Warn, "webhooks", []string{"told 1000 URLs", "first 64"}},
		{"no Broker for long", func(s *stub) { s.status.BrokerSeen = now.Add(-3 * time.Hour) }, nil, Warn, "broker", []string{"for 3 hours", "broker-env"}},
		{"the Broker inside", func(s *stub) { s.status.BrokerSeen, s.status.NodesURL = time.Time{}, "http://127.0.0.1:8080" }, nil, OK, "broker", []string{"http://127.0.0.1:8080"}},
		{"the Broker on loopback, for others", func(s *stub) {
			s.status.BrokerSeen, s.status.NodesURL, s.status.Public.Host = time.Time{}, "http://127.0.0.1:8080", "turn.example.org"
		}, nil, Warn, "broker", []string{"only Nodes on this machine", "https.serve"}},
		{"never a Broker", func(s *stub) { s.status.BrokerSeen = time.Time{} }, nil, Warn, "broker", []string{"since the start 60 minutes ago"}},
		{"starting", func(s *stub) { s.status.NotReady = []string{"starting"} }, nil, Fail, "ready", []string{"not ready: starting"}},
		{"draining", func(s *stub) { s.status.Draining = true }, nil, Fail, "ready", []string{"draining"}},
		{"the server's own warning", func(s *stub) {
			s.status.Warnings = []findings.Finding{{ID: "config", Detail: "a key is odd", Remedy: "change it"}}
		}, nil, Warn, "warning", []string{"a key is odd", "change it"}},
		{"token in force", func(s *stub) { s.token = "hush" }, nil, OK, "token", []string{"refuse calls without the token"}},
		{"token not in force", nil, func(l *Local, _ *Config) { l.HooksToken = "hush" }, Fail, "token", []string{"without the token, too"}},
		{"another service", func(s *stub) {
			s.resolve = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
		}, nil, Fail, "webhooks", []string{"not this program's webhooks"}},
		{"webhooks broken", func(s *stub) {
			s.status.URLs = []string{"stun:127.0.0.1:1"}
			s.resolve = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
		}, nil, Fail, "webhooks", []string{"status 500"}},
		{"webhooks silent", func(s *stub) {
			s.resolve = func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }
		}, func(_ *Local, cfg *Config) { cfg.Patience = 100 * time.Millisecond }, Fail, "webhooks", []string{"do not answer"}},
		{"no ports left", func(s *stub) { s.metrics = strings.Replace(goodMetrics, "used 3", "used 100", 1) }, nil, Fail, "ports", []string{"0 of 100"}},
		{"few ports left", func(s *stub) { s.metrics = strings.Replace(goodMetrics, "used 3", "used 95", 1) }, nil, Warn, "ports", []string{"5 of 100"}},
		{"few files", func(s *stub) { s.metrics = strings.Replace(goodMetrics, "fds 1024", "fds 128", 1) }, nil, Warn, "files", []string{"128 files", "100 allocations", "LimitNOFILE"}},
		{"name elsewhere", func(s *stub) {
			s.status.URLs, s.status.Public.IPv4 = []string{"stun:turn.test:1"}, "203.0.113.9"
		}, func(_ *Local, cfg *Config) { cfg.Lookup = at("198.51.100.7") }, Warn, "public", []string{"turn.test resolves to 198.51.100.7", "no address of this machine", "203.0.113.9"}},
		{"name here", func(s *stub) {
			s.status.URLs, s.status.Public.IPv4 = []string{"stun:turn.test:1"}, "203.0.113.9"
		}, func(_ *Local, cfg *Config) { cfg.Lookup = at("203.0.113.9") }, OK, "public", []string{"turn.test resolves to 203.0.113.9"}},
		{"address of a NAT", func(s *stub) { s.status.Public.IPv4 = "203.0.113.9" }, nil, OK, "public", []string{"203.0.113.9", "a NAT has to forward"}},
		{"private address", func(s *stub) { s.status.URLs = []string{"stun:10.98.0.1:1"} }, nil, Warn, "public", []string{"10.98.0.1, a private address", "public.ipv4"}},
		{"listener that is dead", func(s *stub) {
			s.status.Listeners = []adminapi.Listener{{Part: "turn", Transport: "tcp", Address: "127.0.0.1:1"}}
		}, nil, Fail, "listener", []string{"TCP listener 127.0.0.1:1 does not answer", "refused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := goodStub()
			if c.make != nil {
				c.make(&s)
			}
			want(t, s.examine(t, c.change), c.status, c.check, c.texts...)
		})
	}
}

func TestLocalServerOfAnotherKind(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	client, err := adminapi.NewClient(web.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	got := examine(t, Config{Local: &Local{Admin: client, AdminURL: web.URL}})
	want(t, got, Fail, "server", "not this program's admin listener", "admin.listen")
}

// What only the server knows of a refusal is asked of it.
func TestLocalRefusals(t *testing.T) {
	udp, _ := turnServer(t, relays{}, nil)
	refusing := fake{codes: map[stunmsg.Type]int{stunmsg.AllocateRequest: 401}}.serve(t)
	full, _ := turnServer(t, relays{quota: -1}, nil)
	now := time.Now().UTC()
	for _, c := range []struct {
		name, url, password string
		make                func(s *stub)
		realm               string
		texts               []string
	}{
		{"banned", refusing, "wrong", func(s *stub) { s.record = &adminapi.NodeRecord{Banned: true} }, realm, []string{"the Node is banned", "unban"}},
		{"expired by its clock", refusing, "wrong", func(s *stub) {
			s.record = &adminapi.NodeRecord{Events: []nodes.Event{{Kind: nodes.KindRefused, Failed: true, Detail: "allocation refused: credential expired 1h0m0s ago"}}}
		}, realm, []string{"credential expired 1h0m0s ago", "check the clock"}},
		{"another realm", udp, "wrong", nil, "mine", []string{`its realm is "example.org" and not "mine"`, "another TURN server"}},
		{"quota", full, password, func(s *stub) { s.status.Limits = map[string]int64{"turn.limits.allocations_per_node": 7} }, realm, []string{"turn.limits.allocations_per_node is 7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := goodStub()
			s.conf = fmt.Sprintf(`{"iceServers":[{"urls":["turn:%s"],"username":"%d:n","credential":%q}]}`, c.url, now.Add(time.Hour).Unix(), c.password)
			if c.make != nil {
				c.make(&s)
			}
			got := s.examine(t, func(l *Local, _ *Config) { l.Realm = c.realm })
			want(t, got, Fail, "allocate", c.texts...)
		})
	}
}

// That datagrams arrive at the relay ports of this machine is seen by what the server counts.
func TestArrival(t *testing.T) {
	udp, _ := turnServer(t, relays{}, nil)
	var arrived atomic.Uint64
	for _, c := range []struct {
		name   string
		drops  func() uint64
		status Status // of ports; empty: nothing is said
		texts  []string
		check  string
	}{
		{"they arrive", func() uint64 { return arrived.Add(1) }, "", nil, ""},
		{"they do not", func() uint64 { return 7 }, Fail, []string{"do not arrive at the relay port", "they are filtered", "20000-24999"}, "ports"},
		{"of another server", nil, Fail, []string{"another TURN server answers", "no allocation with the relayed address"}, "listener"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := goodStub()
			s.drops = c.drops
			told := "turn:" + udp + "?transport=udp"
			s.status.URLs = []string{told}
			s.conf = fmt.Sprintf(`{"iceServers":[{"urls":[%q],"username":"%d:n","credential":%q}]}`, told, time.Now().Add(time.Hour).Unix(), password)
			got := s.examine(t, func(l *Local, _ *Config) { l.PortMin, l.PortMax = 20000, 24999 })
			if c.status != "" {
				want(t, got, c.status, c.check, c.texts...)
			} else {
				wantNo(t, about(got, told), Fail)
			}
		})
	}
}

func TestCertificateFile(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now()
	good := ca.issue(t, now.Add(-time.Hour), now.Add(2000*time.Hour), false, true)
	old := ca.issue(t, now.Add(-1000*time.Hour), now.Add(-time.Hour), false, true)
	write := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "pair.pem")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certOf := func(c *tls.Config) string {
		return write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificates[0].Certificate[0]}))
	}
	keyOf := func(c *tls.Config) string {
		der, err := x509.MarshalPKCS8PrivateKey(c.Certificates[0].PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		return write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	_, served := turnServer(t, relays{}, good)
	_, expired := turnServer(t, relays{}, old)
	gone := filepath.Join(t.TempDir(), "gone.pem")
	for _, c := range []struct {
		name, server, file, key string
		status                  Status
		texts                   []string
	}{
		{"the same", served, certOf(good), keyOf(good), OK, []string{"valid for turn.test"}},
		{"the same, expired", expired, certOf(old), keyOf(old), Fail, []string{"expired 60 minutes ago"}},
		{"another", served, certOf(old), keyOf(old), Fail, []string{"another certificate", "look in the server's log"}},
		{"garbage", served, write([]byte("x")), keyOf(good), Fail, []string{"are no pair: failed to find any PEM data", "give the two files of one pair"}},
		{"mismatched", served, certOf(good), keyOf(old), Fail, []string{"are no pair: private key does not match", "the server still shows the one that it had"}},
		{"none", served, gone, keyOf(good), Fail, []string{"cannot be read", "gone.pem", "put it back"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := goodStub()
			s.status.Public.Host = "turn.test"
			s.status.Listeners = []adminapi.Listener{{Part: "turn", Transport: "tls", Address: c.server}}
			got := s.examine(t, func(l *Local, cfg *Config) {
				cfg.Roots, l.CertFile, l.KeyFile = ca.roots(), c.file, c.key
			})
			want(t, got, c.status, "certificate", c.texts...)
			want(t, got, OK, "listener", "all 1 TURN listeners")
			if c.name != "none" {
				return
			}
			s.status.Certificate = &adminapi.Certificate{Kind: "self-signed"}
			got = s.examine(t, func(l *Local, cfg *Config) {
				cfg.Roots, l.CertFile = ca.roots(), c.file
			})
			want(t, got, Warn, "certificate", "gone.pem is not there", "the next start make another")
		})
	}
}

// redisServer answers lines as a Redis with this password does; open: also without it.
func redisServer(t *testing.T, password string, open bool) string {
	t.Helper()
	return listenTCP(t, func(c net.Conn) {
		go func() {
			in := bufio.NewReader(c)
			known := password == "" || open
			for {
				var words []string
				n := 0
				if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
					return
				}
				for range n {
					size, word := 0, ""
					if _, err := fmt.Fscanf(in, "$%d\r\n%s\r\n", &size, &word); err != nil {
						return
					}
					words = append(words, word)
				}
				switch {
				case words[0] == "AUTH" && words[1] == password:
					known = true
					_, _ = io.WriteString(c, "+OK\r\n")
				case words[0] == "PING" && known:
					_, _ = io.WriteString(c, "+PONG\r\n")
				default:
					_, _ = io.WriteString(c, "-NOAUTH no\r\n")
				}
			}
		}()
	})
}

func TestRedis(t *testing.T) {
	for _, c := range []struct {
		name, addr, password string
		status               Status
		text                 string
	}{
		{"open", redisServer(t, "", true), "", OK, "answers at"},
		{"with its password", redisServer(t, "hush-hush", false), "hush-hush", OK, "answers at"},
		{"with another password", redisServer(t, "hush-hush", false), "other", Fail, "NOAUTH"},
		{"password not in force", redisServer(t, "hush-hush", true), "hush-hush", Fail, "without its password, too"},
		{"nothing there", "127.0.0.1:1", "", Fail, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := goodStub().examine(t, func(l *Local, _ *Config) { l.Redis, l.RedisPassword = c.addr, c.password })
			want(t, got, c.status, "redis", c.text)
			if strings.Contains(text(got), "hush-hush") {
				t.Error("the password was printed")
			}
		})
	}
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hooks.token")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	look := func(path string) []Finding {
		return goodStub().examine(t, func(l *Local, _ *Config) { l.DataDir = path })
	}
	os.Chmod(dir, 0o755)
	want(t, look(dir), Fail, "data_dir", "others on this machine", "(0755)", "hooks.token (0644)", "chmod 700")
	os.Chmod(dir, 0o700)
	want(t, look(dir), OK, "data_dir", "has room")
	want(t, look(filepath.Join(dir, "none")), Fail, "data_dir", "is not there", "from a backup")
	off := goodStub().examine(t, func(l *Local, _ *Config) { l.DataDir, l.Admin = filepath.Join(dir, "none"), nil })
	want(t, off, Fail, "data_dir", "is not there", "crolang-aio serve")
	want(t, look(file), Fail, "data_dir", "is no folder")
}

func TestReservedPorts(t *testing.T) {
	for list, in := range map[string]bool{"": false, "8080": false, "49152-65535": true, "1-2,50000\n": true, "50001-": false} {
		if inPorts(list, 50000) != in {
			t.Errorf("%q: %v", list, !in)
		}
	}
}

// What the server itself has found wrong with an address is not said a second time in other words.
func TestPublicSaidOnce(t *testing.T) {
	s := goodStub()
	s.status.URLs, s.status.Public.IPv4 = []string{"stun:10.98.0.1:1"}, "10.98.0.1"
	s.status.Warnings = []findings.Finding{{ID: "public.container", Detail: "this runs in Docker", Remedy: "set public.ipv4"}}
	var said []string
	for _, f := range s.examine(t, nil) {
		if f.Check == "public" {
			said = append(said, f.Detail)
		}
	}
	if len(said) != 1 || said[0] != "this runs in Docker" {
		t.Errorf("%q", said)
	}
}

func TestDays(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 119 * time.Second: "119 seconds", 2 * time.Minute: "2 minutes", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days",
	} {
		if got := days(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
