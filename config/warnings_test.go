package config

import (
	"slices"
	"strings"
	"testing"
)

const long = "d1f2a3b4c5968778695a4b3c2d1e0f9a" // 32 characters

func TestWarnings(t *testing.T) {
	const noTurns = `hooks.rtc.advertise_tls is "always", and no turns: URL is told: that takes an address in turn.listen_tls, and tls or dtls in turn.transports`
	for _, c := range []struct {
		text string
		want []string
	}{
		{"credentials.secret = '" + long + "'", nil},
		{"credentials.secret = 'kZ8-pQ3_vX1'", []string{"credentials.secret is shorter than 32 characters and can be guessed"}},
		{"credentials.secret = 'the-secret'", []string{"credentials.secret is one that everybody knows: use 32 random characters"}},
		{"credentials.secret = '" + long + "'\ncredentials.previous_secrets = ['" + long + "', 'north', '" + long + "x']", []string{
			"credentials.previous_secrets, entry 1, is credentials.secret itself: put the one from before there",
			"credentials.previous_secrets, entry 2, is one that everybody knows: use 32 random characters",
		}},
		{"hooks.token = 'Password123'", []string{"hooks.token is one that everybody knows: use 32 random characters"}},
		{"admin.token = 'secret-secret-secret-secret-secret'", []string{"admin.token is one that everybody knows: use 32 random characters"}},
		{"hooks.upstream.token = '00000000000000000000000000000000'", []string{"hooks.upstream.token is one that everybody knows: use 32 random characters"}},
		{"redis.password = 'test'", nil},
		{"redis.enabled = true\nredis.password = 'test'", []string{"redis.password is one that everybody knows: use 32 random characters"}},
		{"redis.enabled = true\nredis.listen = ':6379'", []string{"redis.listen is :6379: the Redis in this process is for development only"}},
		{"hooks.allow_no_token = true\nadmin.allow_no_token = true", nil},
		{"hooks.allow_no_token = true\nadmin.allow_no_token = true\nhooks.listen = ':8083'\nadmin.listen = '0.0.0.0:8084'", []string{
			"hooks.allow_no_token is true: whoever reaches :8083 is given credentials",
			"admin.allow_no_token is true: whoever reaches 0.0.0.0:8084 can ban Nodes and end their relays",
		}},
		{"turn.peers.deny = ['10.0.0.0/8']\nturn.peers.allow = ['::/0', '10.1.0.0/16']", []string{
			`turn.peers.deny is without "recommended": relays can reach this machine and the networks behind it`,
			"turn.peers.allow has ::/0, which undoes turn.peers.deny",
		}},
		{"hooks.authenticate = {tokens = ['a'], jwt = {secret = '" + long + "'}}\nhooks.authorize.rules = [{from = 'a', to = 'b', action = 'allow'}]\n" +
			"hooks.upstream = {authenticate_url = 'http://a', authorize_url = 'http://a', messages_url = 'http://a', validity_url = 'http://a'}", []string{
			`hooks.authenticate.tokens has no effect: hooks.authenticate.mode is "allow", not "tokens"`,
			`hooks.authenticate.jwt has no effect: hooks.authenticate.mode is "allow", not "jwt"`,
			`hooks.authorize.rules has no effect: hooks.authorize.mode is "allow", not "rules"`,
			`hooks.upstream.authenticate_url has no effect: hooks.authenticate.mode is "allow", not "upstream"`,
			`hooks.upstream.authorize_url has no effect: hooks.authorize.mode is "allow", not "upstream"`,
			`hooks.upstream.messages_url has no effect: hooks.messages.mode is "count", not "upstream"`,
		}},
		{"hooks.authenticate = {mode = 'jwt', jwt = {jwks_url = 'http://id.example.org'}}", []string{
			"hooks.authenticate.jwt.jwks_url is without TLS: whoever is on the way can let anybody in",
		}},
		{"hooks.authenticate = {mode = 'jwt', jwt = {jwks_url = 'http://localhost:1'}}", nil},
		{"turn.offload = 'auto'", nil},
		{"turn.offload = 'auto'\nturn.limits.total_bits_per_second = 1", []string{
			`turn.offload is "auto", and turn.limits.bits_per_second or total_bits_per_second is set: the kernel relays nothing`,
		}},
		{"hooks.rtc.advertise_tls = 'always'\nturn.transports = ['udp', 'dtls']", nil},
		{"hooks.rtc.advertise_tls = 'always'\nturn.listen_tls = []", []string{noTurns}},
		{"hooks.rtc.advertise_tls = 'always'\nturn.transports = ['udp', 'tcp']", []string{noTurns}},
	} {
		cfg, err := Load(write(t, t.TempDir(), "x.toml", c.text), WithEnviron(nil))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := cfg.Warnings(); !slices.Equal(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestOffloadUnderLimits(t *testing.T) {
	for text, want := range map[string]string{
		"turn.offload = 'require'":                                              "",
		"turn.offload = 'auto'\nturn.limits.bits_per_second = 1_000_000":        "",
		"turn.offload = 'off'\nturn.limits.bits_per_second = 1_000_000":         "",
		"turn.offload = 'require'\nturn.limits.bits_per_second = 1_000_000":     `turn.offload: is "require", and turn.limits.bits_per_second is set`,
		"turn.offload = 'require'\nturn.limits.total_bits_per_second = 900_000": `turn.offload: is "require", and turn.limits.total_bits_per_second is set`,
	} {
		_, err := Load(write(t, t.TempDir(), "x.toml", text), WithEnviron(nil))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
