package app

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// Two machines behind one name: one asks the CA, which comes to either, and both serve what it gives. Redis has nothing of it that
// can be read.
func TestFleetCertificate(t *testing.T) {
	ca, server := acmetest.Start(t, acmetest.Options{}), redistest.Serve(t)
	ca.Set("add-a", map[string]any{"host": "turn.example.org.", "addresses": []string{"127.0.0.1", "127.0.0.2"}})
	var all []*site
	for i := range 2 {
		all = append(all, startSite(t, fmt.Sprintf("[credentials]\nsecret = 'the secret of the fleet'\n[fleet]\nredis_url = 'redis://%s'\nname = 'm%d'\n"+
			"[turn]\nlisten_tls = ['127.0.0.%d:%d']\n[certs.acme]\nenabled = true\ndomains = ['turn.example.org']\ndirectory = '%s'\nca_file = '%s'\nchallenges = ['tls-alpn-01']\n",
			server.Addr, i, i+1, ca.TLSPort, ca.URL, ca.RootFile)))
	}
	shown := func(i int) string {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.%d:%d", i+1, ca.TLSPort), &tls.Config{ServerName: "turn.example.org", RootCAs: ca.Roots(), MinVersion: tls.VersionTLS12})
		if err != nil {
			return ""
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	await(t, "a machine does not serve the certificate", func() bool { return shown(0) != "" && shown(0) == shown(1) })
	got := map[string]uint64{}
	for _, s := range all {
		for what, n := range s.certs.Attempts() {
			got[what] += n
		}
	}
	if got["obtained"] != 1 || got["taken"] != 1 {
		t.Errorf("%v", got)
	}
	client, err := redisurl.Open("redis://" + server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*vault*").Result()
	if err != nil || len(keys) < 2 {
		t.Errorf("%q, %v", keys, err)
	}
	for _, k := range keys {
		if v := client.Get(t.Context(), k).Val(); strings.Contains(v, "KEY") || strings.Contains(v, "{") {
			t.Errorf("%q can be read: %q", k, v)
		}
	}
}

// A machine that starts with another configuration than those that are there says so itself, of each of them, and in its log.
func TestFleetDiffersAtTheStart(t *testing.T) {
	server := redistest.Serve(t)
	startFleet(t, server, []string{"one"}, "")
	for what, text := range map[string]string{
		"another hooks.authorize, turn.realm than this one": "[credentials]\nsecret = 'the secret of the fleet'\n[turn]\nrealm = 'other'\n[hooks.authorize]\nmode = 'deny'\n",
		"another credentials.secret: neither":               "[credentials]\nsecret = 'another secret'\n",
	} {
		odd := startSite(t, fmt.Sprintf("%s[fleet]\nredis_url = 'redis://%s'\nname = 'odd'\n", text, server.Addr))
		await(t, "it does not say "+what, func() bool {
			for _, f := range odd.found.All() {
				if f.ID == "fleet.machine.one" && strings.Contains(f.Detail, what) {
					return strings.Contains(odd.log.String(), what)
				}
			}
			return false
		})
	}
}
