package webguard

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// start runs a Guard on a free port until the test ends.
func start(t *testing.T, cfg Config) *Guard {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return g
}

func get(t *testing.T, g *Guard, path string, set func(*http.Request)) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+g.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestToken(t *testing.T) {
	var logged bytes.Buffer
	var refused atomic.Int32
	g := start(t, Config{
		Settings: Settings{Token: "s3cret-token"},
		Logger:   slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Refused:  func(*http.Request, int) { refused.Add(1) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s|%s|%v", r.RequestURI, r.URL, r.Header["Authorization"])
		}),
	})
	header := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, c := range []struct {
		name, path string
		set        func(*http.Request)
		want       int
	}{
		{"none", "/", nil, 401},
		{"bearer", "/", header("Bearer s3cret-token"), 200},
		{"bearer in lower case", "/", header("bearer  s3cret-token"), 200},
		{"wrong bearer", "/", header("Bearer s3cret-tokem"), 401},
		{"empty bearer", "/", header("Bearer "), 401},
		{"prefix", "/", header("Bearer s3cret"), 401},
		{"longer", "/", header("Bearer s3cret-token!"), 401},
		{"no scheme", "/", header("s3cret-token"), 401},
		{"basic", "/", basic("broker", "s3cret-token"), 200},
		{"basic without a name", "/", basic("", "s3cret-token"), 200},
		{"token as the name", "/", basic("s3cret-token", ""), 401},
		{"basic with a colon behind", "/", basic("broker", "s3cret-token:"), 401},
		{"basic that is no base64", "/", header("Basic !!!"), 401},
		{"query", "/?token=s3cret-token", nil, 200},
		{"query among others", "/?a=b&token=s3cret%2Dtoken&c=d", nil, 200},
		{"wrong query", "/?token=x", nil, 401},
		{"query in another case", "/?Token=s3cret-token", nil, 401},
		{"broken escape", "/?token=%zz", nil, 401},
		{"wrong header, right query", "/?token=s3cret-token", header("Bearer x"), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := refused.Load()
			status, body := get(t, g, c.path, c.set)
			if status != c.want {
				t.Errorf("status %d, want %d", status, c.want)
			}
			if status == 401 && (body != "" || refused.Load() != before+1) {
				t.Errorf("body %q, %d refused", body, refused.Load()-before)
			}
			if strings.Contains(body, "s3cret") {
				t.Errorf("the handler saw the token: %s", body)
			}
		})
	}
	if _, body := get(t, g, "/?a=b&token=s3cret-token&c=d", nil); body != "/?a=b&c=d|/?a=b&c=d|[]" {
		t.Errorf("the rest of the query: %s", body)
	}
	if strings.Contains(logged.String(), "s3cret") {
		t.Errorf("the token was logged: %s", &logged)
	}
}

