package acme

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
)

// A machine that resolves no names is told so, and not to look at the CA.
func TestFailureWithoutDNS(t *testing.T) {
	err := fmt.Errorf("getting the directory: %w", &url.Error{Op: "Get", URL: "https://ca.example/dir", Err: &net.OpError{
		Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "ca.example", IsTimeout: true, IsTemporary: true},
	}})
	f := failed(err, "Example CA", "")
	if f.Cause != CauseAway || !strings.Contains(f.What, "DNS gives no address of ca.example: server misbehaving") || !strings.Contains(f.Remedy, "/etc/resolv.conf") {
		t.Errorf("%s: %s", f.Cause, f)
	}
}
