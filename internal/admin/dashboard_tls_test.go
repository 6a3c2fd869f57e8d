package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// TestDashboardTestsTLS gives the page a turns: URL that Nodes are not told. A browser refuses its self-signed certificate
// without a word of why, so the page says it; one that was told to trust any certificate uses it.
func TestDashboardTestsTLS(t *testing.T) {
	for _, c := range []struct {
		name, done string
		flags      []string
		want       []string
	}{
		{
			"refused", "Done: 1 of 2 URLs work from this browser. A Node needs only one that does.", nil,
			[]string{"fails", "browsers trust no self-signed certificate: set certs.cert_file"},
		},
		{"trusted", "Done: all 2 URLs work from this browser.", []string{"--ignore-certificate-errors"}, []string{"works", "(tls)", " ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var server *turnServer
			s := serve(t, "", func(cfg *Config) {
				cfg.Status = func() adminapi.Status {
					return adminapi.Status{Started: started, Certificate: &adminapi.Certificate{SelfSigned: true}}
				}
				cfg.RTC = func(node string) (json.RawMessage, error) {
					cred := server.credential(node)
					return json.Marshal(map[string]any{"iceServers": []map[string]any{{
						"urls": "turn:" + server.address("udp") + "?transport=udp", "username": cred.Username, "credential": cred.Password,
					}}})
				}
			})
			server = startTURN(t, s.registry)
			p := openPage(t, append(c.flags, "--disable-features=WebRtcHideLocalIpsWithMdns")...)
			p.size(390, 844, true)
			p.open(s.url + "/#/test")
			heading(p, "Browser test")
			p.eval(`document.querySelector("form details").open = true; document.querySelector("input[name=extra]").focus()`)
			p.typeText(fmt.Sprintf("turns:%s?transport=tcp", server.address("tls")))
			p.key("Enter")
			p.wait(fmt.Sprintf(`document.querySelector("#test-state").textContent === %q`, c.done))
			p.shot("test-tls-" + c.name)
			row := p.eval(`document.querySelectorAll("tbody tr")[1].textContent`)
			for _, want := range c.want {
				if !strings.Contains(row, want) {
					t.Errorf("%q is not in %s", want, row)
				}
			}
			checkAccessibility(p, axeCore(t), "test results on a phone")
			p.clean()
		})
	}
}
