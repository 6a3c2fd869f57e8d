package config

import (
	"fmt"
	"testing"
)

func TestAlternate(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "[]",
		"192.0.2.20:3478":                     "[192.0.2.20:3478]",
		"[2001:db8::20]:3478":                 "[[2001:db8::20]:3478]",
		" 192.0.2.20:3478 ,[2001:db8::20]:5 ": "[192.0.2.20:3478 [2001:db8::20]:5]",
	} {
		if got := fmt.Sprint(AddrPorts(text)); got != want || alternate(text) != nil {
			t.Errorf("%q: %s, %v", text, got, alternate(text))
		}
	}
	for _, text := range []string{
		"192.0.2.20", "192.0.2.20:0", "turn.example.org:3478", "192.0.2.20:3478,", "192.0.2.20:3478,192.0.2.21:3478", "0.0.0.0:3478", "[::]:3478",
		"[::ffff:192.0.2.20]:3478", "[fe80::1%eth0]:3478", "224.0.0.1:3478", ":3478", "192.0.2.20:65536",
	} {
		if err := alternate(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
