package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// The causes for which a JWT is refused. They quote nothing of the token.
const (
	causeJWTMalformed = "token is no JWT"
	causeJWTAlgorithm = "token is signed with an algorithm that is not accepted"
	causeJWTSignature = "token signature is wrong"
	causeJWTNoKey     = "token was signed with an unknown key"
	causeJWTCritical  = "token needs an extension that is not known (crit)"
	causeJWTKeys      = "the keys that tokens are checked with are not loaded"
	causeJWTAudience  = "token is for another audience"
	causeJWTIssuer    = "token is from another issuer"
	causeJWTClaims    = "token has claims of a wrong type"
	causeJWTNode      = "token is for another Node"
	causeJWTClaim     = "token has no claim that names a Node"
)

var (
	errUnknownKey = errors.New(causeJWTNoKey)
	errCritical   = errors.New(causeJWTCritical)
	errNoKeys     = errors.New(causeJWTKeys)
	errAlgorithm  = errors.New(causeJWTAlgorithm)
)

// keySource finds the key for a token: what a jwt.Keyfunc may return.
type keySource interface {
	// key finds it by the name that the token has for it, which may be empty.
	key(ctx context.Context, kid, algorithm string) (any, error)
	// again reports whether there may be other keys by now, after having looked for some.
	again(ctx context.Context) bool
}

// jwtMode is the mode jwt.
type jwtMode struct {
	parser   *jwt.Parser
	keys     keySource
	claim    string
	leeway   time.Duration
	now      func() time.Time
	expiries *lru.Cache[string, time.Time] // when each Node's token ends, for the validity check
}

// compileJWT makes the mode from its configuration. jwks is set if the keys have to be kept up to date.
func compileJWT(cfg *Authenticate, now func() time.Time, m *mistakes) (mode *jwtMode, keys *jwks) {
	const table = "hooks.authenticate.jwt."
	j := &cfg.JWT
	m.notNegative(table+"leeway", int64(j.Leeway))
	if j.JWKSRefresh != 0 && j.JWKSRefresh < time.Second {
		m.add(table+"jwks_refresh", "is shorter than 1s")
	}
	setDefault(&j.JWKSRefresh, time.Hour)
	if j.Claim == "" {
		j.Claim = "sub"
	}
	m.url(table+"jwks_url", j.JWKSURL, "", "")
	first, several := "", false
	for _, source := range []struct{ key, value string }{
		{"secret", j.Secret}, {"public_key_file", j.PublicKeyFile}, {"jwks_file", j.JWKSFile}, {"jwks_url", j.JWKSURL},
	} {
		switch {
		case source.value == "":
		case first == "":
			first = table + source.key
		default:
			several = true
			m.because(first, table+source.key, "is set, and %s too: only one of them can be", first)
		}
	}
	switch {
	case several:
		return nil, nil
	case first == "":
		if cfg.Mode == ModeJWT {
			m.because("hooks.authenticate.mode", "hooks.authenticate.jwt",
				`hooks.authenticate.mode is "jwt": set one of secret, public_key_file, jwks_file, jwks_url`)
		}
		return nil, nil
	}
	mode = &jwtMode{claim: j.Claim, leeway: j.Leeway, now: now}
	mode.keys, keys = compileKeys(j, now, m)
	options := []jwt.ParserOption{jwt.WithLeeway(j.Leeway), jwt.WithTimeFunc(now)}
	if j.Audience != "" {
		options = append(options, jwt.WithAudience(j.Audience))
	}
	if j.Issuer != "" {
		options = append(options, jwt.WithIssuer(j.Issuer))
	}
	mode.parser = jwt.NewParser(options...)
	return mode, keys
}

