package policy

import (
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	cfg := Config{Authorize: Authorize{
		Mode:   ModeRules,
		Groups: map[string][]string{"staff": {"Alice", "boss-*"}, "cams": {"cam-*", "door-[0-9]"}},
		Rules: []Rule{
			{From: "boss-evil", To: "*", Action: ModeDeny},
			{From: "@staff", To: "@cams", Action: ModeAllow},
			{From: "@cams", To: "@staff", Action: ModeAllow},
			{From: "cam-*", To: "cam-*", Action: ModeDeny},
			{From: "Bob", To: "*", Action: ModeAllow},
		},
	}}
	p := run(t, cfg)
	for _, c := range []struct {
		from, to, cause string
	}{
		{"Alice", "cam-1", ""},
		{"boss-1", "door-7", ""},
		{"boss-evil", "door-7", "rule 1 of hooks.authorize.rules (boss-evil to *)"},
		{"cam-1", "Alice", ""},
		{"cam-1", "cam-2", "rule 4 of hooks.authorize.rules (cam-* to cam-*)"},
		{"Alice", "Alice", causeNoRule},
		{"Bob", "anybody", ""},
		{"anybody", "Bob", causeNoRule},
	} {
		if ok, cause := authorize(t, p, c.from, c.to, nil); ok != (c.cause == "") || cause != c.cause {
			t.Errorf("%s to %s: %v %q, want %q", c.from, c.to, ok, cause, c.cause)
		}
	}
	cfg.Authorize.Default = ModeAllow
	if err := replace(p, cfg); err != nil {
		t.Fatal(err)
	}
	if ok, cause := authorize(t, p, "anybody", "Bob", nil); !ok || cause != "" {
		t.Errorf("default allow: %v %q", ok, cause)
	}
}

func TestFixedModes(t *testing.T) {
	p := run(t, Config{})
	for _, mode := range []string{ModeAllow, ModeDeny} {
		if err := replace(p, Config{Authenticate: Authenticate{Mode: mode}, Authorize: Authorize{Mode: mode}}); err != nil {
			t.Fatal(err)
		}
		ok, cause := authenticate(t, p, "a", nil, nil)
		if ok != (mode == ModeAllow) || ok != (cause == "") {
			t.Errorf("authenticate %s: %v %q", mode, ok, cause)
		}
		ok, cause = authorize(t, p, "a", "b", nil)
		if ok != (mode == ModeAllow) || ok != (cause == "") {
			t.Errorf("authorize %s: %v %q", mode, ok, cause)
		}
	}
	if p.NeedsBody() || len(invalid(t, p, "a")) > 0 {
		t.Error("somebody is invalid")
	}
	p.Message(Message{From: "a", To: "b", Body: []byte(`{}`)})
	if s := p.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
}

func TestRuleErrors(t *testing.T) {
	const key = "hooks.authorize.rules"
	all := Rule{From: "*", To: "*", Action: ModeAllow}
	for name, c := range map[string]struct {
		cfg       Authorize
		key, part string
	}{
		"mode":    {Authorize{Mode: "maybe"}, "hooks.authorize.mode", `"maybe" is none of allow, deny, rules, upstream`},
		"default": {Authorize{Default: "maybe"}, "hooks.authorize.default", "none of"},
		"none":    {Authorize{Mode: ModeRules}, key, "empty"},
		"action":  {Authorize{Rules: []Rule{{From: "a", To: "b", Action: "permit"}}}, key, "rule 1: action"},
		"no from": {Authorize{Rules: []Rule{all, {To: "b", Action: ModeDeny}}}, key, "rule 2: from: the pattern is empty"},
		"glob":    {Authorize{Rules: []Rule{{From: "a", To: "[", Action: ModeDeny}}}, key, "rule 1: to: "},
		"group":   {Authorize{Rules: []Rule{{From: "@x", To: "b", Action: ModeDeny}}}, key + "[0].from", `no group "@x"`},
		"near group": {Authorize{Groups: map[string][]string{"admins": {"a"}}, Rules: []Rule{{From: "a", To: "@admin", Action: ModeDeny}}}, key + "[0].to",
			`no group "@admin" in hooks.authorize.groups; did you mean "@admins"?`},
		"never":           {Authorize{Rules: []Rule{{From: "a\tb", To: "b", Action: ModeDeny}}}, key, "can never match"},
		"shadowed by all": {Authorize{Rules: []Rule{all, {From: "a", To: "{b,c}", Action: ModeDeny}}}, key, "rule 2 can never match: rule 1"},
		"shadowed": {Authorize{Rules: []Rule{{From: "a*", To: "b", Action: ModeAllow}, {From: "c", To: "b", Action: ModeAllow},
			{From: "ab*", To: "b", Action: ModeDeny}}}, key, "rule 3 can never match: rule 1"},
		"shadowed by group": {Authorize{Groups: map[string][]string{"g": {"a", "b*"}, "h": {"bc", "a"}},
			Rules: []Rule{{From: "@g", To: "@g", Action: ModeAllow}, {From: "@h", To: "a", Action: ModeDeny}}}, key, "rule 2 can never match: rule 1"},
		"empty group":  {Authorize{Groups: map[string][]string{"g": {}}}, "hooks.authorize.groups.g", "empty"},
		"nested group": {Authorize{Groups: map[string][]string{"g": {"a", "@h"}}}, "hooks.authorize.groups.g", "entry 2"},
		"group glob":   {Authorize{Groups: map[string][]string{"g": {"{"}}}, "hooks.authorize.groups.g", "entry 1: the pattern has a {"},
	} {
		t.Run(name, func(t *testing.T) { wantMistake(t, Check(Config{Authorize: c.cfg}), c.key, c.part) })
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	err := Check(Config{
		Authenticate: Authenticate{Mode: "x", Tokens: []string{"y"}, JWT: JWT{JWKSURL: "ftp://z", Leeway: -1}},
		Authorize:    Authorize{Mode: "x", Rules: []Rule{{}}},
		Messages:     Messages{Mode: ModeUpstream},
		Upstream:     Upstream{AuthorizeURL: "nonsense", Timeout: -1, Token: "a b", MessageQueue: 1 << 30, MessageWorkers: 1000},
	})
	text := err.Error()
	for _, key := range []string{"hooks.authenticate.mode", "hooks.authenticate.tokens", "hooks.authenticate.jwt.jwks_url", "hooks.authenticate.jwt.leeway",
		"hooks.authorize.mode", "hooks.authorize.rules", "hooks.upstream.messages_url", "hooks.upstream.authorize_url", "hooks.upstream.timeout",
		"hooks.upstream.token", "hooks.upstream.message_queue", "hooks.upstream.message_workers"} {
		if !strings.Contains(text, key+": ") {
			t.Errorf("%s is missing in:\n%s", key, text)
		}
	}
	if strings.Contains(text, "a b") {
		t.Errorf("the token is shown:\n%s", text)
	}
}
