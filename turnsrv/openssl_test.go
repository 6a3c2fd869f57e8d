package turnsrv

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOpenSSL has the command line client of OpenSSL send a request and get its answer.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatal("openssl is not installed, and no peer may be missing")
		}
		t.Skip("openssl is not installed")
	}
	withECDSA := newSite(t, streamsConfig{})
	pair := rsaCertificate(t)
	withRSA := newSite(t, streamsConfig{Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }})
	for name, test := range map[string]struct {
		args  string
		works bool
		says  string
	}{
		"TLS 1.3":              {"-tls1_3 -alpn stun.turn", true, "ALPN protocol: stun.turn"},
		"TLS 1.2":              {"-tls1_2", true, "No ALPN negotiated"},
		"TLS 1.2, other ALPN":  {"-tls1_2 -alpn h2,webrtc", true, "No ALPN negotiated"},
		"TLS 1.1":              {"-tls1_1 -cipher DEFAULT@SECLEVEL=0", false, ""},
		"TLS 1.2 without AEAD": {"-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:AES128-SHA@SECLEVEL=0", false, ""},
		"DTLS 1.2":             {"-dtls1_2 -alpn stun.turn", true, "ALPN protocol: stun.turn"},
		"DTLS 1.2, other ALPN": {"-dtls1_2 -alpn h2", true, "No ALPN negotiated"},
		"DTLS in fragments":    {"-dtls1_2 -mtu 256", true, "Extended master secret: yes"},
		"DTLS without AEAD":    {"-dtls1_2 -cipher ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA@SECLEVEL=0", false, ""},
	} {
		for kind, s := range map[string]*site{"ECDSA": withECDSA, "RSA": withRSA} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				to := s.tcp[0]
				if strings.Contains(test.args, "-dtls") {
					to = s.udp[0]
				}
				out, err := openSSL(t, test.says, append(strings.Fields(test.args), "-connect", to.String()))
				if test.works != bytes.Contains(out, question(7)) || !strings.Contains(string(out), test.says) {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

// openSSL is what `openssl s_client` prints, until it has said what it should and the request that it is given has come
// back, or it ends.
func openSSL(t *testing.T, says string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-nocommands"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		_ = write.Close()
	}()
	_, _ = in.Write(question(7))
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return all, <-ended
		}
		if bytes.Contains(all, question(7)) && bytes.Contains(all, []byte(says)) {
			_ = in.Close()
			cancel()
		}
	}
}