func compileKeys(j *JWT, now func() time.Time, m *mistakes) (keySource, *jwks) {
	const table = "hooks.authenticate.jwt."
	switch {
	case j.Secret != "":
		return &singleKey{value: []byte(j.Secret), algorithms: []string{"HS256"}}, nil
	case j.PublicKeyFile != "":
		key, err := readPublicKey(j.PublicKeyFile)
		if err != nil {
			m.add(table+"public_key_file", "%w", err)
			return nil, nil
		}
		return key, nil
	case j.JWKSFile != "":
		keys := newJWKS(j.JWKSFile, fileFetcher(j.JWKSFile), j.JWKSRefresh, now)
		if err := keys.load(context.Background()); err != nil {
			m.add(table+"jwks_file", "%w", err)
		}
		return keys, keys
	}
	keys := newJWKS(j.JWKSURL, urlFetcher(j.JWKSURL), j.JWKSRefresh, now)
	return keys, keys
}

// singleKey is a secret or the key of a file. It ignores a token's key id.
type singleKey struct {
	value      any
	algorithms []string
}

func (k *singleKey) key(_ context.Context, _, algorithm string) (any, error) {
	if !slices.Contains(k.algorithms, algorithm) {
		return nil, errAlgorithm
	}
	return k.value, nil
}

func (*singleKey) again(context.Context) bool { return false }

func readPublicKey(path string) (*singleKey, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parsePublicKey(text)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > maxJWKS:
		return nil, fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return os.ReadFile(path)
}

// authenticate checks the token and remembers when it ends.
func (j *jwtMode) authenticate(ctx context.Context, r Request) Answer {
	node := nodeid.Canonical(r.Node)
	token, cause := tokenFrom(r.Data)
	if cause != "" {
		return no(cause)
	}
	claims, named, err := j.parse(ctx, token)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) && !named && j.keys.again(ctx) { // its key may be newer than the set
		claims, _, err = j.parse(ctx, token)
	}
	switch {
	case errors.Is(err, errNoKeys):
		return failed(causeJWTKeys)
	case err != nil:
		return no(j.cause(err, claims))
	}
	switch name, ok := claims[j.claim].(string); {
	case !ok:
		return no(causeJWTClaim)
	case nodeid.Canonical(name) != node:
		return no(causeJWTNode)
	}
	if end, err := claims.GetExpirationTime(); err == nil && end != nil {
		j.expiries.Add(node, end.Add(j.leeway))
	} else {
		j.expiries.Remove(node)
	}
	return yes()
}

// parse checks signature and times. named: the token names its key.
func (j *jwtMode) parse(ctx context.Context, token string) (claims jwt.MapClaims, named bool, err error) {
	claims = jwt.MapClaims{}
	_, err = j.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515 §4.1.11
			return nil, errCritical
		}
		kid, _ := t.Header["kid"].(string)
		named = kid != ""
		return j.keys.key(ctx, kid, t.Method.Alg())
	})
	return claims, named, err
}

// cause says in plain words why a token was refused.
func (j *jwtMode) cause(err error, claims jwt.MapClaims) string {
	for _, known := range []error{errUnknownKey, errCritical, errAlgorithm} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return causeJWTMalformed
	case errors.Is(err, jwt.ErrTokenUnverifiable): // an algorithm that the library does not know
		return causeJWTAlgorithm
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return causeJWTSignature
	case errors.Is(err, jwt.ErrTokenExpired):
		if end, _ := claims.GetExpirationTime(); end != nil {
			return fmt.Sprintf("token expired %s ago", j.now().Sub(end.Time).Round(time.Second))
		}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		if start, _ := claims.GetNotBefore(); start != nil {
			return fmt.Sprintf("token is valid only in %s", start.Sub(j.now()).Round(time.Second))
		}
	case errors.Is(err, jwt.ErrTokenInvalidAudience), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return causeJWTAudience
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return causeJWTIssuer
	}
	return causeJWTClaims
}

// nameExpired names the Nodes whose token has ended since they came in.
func nameExpired(expiries *lru.Cache[string, time.Time], nodes iter.Seq[string], now time.Time, name func(node, cause string)) {
	if expiries.Len() == 0 {
		return
	}
	for node := range nodes {
		if end, ok := expiries.Get(nodeid.Canonical(node)); ok && now.After(end) {
			name(node, fmt.Sprintf("token expired %s ago", now.Sub(end).Round(time.Second)))
		}
	}
}
