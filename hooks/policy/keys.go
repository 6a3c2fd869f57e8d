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
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

const maxKeys = 256 // of a set

var (
	errKeyKind  = errors.New("it is neither RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, nor Ed25519")
	errKeyPEM   = errors.New("it holds no public key in PEM")
	errKeyShown = errors.New("it holds a private key: give the public one")
	errKeySet   = errors.New("it is no JSON Web Key Set")
	errKeyNone  = errors.New("it holds no key that tokens can be checked with")
)

// algorithmsFor returns the algorithms that a public key may have signed with. The key decides, never the token: a
// public key taken for an HMAC secret is the oldest trick.
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
	block, _ := pem.Decode(withoutBOM(text))
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

// keySet is a JSON Web Key Set (RFC 7517), as far as it is of use here. A nil set is one that is not loaded yet.
type keySet struct {
	keys       []setKey
	passedOver []passedOver
}

type setKey struct {
	id string
	singleKey
}

// passedOver is a key that is of no use, and why.
type passedOver struct{ id, reason string }

// find returns the key for a token, or a [jwt.VerificationKeySet] of all keys that it may have been signed with: a
// token need not name its key, and two keys may have the same name.
func (s *keySet) find(kid, algorithm string) (any, error) {
	if s == nil {
		return nil, errNoKeys
	}
	var fit []jwt.VerificationKey
	named := false
	for i := range s.keys {
		key := &s.keys[i]
		if kid != "" && key.id != kid {
			continue
		}
		named = true
		if slices.Contains(key.algorithms, algorithm) {
			fit = append(fit, key.value)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return jwt.VerificationKeySet{Keys: fit}, nil
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
		if err := json.Unmarshal(raw, &k); err != nil {
			set.passedOver = append(set.passedOver, passedOver{k.Kid, "it is malformed"})
			continue
		}
		key, reason := k.usable()
		if reason != "" {
			set.passedOver = append(set.passedOver, passedOver{k.Kid, reason})
			continue
		}
		set.keys = append(set.keys, setKey{id: k.Kid, singleKey: *key})
	}
	if len(set.keys) == 0 {
		return nil, errKeyNone
	}
	return set, nil
}

// usable returns the key with the algorithms that it may have signed with, or the reason why it is of no use.
func (k *jsonKey) usable() (_ *singleKey, reason string) {
	switch {
	case k.Use != "" && k.Use != "sig":
		return nil, "its use is not sig"
	case len(k.Ops) > 0 && !slices.Contains(k.Ops, "verify"):
		return nil, "its key_ops do not have verify"
	case k.Kty != "RSA" && k.Kty != "EC" && k.Kty != "OKP":
		return nil, "its kty is none of RSA, EC and OKP"
	}
	public := k.public()
	if public == nil {
		return nil, "its numbers are malformed, or its crv is none of P-256, P-384, P-521 and Ed25519"
	}
	algorithms := algorithmsFor(public)
	if algorithms == nil {
		return nil, "it is RSA of fewer than 2048 bits, or of more than 8192"
	}
	if alg := oldName(k.Alg); alg != "" {
		if !slices.Contains(algorithms, alg) {
			return nil, "its alg does not go with its kind"
		}
		algorithms = []string{alg}
	}
	return &singleKey{value: public, algorithms: algorithms}, ""
}

// RFC 9864 calls EdDSA on Ed25519 by the curve's name. The library knows only the former name.
func init() {
	jwt.RegisterSigningMethod("Ed25519", func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
}

func oldName(algorithm string) string {
	if algorithm == "Ed25519" {
		return jwt.SigningMethodEdDSA.Alg()
	}
	return algorithm
}

// public returns the key itself, nil if it is malformed or of a kind that is not known.
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
		if x, err := unpadded(k.X); err == nil && k.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

// unpadded reads base64url. There should be no padding (RFC 7515 §2), but some issuers add it.
func unpadded(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// number reads an unsigned integer in base64url.
func number(text string) *big.Int {
	raw, err := unpadded(text)
	if err != nil || len(raw) == 0 || len(raw) > 1100 {
		return nil
	}
	return new(big.Int).SetBytes(raw)
}

// once remembers what was said. All methods may be called from any goroutine.
type once struct {
	mu   sync.Mutex
	said map[passedOver]bool
}

// first reports whether p has not been said before. Once there is too much to remember, it reports false.
func (o *once) first(p passedOver) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said == nil {
		o.said = map[passedOver]bool{}
	}
	if o.said[p] || len(o.said) >= 4*maxKeys {
		return false
	}
	o.said[p] = true
	return true
}
