package credential

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxNames bounds the usernames that are kept: some 20 MB of them, 60 MB if every Node's id is as long as it may be.
const maxNames = 1 << 17

// names has usernames by their hashes. The oldest go first, where there are too many or their time is over.
type names struct {
	realm string
	max   int

	mu     sync.RWMutex
	byHash map[[sha256.Size]byte]string
	order  [][sha256.Size]byte // those in byHash, the oldest first
}

// Userhash is the value of USERHASH (RFC 8489 §14.4).
func Userhash(username, realm string) [sha256.Size]byte {
	b := make([]byte, 0, len(username)+len(realm)+1)
	b = append(append(b, username...), ':')
	return sha256.Sum256(append(b, realm...))
}

// Remember has the names that are issued from now on kept for [Keyring.Named], at most 131,072 of them, the latest. An empty
// realm forgets all, and keeps no more.
func (k *Keyring) Remember(realm string) {
	switch now := k.issued.Load(); {
	case realm == "":
		k.issued.Store(nil)
	case now == nil || now.realm != realm:
		k.issued.Store(newNames(realm, maxNames))
	}
}

func newNames(realm string, most int) *names {
	return &names{realm: realm, max: most, byHash: make(map[[sha256.Size]byte]string)}
}

// Named returns the username that has this hash, if this Keyring has issued it, since [Keyring.Remember] was called, and
// lately. Whatever else issues with the same secret is not known here. A hash that is unknown costs one look-up, and leaves
// nothing behind.
func (k *Keyring) Named(hash []byte) (username string, ok bool) {
	issued := k.issued.Load()
	if issued == nil || len(hash) != sha256.Size {
		return "", false
	}
	issued.mu.RLock()
	defer issued.mu.RUnlock()
	username, ok = issued.byHash[[sha256.Size]byte(hash)]
	return username, ok
}

// add keeps a username. What the oldest were issued for is over by then, or they make room.
func (n *names) add(username string, now time.Time) {
	hash := Userhash(username, n.realm)
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.byHash[hash]; known {
		return
	}
	for len(n.order) > 0 && (len(n.order) >= n.max || expired(n.byHash[n.order[0]], now)) {
		delete(n.byHash, n.order[0])
		n.order = n.order[1:]
	}
	n.byHash[hash] = username
	n.order = append(n.order, hash)
}

func expired(username string, now time.Time) bool {
	name, err := Parse(username)
	return err != nil || now.After(name.Expires)
}

// Kept is how many names are kept.
func (k *Keyring) Kept() int {
	issued := k.issued.Load()
	if issued == nil {
		return 0
	}
	issued.mu.RLock()
	defer issued.mu.RUnlock()
	return len(issued.byHash)
}
