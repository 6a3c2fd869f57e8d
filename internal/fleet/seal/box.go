package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"strings"
)

// contentKey is how many bytes the key of one box has, for AES-256.
const contentKey = 32

// Box encrypts text for purpose, so that whoever can read Redis, and has none of the secrets, learns how long it is and nothing
// else. Each box has a key of its own, which is in front, encrypted under that of every secret of this machine; [Ring.Unbox]
// opens it where one of them is known.
func (r *Ring) Box(purpose string, text []byte) string { return box(r.keys, purpose, text) }

// Enclose is Box for what is kept: only the secret for new credentials opens it, since an earlier one may have been given away.
func (r *Ring) Enclose(purpose string, text []byte) string { return box(r.keys[:1], purpose, text) }

func box(keys []key, purpose string, text []byte) string {
	own := make([]byte, contentKey)
	rand.Read(own)
	return heads(keys, func(k key) string { return shut(k.box, purpose, own) }) + " " + shut(own, purpose, text)
}

// Unbox returns the text of what was boxed for purpose. The error is [ErrStranger] if none of our secrets was used, and
// [ErrForged] if it was boxed for another purpose, or is not as it was.
func (r *Ring) Unbox(purpose, boxed string) ([]byte, error) {
	k, wrapped, sealed, err := r.find(boxed)
	if err != nil {
		return nil, err
	}
	own, ok := open(k.box, purpose, wrapped)
	if !ok || len(own) != contentKey {
		return nil, ErrForged
	}
	text, ok := open(own, purpose, sealed)
	if !ok {
		return nil, ErrForged
	}
	return text, nil
}

func shut(key []byte, purpose string, text []byte) string {
	return base64.RawURLEncoding.EncodeToString(sealer(key).Seal(nil, nil, text, []byte(purpose))) //nolint:gosec // it draws the nonce
}

func open(key []byte, purpose, sealed string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || strings.ContainsAny(sealed, "\r\n") { // which decoding passes over
		return nil, false
	}
	text, err := sealer(key).Open(nil, nil, raw, []byte(purpose))
	return text, err == nil
}

// sealer is AES-256-GCM with nonces drawn at random, which are in front of what it has sealed. The key of a secret seals nothing
// but the keys of boxes: some in a second at most, and 2^32 are allowed.
func sealer(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // a key of this program's own has the right length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}
