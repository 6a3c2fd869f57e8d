package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"strings"
)

// newAEAD derives the key with which texts are enclosed: AES-256 in GCM, with a random nonce in front of each. Few texts are
// enclosed under one secret, far from the 2^32 for which random nonces are good.
func newAEAD(secret string) (cipher.AEAD, error) {
	k, err := derive(secret, "enclose", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Enclose returns text in a form that only machines with our secret for new credentials can read, or make. place is where it
// will stand, so that it is worth nothing elsewhere.
func (r *Ring) Enclose(place string, text []byte) string {
	k := r.keys[0]
	return k.print + ":" + base64.RawURLEncoding.EncodeToString(k.aead.Seal(nil, nil, text, []byte(place))) //nolint:gosec // it makes a nonce
}

// Disclose returns the text of what was enclosed for place. The error is [ErrStranger] if that was done with none of our secrets,
// and [ErrForged] if nobody has done it so.
func (r *Ring) Disclose(place, enclosed string) ([]byte, error) {
	print, rest, ok := strings.Cut(enclosed, ":")
	if !ok {
		return nil, ErrForged
	}
	for _, k := range r.keys {
		if k.print != print {
			continue
		}
		sealed, err := base64.RawURLEncoding.Strict().DecodeString(rest)
		if err != nil || strings.ContainsAny(rest, "\r\n") { // which decoding passes over
			return nil, ErrForged
		}
		text, err := k.aead.Open(nil, nil, sealed, []byte(place))
		if err != nil {
			return nil, errors.Join(ErrForged, err)
		}
		return text, nil
	}
	return nil, ErrStranger
}
