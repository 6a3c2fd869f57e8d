package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
)

// startApp runs everything in this process on ports of its own, with extra lines of configuration.
func startApp(t *testing.T, log io.Writer, extra string) (*app, *reloader) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.toml")
	write := func(extra string) {
		t.Helper()
		text := fmt.Sprintf("[public]\nipv4 = \"127.0.0.1\"\nipv6 = \"off\"\n[turn]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = []\n"+
			"relay_ports = \"26000-26099\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[hooks]\nlisten = \"127.0.0.1:0\"\n%s", extra)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(extra)
	r := &reloader{file: file, load: func() (*config.Config, error) {
		return config.Load(file, config.WithCheck(checkPolicy), config.WithEnviron(nil))
	}}
	cfg, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, slog.New(slog.NewTextHandler(log, nil)), new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	r.app = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, r
}

func (a *app) post(t *testing.T, path, body string) string {
	t.Helper()
	res, err := http.Post("http://"+a.hooks.Addr().String()+path, "application/json", strings.NewReader(body)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReloadIsAllOrNothing(t *testing.T) {
	var log lockedBuffer
	a, r := startApp(t, &log, "")
	node := func(data string) string { return a.post(t, "/authenticate-node", `{"id":"Alice","data":`+data+`}`) }
	if got := node(`"x"`); !strings.Contains(got, `"authenticated":true`) {
		t.Fatalf("mode allow: %s", got)
	}
	token, line, err := policy.NewTokenLine("Alice")
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(extra string) {
		t.Helper()
		b, err := os.ReadFile(r.file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(b), "[hooks]")
		if err := os.WriteFile(r.file, []byte(head+"[hooks]\nlisten = \"127.0.0.1:0\"\n"+extra), 0o600); err != nil {
			t.Fatal(err)
		}
		r.reload()
	}

	rewrite(fmt.Sprintf("[hooks.authenticate]\nmode = \"tokens\"\ntokens = [%q]\n", line))
	if got := node(`"x"`); !strings.Contains(got, `"authenticated":false`) {
		t.Errorf("mode tokens, wrong token: %s", got)
	}
	if got := node(fmt.Sprintf("%q", token)); !strings.Contains(got, `"authenticated":true`) {
		t.Errorf("mode tokens, right token: %s", got)
	}

	// A broken file changes nothing and says all that is wrong with it.
	rewrite("[hooks.authenticate]\nmode = \"perhaps\"\n[hooks.authorize]\nmode = \"never\"\n")
	if got := node(`"x"`); !strings.Contains(got, `"authenticated":false`) {
		t.Errorf("after a broken file: %s", got)
	}
	if text := log.String(); !strings.Contains(text, "hooks.authenticate.mode") || !strings.Contains(text, "hooks.authorize.mode") {
		t.Errorf("the mistakes are not named:\n%s", text)
	}

	// What cannot change is named and stays; what can does.
	rewrite("max_body = \"1MiB\"\n[credentials]\nttl = \"1h\"\n")
	if text := log.String(); !strings.Contains(text, "some changes need a restart") || !strings.Contains(text, "hooks.max_body") {
		t.Errorf("the key is not named:\n%s", text)
	}
	if a.cfg().Credentials.TTL != time.Hour || a.cfg().Hooks.MaxBody != 16<<20 {
		t.Errorf("ttl %v, max_body %d", a.cfg().Credentials.TTL, a.cfg().Hooks.MaxBody)
	}
	if got := node(`"x"`); !strings.Contains(got, `"authenticated":true`) {
		t.Errorf("mode allow again: %s", got)
	}
}

func TestChangedFileIsNoticed(t *testing.T) {
	var log lockedBuffer
	_, r := startApp(t, &log, "")
	before := r.stamp()
	b, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file, append(b, "\n# changed\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.stamp() == before {
		t.Error("a changed file looks as before")
	}
}
