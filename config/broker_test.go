package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Beyond loopback everybody is let in only where somebody has said so, in the file or by a reload that keeps the listener.
func TestBrokerForEverybody(t *testing.T) {
	exposed := "[broker]\nlisten = \":8080\"\n"
	for text, taken := range map[string]bool{
		"":                            true,
		exposed:                       false,
		exposed + "enabled = false\n": true,
		exposed + "open = true\n":     true,
		exposed + "[hooks.authenticate]\nmode = \"deny\"\n":                                        true,
		"[broker]\nlisten = \"127.0.0.2:8080\"\n":                                                  true,
		"[broker]\nlisten = \"192.0.2.1:8080\"\n[hooks.authenticate]\nmode = \"allow\"\n":          false,
		"[broker]\nlisten = \"[::1]:8080\"\n[hooks.authenticate]\nmode = \"allow\"\n":              true,
		"[broker]\nlisten = \"[::ffff:192.0.2.1]:8080\"\nopen = false\nenabled = true\n":           false,
		"[broker]\nlisten = \"192.0.2.1:8080\"\nopen = false\n[hooks.authenticate]\nmode=\"deny\"": true,
	} {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file, WithEnviron(nil))
		switch {
		case taken && err != nil:
			t.Errorf("%s: %v", text, err)
		case !taken && (err == nil || !strings.Contains(err.Error(), "broker.open = true") || !strings.Contains(err.Error(), "hooks.authenticate.mode")):
			t.Errorf("%s: %v", text, err)
		case taken && c.Broker.Asked != (strings.Contains(text, "listen") || strings.Contains(text, "enabled")):
			t.Errorf("%s: Asked is %v", text, c.Broker.Asked)
		}
	}
	old, next := &Config{Broker: Broker{Enabled: true, Listen: ":8080"}}, &Config{Broker: Broker{Enabled: true, Listen: "127.0.0.1:8080"}}
	old.Hooks.Authenticate.Mode, next.Hooks.Authenticate.Mode = "deny", "allow"
	kept, _ := Keep(old, next)
	_, errKept := kept.CheckBroker()
	if _, err := next.CheckBroker(); errKept == nil || err != nil {
		t.Error("a reload lets everybody in beyond loopback")
	}
}

// What `config init` writes is nobody's choice until something of the Broker's is changed, or set by a variable.
func TestBrokerIsAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	for _, c := range []struct {
		old, new, variable string
		asked              bool
	}{
		{"", "", "", false},
		{`realm = "crolang"`, `realm = "example.org"`, "", false},
		{`listen = "127.0.0.1:8080"`, `listen = "127.0.0.1:8081"`, "", true},
		{"messages_per_second = 200", "messages_per_second = 100", "", true},
		{`listen = "127.0.0.1:8080"`, "", "", true},
		{"", "", "CROLANG_AIO_BROKER_LISTEN=127.0.0.1:8080", true},
	} {
		if !strings.Contains(Init(), c.old) {
			t.Fatalf("there is no %s to change", c.old)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(Init(), c.old, c.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(file, WithEnviron([]string{c.variable}))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Broker.Asked != c.asked {
			t.Errorf("%s → %s %s: Asked is %v", c.old, c.new, c.variable, cfg.Broker.Asked)
		}
	}
}
