// Package credential issues and checks the time-limited credentials of the TURN REST scheme: the username is
// "<unix expiry>:<node id>", the password base64(HMAC-SHA1(secret, username)), and the long-term key of RFC 8489
// §9.2.2 is MD5(username ":" realm ":" password), or for a client that asks for it, SHA-256 of the same.
package credential

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // the long-term key of RFC 8489 §9.2.2
	"crypto/sha1" //nolint:gosec // what every TURN REST server uses
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// ErrUsername is the error of a username that is not "<unix expiry>:<node id>".
var ErrUsername = errors.New("username is not <unix expiry>:<node id>")

// ErrNoSecret is the error of a Keyring without a secret.
var ErrNoSecret = errors.New("no credential secret: set credentials.secret, or let serve make one")

// Credential is what a Node is given. Password is a secret: it must not be logged.
type Credential struct {
	Node     string
	Username string
	Password string
	Expires  time.Time
}

// Name is a parsed username.
type Name struct {
	Node    string
	Expires time.Time
}

// Parse reads a username. The Node id is all that follows the first colon and must be a valid one, of which Name has
// the canonical spelling; the expiry is a plain decimal number of seconds since 1970. Whether it has passed is for the
// caller to say.
func Parse(username string) (Name, error) {
	expiry, node, ok := strings.Cut(username, ":")
	if !ok || expiry == "" || len(expiry) > 18 || strings.Trim(expiry, "0123456789") != "" {
		return Name{}, ErrUsername
	}
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || nodeid.Valid(node) != nil {
		return Name{}, ErrUsername
	}
	return Name{Node: nodeid.Canonical(node), Expires: time.Unix(seconds, 0)}, nil
}

// Keyring holds the secret that credentials are issued with and the previous ones that are still accepted. It is
// safe for concurrent use.
type Keyring struct {
	current atomic.Pointer[secrets]
	issued  atomic.Pointer[names] // nil: not kept, see Remember
}

type secrets struct {
	all        []string // that for new credentials first
	generation uint64
}

// NewKeyring makes a Keyring. previous may be empty.
func NewKeyring(secret string, previous []string) (*Keyring, error) {
	k := &Keyring{}
	first, err := k.Prepare(secret, previous)
	first.Apply()
	return k, err
}

// Prepare gets ready to swap all secrets at once, for a reload.
func (k *Keyring) Prepare(secret string, previous []string) (change.Change, error) {
	if secret == "" {
		return change.Change{}, ErrNoSecret
	}
	all := append([]string{secret}, previous...)
	return change.New(func() { k.replace(all) }, nil), nil
}

func (k *Keyring) replace(all []string) {
	generation := uint64(1)
	if old := k.current.Load(); old != nil {
		if slices.Equal(old.all, all) {
			return
		}
		generation += old.generation
	}
	k.current.Store(&secrets{all, generation})
}

// Generation tells sets of secrets apart: it is another one after each change.
func (k *Keyring) Generation() uint64 { return k.current.Load().generation }

// Issue makes a credential for a valid Node id that ends ttl after now, cut to whole seconds. It is for the canonical
// spelling of the id: a client that prepares its username (RFC 8489 §14.3) then changes nothing in it.
func (k *Keyring) Issue(node string, ttl time.Duration, now time.Time) (Credential, error) {
	if err := nodeid.Valid(node); err != nil {
		return Credential{}, err
	}
	node = nodeid.Canonical(node)
	end := now.Add(ttl).Unix()
	username := strconv.FormatInt(end, 10) + ":" + node
	if issued := k.issued.Load(); issued != nil {
		issued.add(username, now)
	}
	return Credential{
		Node:     node,
		Username: username,
		Password: password(k.current.Load().all[0], username),
		Expires:  time.Unix(end, 0),
	}, nil
}

// MadeByDoctor reports whether the command doctor of this server has made a Node's id, see [nodeid.ByDoctor].
func (k *Keyring) MadeByDoctor(node string, now time.Time) bool {
	return slices.ContainsFunc(k.current.Load().all, func(secret string) bool { return nodeid.ByDoctor(secret, node, now) })
}

// Len is the number of secrets that Match tries.
func (k *Keyring) Len() int { return len(k.current.Load().all) }

// Match calls check with the long-term key of each secret for the username and realm, and returns the key for which it
// was true. It tries every secret whatever the outcome, so that the work does not show which one fits.
func (k *Keyring) Match(username, realm string, a Algorithm, check func(key []byte) bool) (key []byte, ok bool) {
	for _, secret := range k.current.Load().all {
		candidate := a.Key(username, realm, password(secret, username))
		if check(candidate) && !ok {
			key, ok = candidate, true
		}
	}
	return key, ok
}

// Algorithm is what makes a key of a password, by its number in the registry of RFC 8489 §18.5. Neither has parameters.
type Algorithm uint16

// The password algorithms. Clients of RFC 5389 know MD5 alone.
const (
	MD5    Algorithm = 1
	SHA256 Algorithm = 2
)

// Key is the long-term credential key of RFC 8489 §9.2.2, for SHA256 that of §18.5.1.2.
func (a Algorithm) Key(username, realm, password string) []byte {
	if a == SHA256 {
		key := sha256.Sum256(keyed(username, realm, password))
		return key[:]
	}
	key := Key(username, realm, password)
	return key[:]
}

// Key is the long-term credential key of RFC 8489 §9.2.2 with MD5.
func Key(username, realm, password string) [md5.Size]byte {
	return md5.Sum(keyed(username, realm, password)) //nolint:gosec // as above
}

func keyed(username, realm, password string) []byte {
	b := make([]byte, 0, len(username)+len(realm)+len(password)+2)
	b = append(append(b, username...), ':')
	b = append(append(b, realm...), ':')
	return append(b, password...)
}

func password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
