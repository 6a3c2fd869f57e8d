package config

import (
	"strings"
	"testing"
)

// What Text prints of a key can be given to its variable, and means the same.
func TestTextReadsBack(t *testing.T) {
	c, err := Load("../example.toml", WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		text, err := k.Text(c)
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		back := *c
		if k.decode(&back, k.fromEnv(text)) != nil || !k.same(c, &back) && text != "" && text != "{}" {
			t.Errorf("%s: %q does not read back", k.Name, text)
		}
	}
}

func TestTextHidesSecrets(t *testing.T) {
	const secret = "thirty-two-characters-or-more-of-it"
	var environ []string
	for _, k := range Keys() {
		switch {
		case k.Name == "admin.read_token":
			environ = append(environ, k.Env+"=another-"+secret)
		case k.Name == "fleet.redis_url":
			environ = append(environ, k.Env+"=redis://user:"+secret+"@127.0.0.1:6379")
		case k.Name == "hooks.rtc.extra_ice_servers":
			environ = append(environ, k.Env+`=[{urls = ["turn:turn.example.org"], username = "u", password = "`+secret+`"}]`)
		case k.Secret:
			environ = append(environ, k.Env+"="+secret)
		}
	}
	sources := map[string]string{}
	c, err := Load("", WithEnviron(environ), WithSources(sources))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, k := range Keys() {
		text, err := k.Text(c)
		if err != nil || strings.Contains(text, secret) {
			t.Errorf("%s: %v, %q", k.Name, err, text)
		}
		if k.Secret {
			if n++; !strings.Contains(text, hidden) || sources[k.Name] != k.Env {
				t.Errorf("%s is %q from %q", k.Name, text, sources[k.Name])
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d secrets", n)
	}
}
