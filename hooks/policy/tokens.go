package policy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

const (
	causeTokenUnknown = "token unknown"
	causeHashingBusy  = "too many tokens are being checked, try again"

	maxHashesPerNode = 4     // argon2id lines that may apply to one Node
	maxVerified      = 16384 // tokens known to be right
)

var errTokenLine = errors.New(`must be "NODE sha256:HEX" or "NODE argon2id:$argon2id$…", as crolang-aio token new prints it`)

// NewTokenLine makes a token of 256 random bits for a Node, and the line that lets this Node in with it. The token is a
// secret, in base64url; the line is not, but only serves who can reach the configuration. The error is nodeid's.
func NewTokenLine(node string) (token, line string, err error) {
	if err := nodeid.Valid(node); err != nil {
		return "", "", err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(token))
	return token, quoteGlob(node) + " sha256:" + hex.EncodeToString(sum[:]), nil
}

// tokens is the mode of that name. Whether a Node is unknown or its token wrong shows neither in the cause nor, as far
// as the costly hash goes, in the time.
type tokens struct {
	exact  map[string][]*tokenLine
	globs  []*tokenLine
	rounds int        // argon2id hashes of a refusal, the same for every Node
	dummy  *argonHash // what is hashed where fewer lines apply; nil where rounds is 0
	hasher *hasher    // shared by all
	key    [32]byte   // of verified
	sure   *lru.Cache[[32]byte, struct{}]
}

// tokenLine is a line of hooks.authenticate.tokens. Either sum or argon is set.
type tokenLine struct {
	node  *glob
	sum   []byte
	argon *argonHash
}

func compileTokens(lines []string, m *mistakes) *tokens {
	const key = "hooks.authenticate.tokens"
	t := &tokens{exact: map[string][]*tokenLine{}, hasher: newHasher(), sure: newCache[[32]byte, struct{}](maxVerified)}
	_, _ = rand.Read(t.key[:])
	everywhere, perNode := 0, map[string]int{}
	for i, text := range lines {
		line, err := parseTokenLine(text)
		if err != nil {
			m.add(fmt.Sprintf("%s[%d]", key, i), "entry %d: %w", i+1, err)
			continue
		}
		if line.node.exact {
			t.exact[line.node.literal] = append(t.exact[line.node.literal], line)
		} else {
			t.globs = append(t.globs, line)
		}
		if line.argon == nil {
			continue
		}
		t.dummy = line.argon
		if line.node.exact {
			perNode[line.node.literal]++
		} else {
			everywhere++
		}
	}
	t.rounds = everywhere
	for _, n := range perNode {
		t.rounds = max(t.rounds, everywhere+n)
	}
	if t.rounds > maxHashesPerNode {
		m.add(key, "more than %d argon2id lines may apply to one Node, and each costs every authentication: use sha256 for random tokens", maxHashesPerNode)
	}
	return t
}

// parseTokenLine reads a line. Its errors hold nothing of it: it might be a token put there by mistake.
func parseTokenLine(text string) (*tokenLine, error) {
	text = strings.TrimSpace(text)
	cut := strings.LastIndexFunc(text, unicode.IsSpace)
	if cut < 0 {
		return nil, errTokenLine
	}
	node, err := compileGlob(strings.TrimSpace(text[:cut]))
	if err != nil {
		return nil, err
	}
	line := &tokenLine{node: node}
	kind, hash, _ := strings.Cut(strings.TrimSpace(text[cut:]), ":")
	switch {
	case kind == "sha256":
		line.sum, err = hex.DecodeString(hash)
		if err != nil || len(line.sum) != sha256.Size {
			return nil, errors.New("sha256 must be followed by 64 hexadecimal digits")
		}
		return line, nil
	case kind == "argon2id":
		line.argon, err = parseArgon(hash)
		return line, err
	case strings.HasPrefix(kind, "$argon2id$"):
		line.argon, err = parseArgon(kind)
		return line, err
	}
	return nil, errTokenLine
}

// authenticate compares the token with every line that applies to the Node.
func (t *tokens) authenticate(ctx context.Context, r Request) Answer {
	node := r.Node
	token, cause := tokenFrom(r.Data)
	if cause != "" {
		return no(cause)
	}
	sum := sha256.Sum256([]byte(token))
	found := 0
	var costly [maxHashesPerNode]*argonHash
	n := 0
	try := func(line *tokenLine) {
		if line.argon == nil {
			found |= subtle.ConstantTimeCompare(sum[:], line.sum)
		} else if n < len(costly) {
			costly[n] = line.argon
			n++
		}
	}
	for _, line := range t.exact[node] {
		try(line)
	}
	for _, line := range t.globs {
		if line.node.Match(node) {
			try(line)
		}
	}
	switch {
	case found == 1:
		return yes()
	case t.rounds == 0:
		return no(causeTokenUnknown)
	}
	return t.authenticateCostly(ctx, node, token, sum, costly[:n])
}

// authenticateCostly hashes with argon2id, as often as for any other Node, unless this very token was found right
// lately.
func (t *tokens) authenticateCostly(ctx context.Context, node, token string, sum [32]byte, lines []*argonHash) Answer {
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write(sum[:])
	mac.Write([]byte(node))
	known := [32]byte(mac.Sum(nil))
	if _, ok := t.sure.Get(known); ok {
		return yes()
	}
	if !t.hasher.enter(ctx) {
		return failed(causeHashingBusy)
	}
	defer t.hasher.leave()
	found := 0
	for i := range t.rounds {
		hash := t.dummy
		if i < len(lines) {
			hash = lines[i]
		}
		same := hash.matches(token)
		if i < len(lines) {
			found |= same
		}
	}
	if found != 1 {
		return no(causeTokenUnknown)
	}
	t.sure.Add(known, struct{}{})
	return yes()
}
