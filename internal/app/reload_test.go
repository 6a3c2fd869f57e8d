package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// site is everything running in this process, on ports of its own, with a configuration that a test rewrites.
type site struct {
	*App
	*Reloader
	t   testing.TB
	log logtest.Buffer
}

// startSite begins with these lines of configuration; a test that needs other ports or addresses has them in it.
func startSite(t testing.TB, text string, before ...func(*App)) *site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.toml")
	s := &site{t: t, Reloader: &Reloader{file: file}}
	s.write(text)
	var cfg *config.Config
	var err error
	if s.Reloader, cfg, err = NewReloader(file, nil, func(opts ...config.Option) (*config.Config, error) {
		return Load(file, append(opts, config.WithEnviron(nil))...)
	}); err != nil {
		t.Fatal(err)
	}
	often := Pace{Look: 10 * time.Millisecond, Ask: 20 * time.Millisecond}
	if s.App, err = New(cfg, newLog(t, &s.log, cfg), often); err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(s.App)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func newLog(t testing.TB, w io.Writer, cfg *config.Config) *logging.Logger {
	t.Helper()
	log, err := logging.New(w, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// Run runs the app alone: a test reloads by itself.
func (s *site) Run(ctx context.Context) error { return s.App.Run(ctx, nil) }

// reload does what the Reloader does when the file has changed.
func (s *site) reload() { s.Reloader.reload(s.t.Context(), s.App, false) }

// write makes the configuration of these lines and what every test needs. A line wins over those that are here.
func (s *site) write(text string) {
	s.t.Helper()
	tables := map[string]string{
		"": "drain_timeout = '0s'\n", "public": "ipv4 = '127.0.0.1'\nipv6 = 'off'\n", "turn": "listen = ['127.0.0.1:0']\nlisten_tls = []\nrelay_ports = '26000-26099'\n",
		"admin": "listen = '127.0.0.1:0'\n", "hooks": "listen = '127.0.0.1:0'\n",
		"broker": "listen = '127.0.0.1:0'\n",
	}
	name := ""
	var rest strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") {
			name = strings.Trim(line, "[]\n")
		}
		if _, ok := tables[name]; !ok {
			rest.WriteString(line)
			continue
		}
		key, _, set := strings.Cut(line, " = ")
		if !set {
			continue
		}
		kept := ""
		for old := range strings.Lines(tables[name]) {
			if !strings.HasPrefix(old, key+" = ") {
				kept += old
			}
		}
		tables[name] = kept + strings.TrimRight(line, "\n") + "\n"
	}
	all := []string{"public", "turn", "admin", "hooks", "broker"}
	if strings.HasPrefix(text, noBroker) {
		all = all[:4]
	}
	text = tables[""]
	for _, name := range all {
		text += "[" + name + "]\n" + tables[name]
	}
	if err := os.WriteFile(s.file, []byte(text+rest.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// noBroker begins a configuration that says nothing of the Broker.
const noBroker = "# nothing of the Broker\n"

// reloadTo applies another configuration, and fails where that was refused.
func (s *site) reloadTo(text string) {
	s.t.Helper()
	s.write(text)
	before := strings.Count(s.log.String(), "the changed configuration holds")
	s.reload()
	if strings.Count(s.log.String(), "the changed configuration holds") == before {
		s.t.Fatalf("refused:\n%s", s.log.String())
	}
}

func (s *site) post(path, body, token string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.hooks.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// client is a Node's, with a credential as the webhook would give it now.
func (s *site) client(node string) *turnclient.Client {
	s.t.Helper()
	c, err := s.keys.Issue(node, time.Hour, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.dial(turnclient.Options{Transport: "udp", Username: c.Username, Password: c.Password})
}

func (s *site) dial(o turnclient.Options) *turnclient.Client {
	s.t.Helper()
	if o.Addr == "" {
		for _, l := range s.turn.Listeners() {
			if l.Transport == o.Transport {
				o.Addr = l.Addr.String()
			}
		}
	}
	c, err := turnclient.Dial(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *site) allocate(c *turnclient.Client) netip.AddrPort {
	s.t.Helper()
	a, err := c.Allocate(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.Relayed
}

func TestReloadIsAllOrNothing(t *testing.T) {
	s := startSite(t, "")
	answer := func(data string) string {
		_, text := s.post("/authenticate-node", `{"id":"Alice","data":`+data+`}`, "")
		return text
	}
	if got := answer(`"x"`); !strings.Contains(got, `"authenticated":true`) {
		t.Fatalf("mode allow: %s", got)
	}
	token, line, err := policy.NewTokenLine("Alice")
	if err != nil {
		t.Fatal(err)
	}
	s.reloadTo(fmt.Sprintf("[hooks.authenticate]\nmode = \"tokens\"\ntokens = [%q]\n", line))
	if got := answer(`"x"`); !strings.Contains(got, `"authenticated":false`) {
		t.Errorf("mode tokens, wrong token: %s", got)
	}
	if got := answer(fmt.Sprintf("%q", token)); !strings.Contains(got, `"authenticated":true`) {
		t.Errorf("mode tokens, right token: %s", got)
	}

	// A broken file changes nothing and says all that is wrong with it. So does one whose mistake only a part finds.
	broken := "[turn]\nsoftware = 'new'\n[hooks.authenticate]\nmode = \"perhaps\"\n[hooks.authorize]\nmode = \"never\"\n"
	for text, names := range map[string][]string{
		broken: {"hooks.authenticate.mode", "hooks.authorize.mode"},
		"[turn]\nsoftware = 'new'\n[certs]\ncert_file = 'none.pem'\nkey_file = 'none.pem'\n": {"none.pem: "},
		"[public]\nipv6 = '2001:db8::1'\n[turn]\nsoftware = 'new'\n":                         {"public.ipv6: 2001:db8::1 is no address of this machine"},
	} {
		s.write(text)
		before := len(s.log.String())
		s.reload()
		said := s.log.String()[before:]
		for _, name := range append(names, "the changed configuration is refused, the old one holds") {
			if !strings.Contains(said, name) {
				t.Errorf("%q is not named:\n%s", name, said)
			}
		}
		if got := answer(`"x"`); !strings.Contains(got, `"authenticated":false`) || s.cfg().Turn.Software != "" {
			t.Errorf("after a broken file: %s, %+v", got, s.cfg().Turn)
		}
	}

	// What cannot change is named, in one line, and stays; what can does.
	s.reloadTo("[turn]\nrealm = 'other'\n[hooks]\nlisten = '127.0.0.1:1'\n[credentials]\nttl = '1h'\n[redis]\npassword = 'another'\n")
	if text := s.log.String(); !strings.Contains(text, `"some changes need a restart","component":"config","keys":["turn.realm","hooks.listen","redis.password"]`) {
		t.Errorf("the keys are not named:\n%s", text)
	}
	if c := s.cfg(); c.Credentials.TTL != time.Hour || c.Turn.Realm != "crolang" || c.Hooks.Listen != "127.0.0.1:0" || c.Redis.Password.IsSet() {
		t.Errorf("%+v", c)
	}
	if got := answer(`"x"`); !strings.Contains(got, `"authenticated":true`) {
		t.Errorf("mode allow again: %s", got)
	}
}

func TestReloadSecretAndTokens(t *testing.T) {
	const first, second = "the first secret, which is long enough", "the second secret, which is long enough"
	s := startSite(t, "[hooks]\ntoken = 'first-token'\n[credentials]\nsecret = '"+first+"'\n")
	live, old := s.client("a"), s.client("b")
	s.allocate(live)
	env := strings.Join(s.report.brokerEnv().Lines(), "\n")
	if !strings.Contains(env, "first-token") {
		t.Error(env)
	}

	s.reloadTo("[hooks]\ntoken = 'second-token'\n[credentials]\nsecret = '" + second + "'\nprevious_secrets = ['" + first + "']\n")
	s.allocate(old)
	s.allocate(s.client("c"))
	if _, err := live.Refresh(t.Context(), time.Minute); err != nil {
		t.Errorf("a live allocation of a previous secret: %v", err)
	}
	stale := s.client("d")
	for token, want := range map[string]int{"first-token": 401, "second-token": 200} {
		if code, _ := s.post("/authenticate-node", `{"id":"Alice"}`, token); code != want {
			t.Errorf("%s: %d, want %d", token, code, want)
		}
	}
	if env := strings.Join(s.report.brokerEnv().Lines(), "\n"); !strings.Contains(env, "second-token") {
		t.Error(env)
	}

	s.reloadTo("[credentials]\nsecret = '" + first + "x'\n")
	if _, err := stale.Allocate(t.Context(), nil); turnclient.Code(err) != 401 {
		t.Errorf("with a secret that is gone: %v", err)
	}
	// A secret that is taken out altogether is one that is not to be trusted any more: not even to keep what it opened.
	if _, err := live.Refresh(t.Context(), time.Minute); turnclient.Code(err) != 401 {
		t.Errorf("a live allocation of a secret that is gone: %v", err)
	}
	if code, _ := s.post("/authenticate-node", `{"id":"Alice"}`, ""); code != 200 {
		t.Errorf("without a token on loopback: %d", code)
	}
	if strings.Contains(s.log.String(), "long enough") || strings.Contains(s.log.String(), "-token") {
		t.Errorf("the log has a secret:\n%s", s.log.String())
	}
}

func TestReloadAnswers(t *testing.T) {
	s := startSite(t, "")
	resolve := func() string {
		_, text := s.post("/resolve-rtc-configuration", `{"id":"Alice"}`, "")
		return text
	}
	if got := resolve(); !strings.Contains(got, `"bundlePolicy":"max-bundle"`) || !strings.Contains(got, "turn:127.0.0.1:") {
		t.Fatal(got)
	}
	s.reloadTo("[public]\nhost = 'turn.example.org'\n[turn]\nsoftware = 'renamed'\n[hooks]\nmax_body = '64KiB'\n" +
		"[hooks.rtc]\nbundle_policy = 'balanced'\nextra_ice_servers = [{urls = ['stun:stun.example.org']}]\n")
	for _, want := range []string{`"bundlePolicy":"balanced"`, "turn:turn.example.org:", "stun:stun.example.org"} {
		if got := resolve(); !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if code, _ := s.post("/authenticate-node", `{"id":"Alice","data":"`+strings.Repeat("x", 64<<10)+`"}`, ""); code != 413 {
		t.Errorf("a body over hooks.max_body: %d", code)
	}
	id := turnclient.NewID()
	m, err := s.client("a").Exchange(t.Context(), stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := m.Get(stunmsg.AttrSoftware); string(v) != "renamed" {
		t.Errorf("SOFTWARE is %q", v)
	}
}

func TestReloadLog(t *testing.T) {
	s := startSite(t, "[log]\nlevel = 'error'\nformat = 'json'\n")
	part := s.part("test").WithGroup("g").With("k", 1)
	part.Info("unseen")
	s.write("[log]\nlevel = 'debug'\nformat = 'text'\n")
	s.reload()
	part.Debug("two")
	part.Debug("three")
	s.reloadTo("[log]\nformat = 'json'\n")
	part.Info("four")
	text := s.log.String()
	if strings.Contains(text, "unseen") || strings.Count(text, "g.k=1") != 2 || !strings.Contains(text, `"msg":"four","component":"test","g":{"k":1}`) {
		t.Error(text)
	}
}

// A file that was truncated, or a pipe that has been read, must not put every setting back to its default: that lets
// everybody in.
func TestReloadOfNothing(t *testing.T) {
	s := startSite(t, "[hooks.authenticate]\nmode = 'deny'\n")
	denied := func(after string) {
		t.Helper()
		if _, body := s.post("/authenticate-node", `{"id":"n","data":{}}`, ""); !strings.Contains(body, "false") {
			t.Errorf("%s: %s", after, body)
		}
	}
	if err := os.Truncate(s.file, 0); err != nil {
		t.Fatal(err)
	}
	s.reload()
	denied("a file that was emptied")
	if !strings.Contains(s.log.String(), errEmptied.Error()) {
		t.Error(s.log.String())
	}
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	file := s.file
	s.file = fmt.Sprintf("/proc/self/fd/%d", pipe.Fd())
	if _, err := os.Stat(s.file); err == nil {
		s.reload() // would not return, since other is open
		denied("a pipe")
		if !strings.Contains(s.log.String(), errPipe.Error()) {
			t.Error(s.log.String())
		}
	}
	s.file = file
	s.reloadTo("[hooks.authenticate]\nmode = 'deny'\n[log]\nlevel = 'debug'\n")
}

// What an editor or a copy has not finished writing is not applied.
func TestFileThatGrowsIsAwaited(t *testing.T) {
	s := startSite(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Reloader.For(s.App)(ctx) }()
	defer func() { cancel(); <-done }()
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	every := time.NewTicker(reloadPoll / 10)
	defer every.Stop()
	for range 25 { // some looks at it
		if _, err := f.WriteString("# more\n"); err != nil {
			t.Fatal(err)
		}
		<-every.C
	}
	if text := s.log.String(); strings.Contains(text, "configuration holds") {
		t.Error(text)
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.log.String(), "configuration holds"); <-every.C {
		if time.Now().After(end) {
			t.Fatal("never applied")
		}
	}
}

// An operator who changes the file wants to know what of it holds now, and what of it is unwise.
func TestReloadSaysWhatChanged(t *testing.T) {
	s := startSite(t, "")
	last := func() string {
		lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
		return lines[len(lines)-1]
	}
	s.reloadTo("drain_timeout = '7s'\n[turn.limits]\nallocations = 5\n")
	if want := `"keys":["drain_timeout","turn.limits.allocations"]`; !strings.Contains(last(), want) {
		t.Errorf("%s\nlacks %s", last(), want)
	}
	s.reloadTo("drain_timeout = '7s'\n[turn]\nrealm = 'other'\n[turn.limits]\nallocations = 5\n")
	if want := "until a restart it changes nothing"; !strings.Contains(last(), want) {
		t.Errorf("%s\nlacks %s", last(), want)
	}
	const unwise = "turn.peers.allow has 0.0.0.0/0"
	for range 2 {
		s.reloadTo("[turn.peers]\nallow = ['0.0.0.0/0']\n")
	}
	if n := strings.Count(s.log.String(), unwise); n != 1 {
		t.Errorf("%d times %q in\n%s", n, unwise, s.log.String())
	}
	if want := "it changes no setting that is in use"; !strings.Contains(last(), want) {
		t.Errorf("%s\nlacks %s", last(), want)
	}
}
