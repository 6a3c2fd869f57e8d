package nearest

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	candidates := []string{"bans", "ban", "zsh", "bash", "listen", "listen_tls", "realm", "relay_ports", "udp"}
	for name, want := range map[string]string{
		"listne": "listen", "listen-tls": "listen_tls", "LISTEN": "listen", "relm": "realm", "relay_port": "relay_ports", "": "",
		"bann": "ban", "bams": "bans", "bsh": "bash", "upd": "udp", "tcp": "", "something": "", strings.Repeat("listen", 100): "",
	} {
		if got := Of(name, candidates); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
