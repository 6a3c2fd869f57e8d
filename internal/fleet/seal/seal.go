// Package seal protects what the machines of a fleet keep in Redis: a text is sealed under keys that are derived from the
// credential secret, so that who can write Redis alone can make up neither a ban nor a machine. What is nobody else's business
// is put into a box: encrypted too.
//
// Several secrets may hold at once, while they are being rotated: a text is sealed under all that the machine has, and opens
// where one of them is known. It is enclosed under that for new credentials alone: an earlier one may have been given away.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	salt = "crolang-aio fleet 1"
	// maxKeys is how many secrets a machine seals with, and how many seals of a text are looked at.
	maxKeys = 8
	macLen  = 16 // bytes
)

// The reasons for which Open refuses a text.
var (
	ErrStranger = errors.New("sealed with another credential secret")
	ErrForged   = errors.New("not what was sealed")
)

// Ring is the keys of a machine. It never changes, and may be used from any goroutine.
type Ring struct{ keys []key }

// key is what comes of one secret.
type key struct {
	print string // names it, and tells nothing of it
	mac   []byte
	box   []byte // encrypts the keys of boxes
}

// NewRing derives the keys of the secrets, that for new credentials first. Of more than eight those behind are left out.
func NewRing(secrets []string) (*Ring, error) {
	r := &Ring{}
	for _, secret := range secrets[:min(len(secrets), maxKeys)] {
		mac, err := derive(secret, "mac", sha256.Size)
		if err != nil {
			return nil, err
		}
		print, err := derive(secret, "fingerprint", 8)
		if err != nil {
			return nil, err
		}
		box, err := derive(secret, "box", contentKey)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, key{print: hex.EncodeToString(print), mac: mac, box: box})
	}
	if len(r.keys) == 0 {
		return nil, errors.New("no secret to seal with")
	}
	return r, nil
}

func derive(secret, purpose string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(secret), []byte(salt), purpose, n)
}

// Prints are the fingerprints of the secrets that this machine takes, that for new credentials first. Whoever reads them
// learns nothing of the secrets but whether two machines have the same.
func (r *Ring) Prints() []string {
	all := make([]string, len(r.keys))
	for i, k := range r.keys {
		all[i] = k.print
	}
	return all
}

// Keyed is a fingerprint of a text, by which those who share a secret can compare, see [Alike], and others learn nothing.
func (r *Ring) Keyed(text []byte) string {
	all := make([]string, len(r.keys))
	for i, k := range r.keys {
		all[i] = hex.EncodeToString(k.sum("compare", text)[:8])
	}
	return strings.Join(all, ",")
}

// Alike reports whether two fingerprints are of the same text, as far as a secret that both sides have says.
func Alike(x, y string) bool {
	for one := range strings.SplitSeq(x, ",") {
		for other := range strings.SplitSeq(y, ",") {
			if one == other {
				return true
			}
		}
	}
	return false
}

func (k key) sum(purpose string, text []byte) []byte {
	h := hmac.New(sha256.New, k.mac)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(text)
	return h.Sum(nil)[:macLen]
}

// Seal returns text with its seals in front. purpose is where the text stands, so that it is worth nothing elsewhere.
func (r *Ring) Seal(purpose string, text []byte) string {
	return heads(r.keys, func(k key) string { return base64.RawURLEncoding.EncodeToString(k.sum(purpose, text)) }) + " " + string(text)
}

// Open returns the text of what was sealed for purpose. The error is [ErrStranger] if none of our secrets was used, and
// [ErrForged] if a seal of ours does not fit.
func (r *Ring) Open(purpose, sealed string) ([]byte, error) {
	k, mac, text, err := r.find(sealed)
	if err != nil {
		return nil, err
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(mac)
	if err != nil || !hmac.Equal(got, k.sum(purpose, []byte(text))) {
		return nil, ErrForged
	}
	return []byte(text), nil
}

// heads is what stands in front of a text: something for each key, behind its fingerprint.
func heads(keys []key, of func(key) string) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.print + ":" + of(k)
	}
	return strings.Join(all, ",")
}

// find returns the first key of ours that something sealed has a head for, that head, and what is behind all of them. The error is
// [ErrStranger] if there is none, and [ErrForged] if there are no heads.
func (r *Ring) find(sealed string) (k key, head, text string, err error) {
	all, text, ok := strings.Cut(sealed, " ")
	if !ok {
		return k, "", "", ErrForged
	}
	for n := 0; all != "" && n < maxKeys; n++ {
		var one string
		one, all, _ = strings.Cut(all, ",")
		print, head, _ := strings.Cut(one, ":")
		for _, k := range r.keys {
			if k.print == print {
				return k, head, text, nil
			}
		}
	}
	return k, "", "", ErrStranger
}

// Unsealed is the text of something sealed, whoever sealed it. It proves nothing.
func Unsealed(sealed string) string {
	_, text, _ := strings.Cut(sealed, " ")
	return text
}
