package webguard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// permission is what a request may do.
type permission uint8

const (
	mayNothing permission = iota
	mayRead
	mayAll
)

// tokenCheck compares presented tokens with the configured ones. Hashes are compared, so that neither content nor
// length shows in the time it takes.
type tokenCheck struct {
	need      bool
	want      [sha256.Size]byte
	hasRead   bool
	wantsRead [sha256.Size]byte
}

func newTokenCheck(token, read string) tokenCheck {
	return tokenCheck{
		need: token != "", want: sha256.Sum256([]byte(token)),
		hasRead: read != "", wantsRead: sha256.Sum256([]byte(read)),
	}
}

// of returns what r may do by the token that it carries as Bearer, as the password of Basic, or in the query.
func (t *tokenCheck) of(r *http.Request) permission {
	if !t.need {
		return mayAll
	}
	all, read := 0, 0
	is := func(presented string) {
		got := sha256.Sum256([]byte(presented))
		all |= subtle.ConstantTimeCompare(got[:], t.want[:])
		read |= subtle.ConstantTimeCompare(got[:], t.wantsRead[:])
	}
	for _, value := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(value, " ")
		rest = strings.TrimLeft(rest, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			is(rest)
		case strings.EqualFold(scheme, "Basic"):
			if plain, err := base64.StdEncoding.DecodeString(rest); err == nil {
				_, password, _ := strings.Cut(string(plain), ":")
				is(password)
			}
		}
	}
	for query := r.URL.RawQuery; query != ""; {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if value, ok := strings.CutPrefix(pair, "token="); ok {
			if plain, err := url.QueryUnescape(value); err == nil {
				is(plain)
			}
		}
	}
	switch {
	case all == 1:
		return mayAll
	case read == 1 && t.hasRead:
		return mayRead
	}
	return mayNothing
}

type permissionKey struct{}

// ReadOnly reports whether a request that a Guard let in came with the token that may look and change nothing.
func ReadOnly(r *http.Request) bool { return r.Context().Value(permissionKey{}) == mayRead }

// WithToken reports whether a request that a Guard let in, and that is no GET or HEAD, came with the token that may change things:
// where none is set, it came without.
func WithToken(r *http.Request) bool { return r.Context().Value(permissionKey{}) == mayAll }

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
