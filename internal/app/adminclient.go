package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// adminScheme is what the admin listener speaks.
func adminScheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// AdminClient makes a client of the running server that a configuration describes, and returns the URL that it asks at. Over TLS it
// trusts the system's authorities, and the certificate that the server itself has in a file, for the names that are in it.
func AdminClient(cfg *config.Config, token string) (base string, _ *adminapi.Client, err error) {
	if base, err = adminapi.BaseURL("admin.listen", cfg.Admin.Listen); err != nil {
		return "", nil, err
	}
	var server *tls.Config
	if cfg.Admin.TLS {
		base = "https" + strings.TrimPrefix(base, "http")
		server = adminTrust(cfg)
	}
	client, err := adminapi.NewTLSClient(base, token, server)
	return base, client, err
}

// adminTrust is what is known of the certificate without asking: the client connects by address, and the certificate may be for
// another name. A file that cannot be read leaves the system's authorities: the handshake then says what is wrong.
func adminTrust(cfg *config.Config) *tls.Config {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	set := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: cfg.Public.Host}
	own := filepath.Join(cfg.DataDir, certs.SelfSignedFile)
	files := []string{cfg.Certs.CertFile, own}
	if acme := cfg.Certs.ACME; acme.Enabled {
		files = []string{acme.CAFile, own}
		if len(acme.Domains) > 0 {
			set.ServerName = strings.TrimPrefix(acme.Domains[0], "*.")
		}
	}
	named := cfg.Certs.ACME.Enabled && set.ServerName != ""
	for _, file := range files {
		for _, c := range certificatesIn(file) {
			roots.AddCert(c)
			if name := nameIn(c); !named && name != "" && !c.IsCA {
				set.ServerName, named = name, true
			}
		}
	}
	return set
}

// nameIn is a name that a certificate is good for.
func nameIn(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		if rest, wild := strings.CutPrefix(c.DNSNames[0], "*."); wild {
			return "admin." + rest
		}
		return c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return ""
}

// certificatesIn are those of a PEM file; none if there is no such file, or it holds something else.
func certificatesIn(file string) (all []*x509.Certificate) {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			all = append(all, c)
		}
	}
	return all
}
