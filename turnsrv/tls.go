package turnsrv

import (
	"crypto/tls"
	"slices"

	"github.com/pion/dtls/v3"
)

// recordHandshake is the content type of a TLS or DTLS record with a handshake message: the first byte of a
// ClientHello, which no STUN message (0 to 3) and no ChannelData (64 to 79) begins with (RFC 7983).
const recordHandshake = 22

// The names by which clients ask for what is behind the handshake (ALPN).
const (
	protoTURN = "stun.turn" // RFC 7443
	protoNAT  = "stun.nat-discovery"
	protoHTTP = "http/1.1"
	// protoACME is that of a CA that asks by tls-alpn-01 (RFC 8737). It offers no other; the certificate is the answer, and
	// nothing is said after the handshake.
	protoACME = "acme-tls/1"
)

// protocols are those of TURN.
var protocols = []string{protoTURN, protoNAT}

// serverTLS returns the configuration of the TLS listeners: at least TLS 1.2 with AEAD. begin is called with each
// ClientHello before anything is computed for it, and may refuse it. Where web reports true, a client may ask for HTTP.
func serverTLS(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), begin func(*tls.ClientHelloInfo) error, web func() bool) *tls.Config {
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
	named := make(map[string]*tls.Config)
	for _, p := range []string{protoTURN, protoNAT, protoHTTP, protoACME} {
		named[p] = plain.Clone()
		named[p].NextProtos = []string{p}
	}
	named[protoACME].SessionTicketsDisabled = true // and without a certificate for it the handshake fails
	outer := plain.Clone()
	// crypto/tls would refuse a client that knows other protocols only; it is served all the same.
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if err := begin(h); err != nil {
			return nil, err
		}
		if c := named[chosen(h.SupportedProtos, web())]; c != nil {
			return c, nil
		}
		return plain, nil
	}
	return outer
}

// chosen is the protocol of those that a client knows that it is served; empty: it is to show by its first bytes. One
// that is after a certificate for ACME knows nothing else.
func chosen(known []string, web bool) string {
	if len(known) == 1 && known[0] == protoACME {
		return protoACME
	}
	for _, p := range []string{protoTURN, protoNAT, protoHTTP} {
		if (p != protoHTTP || web) && slices.Contains(known, p) {
			return p
		}
	}
	return ""
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