func TestNoTokenNeeded(t *testing.T) {
	g := start(t, Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if status, _ := get(t, g, "/", nil); status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestHostAndOrigin(t *testing.T) {
	g := start(t, Config{
		CheckHost: OwnHosts,
		Settings:  Settings{Hosts: []string{"admin.example", "192.0.2.7"}},
		Machine:   []string{"[2001:db8::7]"},
		Handler:   http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	})
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:8084", "", 200},
		{"localhost:8084", "", 200},
		{"LOCALHOST.", "", 200},
		{"[::1]:8084", "", 200},
		{"127.9.9.9", "", 200},
		{"admin.example", "", 200},
		{"192.0.2.7:1", "", 200},
		{"[2001:db8::7]", "", 200},
		{"evil.example:8084", "", 403},
		{"localhost.evil.example", "", 403},
		{"192.0.2.8", "", 403},
		{"localhost:8084", "http://localhost:8084", 200},
		{"LocalHost:8084", "http://localhost:8084", 200},
		{"admin.example", "https://admin.example", 200},
		{"admin.example:443", "https://admin.example", 200},
		{"localhost:8084", "http://localhost:9999", 403},
		{"localhost:8084", "http://evil.example", 403},
		{"localhost:8084", "null", 403},
		{"localhost:8084", "file://localhost:8084", 403},
		{"localhost:8084", "http://localhost:8084.evil.example", 403},
		{"localhost", "::", 403},
	} {
		t.Run(c.host+" "+c.origin, func(t *testing.T) {
			status, body := get(t, g, "/", func(r *http.Request) {
				r.Host = c.host
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
			})
			if status != c.want || (body != "") != (status == 403) {
				t.Errorf("status %d, want %d; body %q", status, c.want, body)
			}
		})
	}
}

// TestForeignFetchMetadata tries what a browser says of requests that carry no Origin: images, scripts, frames,
// no-cors.
func TestForeignFetchMetadata(t *testing.T) {
	g := start(t, Config{CheckHost: OwnHosts, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	for _, c := range []struct {
		method, site, mode, dest string
		want                     int
	}{
		{"GET", "same-origin", "cors", "empty", 200},
		{"POST", "same-origin", "cors", "empty", 200},
		{"GET", "none", "navigate", "document", 200},
		{"GET", "cross-site", "navigate", "document", 200}, // a link
		{"POST", "cross-site", "navigate", "document", 403},
		{"GET", "cross-site", "navigate", "iframe", 403},
		{"GET", "cross-site", "no-cors", "image", 403},
		{"GET", "cross-site", "no-cors", "script", 403},
		{"GET", "same-site", "no-cors", "empty", 403}, // another port of this machine
		{"GET", "cross-site", "cors", "empty", 403},
		{"DELETE", "cross-site", "cors", "empty", 403},
		{"GET", "of a browser to come", "", "", 403},
	} {
		t.Run(strings.Join([]string{c.method, c.site, c.mode, c.dest}, " "), func(t *testing.T) {
			status, body := get(t, g, "/", func(r *http.Request) {
				r.Method = c.method
				r.Header.Set("Sec-Fetch-Site", c.site)
				r.Header.Set("Sec-Fetch-Mode", c.mode)
				r.Header.Set("Sec-Fetch-Dest", c.dest)
			})
			if status != c.want || (body != "") != (status == 403) {
				t.Errorf("status %d, want %d; body %q", status, c.want, body)
			}
		})
	}
}

func TestOwnAddressIsAHost(t *testing.T) {
	r, _ := http.NewRequest(http.MethodGet, "http://198.51.100.4:8084/", nil)
	local := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 4), Port: 8084}
	if !ownAddress("198.51.100.4", r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))) {
		t.Error("the address that the connection came to is refused")
	}
}

func TestInFlightWaits(t *testing.T) {
	var now, most atomic.Int32
	entered, release := make(chan struct{}, 64), make(chan struct{})
	g := start(t, Config{
		InFlight: 3,
		Exempt: func(r *http.Request) Exemption {
			if r.URL.Path == "/free" {
				return NoQueue
			}
			return 0
		},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/free" {
				return
			}
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			entered <- struct{}{}
			<-release
			now.Add(-1)
		}),
	})
	const requests = 20
	statuses := make(chan int, requests)
	for range requests {
		go func() {
			response, err := http.Get("http://" + g.Addr().String())
			if err != nil {
				statuses <- 0
				return
			}
			response.Body.Close()
			statuses <- response.StatusCode
		}()
	}
	for range 3 {
		<-entered
	}
	if status, _ := get(t, g, "/free", nil); status != 200 {
		t.Errorf("exempt from the queue: %d", status)
	}
	close(release)
	for range requests {
		if status := <-statuses; status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d in flight, want 3", most.Load())
	}
}

func TestWaitingOutlastsTimeouts(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	g := start(t, Config{
		InFlight:     1,
		BodyTimeout:  100 * time.Millisecond,
		WriteTimeout: 100 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				entered <- struct{}{}
				<-release
				return
			}
			text, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %v", text, err)
		}),
	})
	go func() {
		if response, err := http.Get("http://" + g.Addr().String() + "/first"); err == nil {
			response.Body.Close()
		}
	}()
	<-entered
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	response, err := http.Post("http://"+g.Addr().String()+"/second", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); string(text) != "hello <nil>" {
		t.Errorf("%q", text)
	}
}

func TestSlowHeaderAndBodyAreCut(t *testing.T) {
	g := start(t, Config{
		HeaderTimeout: 50 * time.Millisecond,
		BodyTimeout:   100 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestTimeout)
			}
		}),
	})
	for name, text := range map[string]string{
		"silence":     "",
		"half header": "POST / HTTP/1.1\r\nHost: x\r\n",
		"half body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", g.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("not closed: %v", err)
			}
		})
	}
}

