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
// secret, in base64url; the line is none. The error is one of package nodeid's.
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

// tokens is the mode of that name. Neither the cause nor, as far as the costly hash goes, the time shows whether a Node
// is unknown or its token wrong: every refusal takes as long. If no costly line is about the Node, that time is only
// waited, so that ids which a stranger makes up cost nothing.
type tokens struct {
	lines  []string // as configured
	exact  map[string][]*tokenLine
	globs  []*tokenLine
	cost   uint64                         // of the argon2id hashes of a refusal; 0: there are none
	hasher *hasher                        // the Policy's
	key    [32]byte                       // of sure
	sure   *lru.Cache[[32]byte, struct{}] // tokens that were found right
}

// tokenLine is a line of hooks.authenticate.tokens. Either sum or argon is set.
type tokenLine struct {
	node  *glob
	sum   []byte
	argon *argonHash
}

func compileTokens(lines []string, h *hasher, m *mistakes) *tokens {
	const key = "hooks.authenticate.tokens"
	t := &tokens{lines: lines, exact: map[string][]*tokenLine{}, hasher: h, sure: newCache[[32]byte, struct{}](maxVerified)}
	_, _ = rand.Read(t.key[:])
	var everywhere costs
	perNode := map[string]costs{}
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
		if line.node.exact {
			perNode[line.node.literal] = perNode[line.node.literal].plus(line.argon)
		} else {
			everywhere = everywhere.plus(line.argon)
		}
	}
	most := everywhere
	for _, c := range perNode {
		most = costs{max(most.hashes, everywhere.hashes+c.hashes), max(most.cost, everywhere.cost+c.cost)}
	}
	t.cost = most.cost
	if most.hashes > maxHashesPerNode {
		m.add(key, "more than %d argon2id lines may apply to one Node, and each costs every authentication: use sha256 for random tokens", maxHashesPerNode)
	}
	return t
}

// costs are those of several hashes.
type costs struct {
	hashes int
	cost   uint64
}

func (c costs) plus(h *argonHash) costs { return costs{c.hashes + 1, c.cost + h.cost()} }

// parseTokenLine reads a line. Its errors quote nothing of it: it might be a token put there by mistake.
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
	r.Node = nodeid.Canonical(r.Node)
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
	for _, line := range t.exact[r.Node] {
		try(line)
	}
	for _, line := range t.globs {
		if line.node.Match(r.Node) {
			try(line)
		}
	}
	switch {
	case found == 1:
		return yes()
	case t.cost == 0:
		return no(causeTokenUnknown)
	}
	return t.authenticateCostly(ctx, r, token, sum, costly[:n])
}

// authenticateCostly hashes with argon2id, unless this very token was found right lately.
func (t *tokens) authenticateCostly(ctx context.Context, r Request, token string, sum [32]byte, lines []*argonHash) Answer {
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write(sum[:])
	mac.Write([]byte(r.Node))
	known := [32]byte(mac.Sum(nil))
	if _, ok := t.sure.Get(known); ok {
		return yes()
	}
	found, undecided := t.hasher.match(ctx, r, token, lines, t.cost)
	switch {
	case undecided:
		return failed(causeHashingBusy)
	case !found:
		return no(causeTokenUnknown)
	}
	t.sure.Add(known, struct{}{})
	return yes()
}
