package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

const maxKeys = 256 // of a set

var (
	errKeyKind  = errors.New("it is neither RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, nor Ed25519")
	errKeyPEM   = errors.New("it holds no public key in PEM")
	errKeyShown = errors.New("it holds a private key: give the public one")
	errKeySet   = errors.New("it is no JSON Web Key Set")
	errKeyNone  = errors.New("it holds no key that tokens can be checked with")
)

// algorithmsFor says what a public key may have signed with. The key decides, never the token: a public key taken for
// an HMAC secret is the oldest trick.
func algorithmsFor(key crypto.PublicKey) []string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= 2048 && bits <= 8192 {
			return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// parsePublicKey reads the first PEM block: a public key or a certificate.
func parsePublicKey(text []byte) (*singleKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errKeyPEM
	}
	var key crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return nil, errKeyShown
	default:
		return nil, errKeyPEM
	}
	if err != nil {
		return nil, fmt.Errorf("its public key cannot be read: %w", err)
	}
	algorithms := algorithmsFor(key)
	if algorithms == nil {
		return nil, errKeyKind
	}
	return &singleKey{value: key, algorithms: algorithms}, nil
}

// keySet is a JSON Web Key Set (RFC 7517), as far as it is of use here. The nil set is not loaded.
type keySet struct{ keys []setKey }

type setKey struct {
	id string
	singleKey
}

// find is the key for a token. One without a key id is served by the only key that fits its algorithm.
func (s *keySet) find(kid, algorithm string) (any, error) {
	if s == nil {
		return nil, errNoKeys
	}
	var found *setKey
	named := false
	for i := range s.keys {
		key := &s.keys[i]
		if kid != "" && key.id != kid {
			continue
		}
		named = true
		if !slices.Contains(key.algorithms, algorithm) {
			continue
		}
		if found != nil {
			return nil, errNoKeyID
		}
		found = key
	}
	switch {
	case found != nil:
		return found.value, nil
	case named:
		return nil, errAlgorithm
	}
	return nil, errUnknownKey
}

// jsonKey is a key as RFC 7517, 7518 and 8037 write it.
type jsonKey struct {
	Kty string   `json:"kty"`
	Use string   `json:"use"`
	Ops []string `json:"key_ops"`
	Alg string   `json:"alg"`
	Kid string   `json:"kid"`
	Crv string   `json:"crv"`
	N   string   `json:"n"`
	E   string   `json:"e"`
	X   string   `json:"x"`
	Y   string   `json:"y"`
}

// parseKeySet reads a set. Keys of other kinds and for other uses are passed over, as RFC 7517 §5 says.
func parseKeySet(text []byte) (*keySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil || document.Keys == nil {
		return nil, errKeySet
	}
	if len(document.Keys) > maxKeys {
		return nil, fmt.Errorf("it holds more than %d keys", maxKeys)
	}
	set := &keySet{}
	for _, raw := range document.Keys {
		var k jsonKey
		if json.Unmarshal(raw, &k) != nil || k.Use != "" && k.Use != "sig" || len(k.Ops) > 0 && !slices.Contains(k.Ops, "verify") {
			continue
		}
		public := k.public()
		algorithms := algorithmsFor(public)
		if k.Alg != "" && slices.Contains(algorithms, k.Alg) {
			algorithms = []string{k.Alg}
		} else if k.Alg != "" {
			continue
		}
		if algorithms != nil {
			set.keys = append(set.keys, setKey{id: k.Kid, singleKey: singleKey{value: public, algorithms: algorithms}})
		}
	}
	if len(set.keys) == 0 {
		return nil, errKeyNone
	}
	return set, nil
}

// public is the key itself, nil where it is of no kind that is known, or malformed.
func (k *jsonKey) public() crypto.PublicKey {
	switch k.Kty {
	case "RSA":
		n, e := number(k.N), number(k.E)
		if n == nil || e == nil || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
			return nil
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
		x, y := number(k.X), number(k.Y)
		if curve == nil || x == nil || y == nil {
			return nil
		}
		size := (curve.Params().BitSize + 7) / 8
		if x.BitLen() > size*8 || y.BitLen() > size*8 {
			return nil
		}
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed
		x.FillBytes(point[1 : 1+size])
		y.FillBytes(point[1+size:])
		if key, err := ecdsa.ParseUncompressedPublicKey(curve, point); err == nil { // checks that it is on the curve
			return key
		}
	case "OKP":
		if x, err := base64.RawURLEncoding.DecodeString(k.X); err == nil && k.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

// number reads an unsigned integer in base64url.
func number(text string) *big.Int {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw) > 1100 {
		return nil
	}
	return new(big.Int).SetBytes(raw)
}