func TestBigHeaderIsRefused(t *testing.T) {
	g := start(t, Config{MaxHeaderBytes: 4096, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if status, _ := get(t, g, "/", func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 64<<10)) }); status != 431 {
		t.Errorf("status %d", status)
	}
}

// TestStrangersCannotLockOut opens more connections than there may be and says nothing on them.
func TestStrangersCannotLockOut(t *testing.T) {
	g := start(t, Config{MaxConns: 8, Settings: Settings{Token: "t"}, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	broker, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	answers := bufio.NewReader(broker)
	call := func() {
		t.Helper()
		if _, err := io.WriteString(broker, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", response, err)
		}
	}
	call()
	var silent []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	for _, c := range silent[:43] { // the oldest, which give way once the others are accepted
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a connection that says nothing has kept its place: %v", err)
		}
	}
	call() // the old connection is still there
	if n := g.Lost()["displaced"]; n < 43 {
		t.Errorf("%d of 51 connections are counted as displaced, for 8 places", n)
	}
	if status, _ := get(t, g, "/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer t"); r.Close = true }); status != 200 {
		t.Errorf("a new connection: %d", status)
	}
}

// TestBusyConnectionsStay fills all places with requests in flight: a new connection waits until one ends.
func TestBusyConnectionsStay(t *testing.T) {
	entered, release := make(chan struct{}, 8), make(chan struct{})
	g := start(t, Config{MaxConns: 2, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			entered <- struct{}{}
			<-release
		}
	})})
	var all sync.WaitGroup
	fetch := func(path string) {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			response, err := client.Get("http://" + g.Addr().String() + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			response.Body.Close()
		})
	}
	fetch("/busy")
	fetch("/busy")
	<-entered
	<-entered
	fetch("/third")
	close(release)
	all.Wait()
}

func TestPanicEndsOnlyItsConnection(t *testing.T) {
	var logged bytes.Buffer
	g := start(t, Config{
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("out of\nspoons")
			}
		}),
	})
	for range 3 {
		if response, err := http.Get("http://" + g.Addr().String() + "/panic?token=s3cret"); err == nil {
			response.Body.Close()
			t.Error("a panic was answered")
		}
	}
	if n := g.Lost()["panicked"]; n < 3 { // a client may try again
		t.Errorf("%d panics are counted", n)
	}
	if status, _ := get(t, g, "/", nil); status != 200 {
		t.Errorf("status %d", status)
	}
	if text := logged.String(); !strings.Contains(text, `out of\nspoons`) || strings.Contains(text, "s3cret") || strings.Count(text, "\n") != 1 {
		t.Errorf("log: %s", text)
	}
}

func TestShutdown(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	g, err := New(Config{Key: "hooks.listen", Listen: "127.0.0.1:0", StopTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		fmt.Fprint(w, "done")
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	silent, err := net.Dial("tcp", g.Addr().String()) // Shutdown alone would wait 5 s for it
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + g.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		answer <- string(text)
	}()
	<-entered
	began := time.Now()
	cancel()
	close(release)
	if text := <-answer; text != "done" {
		t.Errorf("the request in flight: %s", text)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	entered := make(chan struct{})
	g, err := New(Config{Listen: "127.0.0.1:0", StopTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	go func() {
		if response, err := http.Get("http://" + g.Addr().String()); err == nil {
			response.Body.Close()
		}
	}()
	<-entered
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestBindErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	handler := http.NotFoundHandler()
	for _, c := range []struct {
		name, listen string
		want         error
	}{
		{"port in use", taken.Addr().String(), syscall.EADDRINUSE},
		{"not ours", "192.0.2.1:0", syscall.EADDRNOTAVAIL},
		{"nonsense", "nonsense", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(Config{Key: "hooks.listen", Listen: c.listen, Handler: handler})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if text := err.Error(); !strings.HasPrefix(text, "hooks.listen: ") || strings.Contains(text, "\n") {
				t.Errorf("error %q", text)
			}
		})
	}
	if _, err := New(Config{Key: "hooks.listen", Listen: "127.0.0.1:0"}); err == nil {
		t.Error("no handler, no error")
	}
}

func TestGivenListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Listener: listener, Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	if g.Addr().String() != listener.Addr().String() {
		t.Errorf("bound to %s", g.Addr())
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("a closed Guard ran")
	}
}
