package doctor

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestUpstreams(t *testing.T) {
	answers := httptest.NewServer(http.NotFoundHandler()) // any answer will do
	t.Cleanup(answers.Close)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	free := listenTCP(t, func(net.Conn) {}) // says nothing
	closes := listenTCP(t, func(c net.Conn) { _ = c.Close() })
	for _, c := range []struct {
		name, url string
		status    Status
		texts     []string
	}{
		{"answers", answers.URL + "/authenticate", OK, []string{"hooks.upstream.authenticate_url answers at http://127.0.0.1:"}},
		{"refused", "http://127.0.0.1:1/", Fail, []string{"refused", "start your own webhook"}},
		{"silent", "http://" + free + "/", Fail, []string{"no answer", "firewall"}},
		{"ends", "http://" + closes + "/", Fail, []string{"authenticate_url cannot be reached at"}},
		{"unknown name", "http://upstream.invalid/", Fail, []string{"does not resolve", "DNS"}},
		{"certificate of nobody", secure.URL, Fail, []string{"its certificate is not accepted", "trusts"}},
		{"no URL", "http://[::1", Fail, []string{"is no URL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := goodStub()
			got := s.examine(t, func(l *Local, cfg *Config) {
				if c.name == "silent" {
					cfg.Patience = 500 * time.Millisecond // the others answer, however busy the machine is
				}
				l.Upstreams = []Upstream{{"hooks.upstream.authenticate_url", strings.Replace(c.url, "://", "://user:hush@", 1)}}
			})
			want(t, got, c.status, "upstream", c.texts...)
			if strings.Contains(text(got), "hush") {
				t.Errorf("the password is shown:\n%s", text(got))
			}
		})
	}
}

// Without a server the pair of files is judged all the same.
func TestFilesWithoutAServer(t *testing.T) {
	got := examine(t, Config{Local: &Local{CertFile: "gone.pem", KeyFile: "gone.key", Upstreams: []Upstream{{"hooks.upstream.validity_url", "http://127.0.0.1:1/"}}}})
	want(t, got, Fail, "certificate", "gone.pem cannot be read")
	want(t, got, Fail, "upstream", "validity_url cannot be reached")
}
