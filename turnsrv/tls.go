package turnsrv

import (
	"crypto/tls"
	"slices"

	"github.com/pion/dtls/v3"
)

// recordHandshake is the content type of a TLS or DTLS record with a handshake message: the first byte of a
// ClientHello, which no STUN message (0 to 3) and no ChannelData (64 to 79) begins with (RFC 7983).
const recordHandshake = 22

// The protocol names of RFC 7443.
var protocols = []string{"stun.turn", "stun.nat-discovery"}

// challengeProtocol is that of a CA that asks by tls-alpn-01 (RFC 8737). It offers no other; the certificate is the answer,
// and nothing is said after the handshake.
const challengeProtocol = "acme-tls/1"

// serverTLS returns the configuration of the TLS listeners: at least TLS 1.2 with AEAD. begin is called with each
// ClientHello before anything is computed for it, and may refuse it.
func serverTLS(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), begin func(*tls.ClientHelloInfo) error) *tls.Config {
	plain := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: certificate,
		CipherSuites: []uint16{ // of TLS 1.2; those of 1.3 are all AEAD
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	named, challenged := plain.Clone(), plain.Clone()
	named.NextProtos = protocols
	challenged.NextProtos = []string{challengeProtocol}
	challenged.SessionTicketsDisabled = true
	// crypto/tls would refuse a client that knows other protocols only; it is served all the same.
	named.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if err := begin(h); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(h.SupportedProtos, func(p string) bool { return slices.Contains(protocols, p) }) {
			return nil, nil
		}
		if slices.Equal(h.SupportedProtos, challenged.NextProtos) {
			return challenged, nil // without a certificate for it the handshake fails
		}
		return plain, nil
	}
	return named
}

// cipherSuites are the suites of DTLS 1.2 that have AEAD and that OpenSSL and browsers know.
var cipherSuites = []dtls.CipherSuiteID{
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	dtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// tlsHello turns a DTLS ClientHello into one of crypto/tls, as far as it matters for choosing a certificate.
func tlsHello(h *dtls.ClientHelloInfo) *tls.ClientHelloInfo {
	out := &tls.ClientHelloInfo{ServerName: h.ServerName, SupportedVersions: []uint16{tls.VersionTLS12}}
	for _, id := range h.CipherSuites {
		out.CipherSuites = append(out.CipherSuites, uint16(id))
	}
	return out
}
