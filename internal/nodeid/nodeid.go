// Package nodeid knows what a Node id may be, and which ids are the same. Every part that meets an id from outside
// (webhooks, TURN usernames, admin API, command line) asks here, so that all of them agree.
package nodeid

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxLen is the longest Node id, in bytes.
const MaxLen = 256

// The ids of Nodes that are none: this program makes them up to test itself. No other is let in with such an id.
const (
	Dashboard    = "dashboard-test"      // of the dashboard's test page
	DoctorPrefix = "crolang-aio-doctor-" // begins those of the command doctor
	TrialPrefix  = "crolang-aio-test-"   // begins those of people's browsers that test by a link, see [Trial]
)

// DoctorAgent is the User-Agent of the calls of the command doctor, which may be about a Node that there is.
const DoctorAgent = "crolang-aio-doctor"

// proofTime is how long the id of a doctor is taken: longer than one runs.
const proofTime = time.Hour

// Doctor makes an id for a run of the command doctor against the server whose credentials' secret that is. [ByDoctor] tells it, and what
// begins with it and a hyphen, from ids that others make up.
func Doctor(secret string, now time.Time) string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process rather than return an error
	tag := fmt.Sprintf("%08x%x", uint32(now.Unix()), random)
	return DoctorPrefix + tag + "-" + proof(secret, tag)
}

// ByDoctor reports whether a doctor that knew secret made the id within the last hour.
func ByDoctor(secret, id string, now time.Time) bool {
	rest, ok := strings.CutPrefix(id, DoctorPrefix)
	tag, rest, found := strings.Cut(rest, "-")
	given, _, _ := strings.Cut(rest, "-")
	if !ok || !found || len(tag) != 16 || !hmac.Equal([]byte(given), []byte(proof(secret, tag))) {
		return false
	}
	made, err := strconv.ParseUint(tag[:8], 16, 32)
	return err == nil && now.Sub(time.Unix(int64(made), 0)).Abs() < proofTime
}

func proof(secret, tag string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(DoctorPrefix + tag))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Synthetic reports whether this program has made the id up to test itself.
func Synthetic(id string) bool {
	return id == Dashboard || strings.HasPrefix(id, DoctorPrefix) || Trial(id)
}

// TrialTTL is how long a credential for a [Trial] holds, and its allocations live at most.
const TrialTTL = 10 * time.Minute

// Trial reports whether the id is that of a browser which tests by a link. A stranger has its credential: its relays reach one
// another and nothing else, and end with it.
func Trial(id string) bool { return strings.HasPrefix(id, TrialPrefix) }

// The reasons why Valid refuses an id. They never carry the id itself: it may be hostile.
var (
	ErrEmpty   = errors.New("node id is empty")
	ErrLong    = errors.New("node id is longer than 256 bytes")
	ErrUTF8    = errors.New("node id is not valid UTF-8")
	ErrControl = errors.New("node id has a control character")
)

// Valid returns nil if id is 1 to 256 bytes of UTF-8 without control characters.
// It allocates nothing and may be called from anywhere.
func Valid(id string) error {
	switch {
	case id == "":
		return ErrEmpty
	case len(id) > MaxLen:
		return ErrLong
	case printable(id):
		return nil
	case !utf8.ValidString(id):
		return ErrUTF8
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return ErrControl
		}
	}
	return nil
}

// Canonical is the spelling of a valid id by which Nodes are told apart: whoever compares ids, or looks one up, does so
// by it. It is what OpaqueString of RFC 8265 §4.2 makes of the id, as TURN clients prepare their user names (RFC 8489
// §14.3): every space is U+0020, and the rest is in Normalization Form C. Characters that OpaqueString refuses are left
// as they are. An id whose canonical spelling would be longer than MaxLen is one itself.
func Canonical(id string) string {
	if spelt := Spell(id); len(spelt) <= MaxLen {
		return spelt
	}
	return id
}

// Spell is the canonical spelling of a text of any length, such as a pattern that ids are compared with.
func Spell(text string) string {
	if printable(text) {
		return text
	}
	return norm.NFC.String(strings.Map(func(char rune) rune {
		if char > 0x7f && unicode.Is(unicode.Zs, char) {
			return ' '
		}
		return char
	}, text))
}

// printable reports whether id is printable ASCII, as nearly all are: a validity check has 100 000 of them.
func printable(id string) bool {
	for i := range len(id) {
		if id[i] < 0x20 || id[i] > 0x7e {
			return false
		}
	}
	return true
}
