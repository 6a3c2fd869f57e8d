package webguard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// tokenCheck compares presented tokens with the configured one. Hashes are compared, so that neither content nor length
// shows in the time it takes.
type tokenCheck struct {
	need bool
	want [sha256.Size]byte
}

func newTokenCheck(token string) tokenCheck {
	return tokenCheck{need: token != "", want: sha256.Sum256([]byte(token))}
}

func (t *tokenCheck) is(presented string) int {
	got := sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(got[:], t.want[:])
}

// ok tells whether r carries the token as Bearer, as the password of Basic, or in the query.
func (t *tokenCheck) ok(r *http.Request) bool {
	if !t.need {
		return true
	}
	found := 0
	for _, value := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(value, " ")
		rest = strings.TrimLeft(rest, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			found |= t.is(rest)
		case strings.EqualFold(scheme, "Basic"):
			if plain, err := base64.StdEncoding.DecodeString(rest); err == nil {
				_, password, _ := strings.Cut(string(plain), ":")
				found |= t.is(password)
			}
		}
	}
	for query := r.URL.RawQuery; query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if value, ok := strings.CutPrefix(pair, "token="); ok {
			if plain, err := url.QueryUnescape(value); err == nil {
				found |= t.is(plain)
			}
		}
	}
	return found == 1
}

// strip takes the token out of a request that passed, so that no handler can log or forward it.
func strip(r *http.Request) {
	delete(r.Header, "Authorization")
	if r.URL.RawQuery == "" {
		return
	}
	kept := make([]string, 0, 4)
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if !strings.HasPrefix(pair, "token=") {
			kept = append(kept, pair)
		}
	}
	r.URL.RawQuery = strings.Join(kept, "&")
	r.RequestURI = r.URL.RequestURI()
}
