package webguard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/change"
)

// Settings are the parts of Config that Prepare can change while the Guard runs.
type Settings struct {
	Token     string   // "" lets everybody in
	ReadToken string   // takes the place of Token for GET and HEAD; "": there is none
	Hosts     []string // further host names and addresses, without port, by which the listener is reached
	Path      string   // below which a proxy shows the listener, such as "/turn/"; requests without it are taken too
}

// settings are Settings, ready for use. They never change.
type settings struct {
	token tokenCheck
	hosts hostSet
	path  string // without the last slash; "" if nothing has to go
}

func newSettings(s Settings) *settings {
	return &settings{token: newTokenCheck(s.Token, s.ReadToken), hosts: newHostSet(s.Hosts), path: strings.TrimRight(s.Path, "/")}
}

// Prepare gets other settings ready, for every request that begins after the change was applied.
func (g *Guard) Prepare(next Settings) (change.Change, error) {
	set := newSettings(next)
	return change.New(func() { g.set.Store(set) }, nil), nil
}

// refusals are the reasons for 403, with the keys that help.
type refusals struct{ errHost, errOrigin, errReadOnly error }

// newRefusals makes them for the keys of a table.
func newRefusals(table string) refusals {
	return refusals{
		errHost:     fmt.Errorf("the name in Host is not one of this server's: add it to %s.hosts, call by address, or send %s.token", table, table),
		errOrigin:   fmt.Errorf("a page of another site asks: if it is this server's own, shown by a proxy, add its name to %s.hosts", table),
		errReadOnly: fmt.Errorf("this token may look and not change anything: send %s.token", table),
	}
}

// Below returns a request as the handler sees it, with Settings.Path taken off, and whether it was below that path at all:
// the Guard takes others too, since a proxy may have taken it off.
func (g *Guard) Below(r *http.Request) (*http.Request, bool) {
	path := g.set.Load().path
	short := below(r, path)
	return short, path == "" || short != r
}

// below takes path off the front of a request's URL.
func below(r *http.Request, path string) *http.Request {
	if path == "" {
		return r
	}
	rest, ok := strings.CutPrefix(r.URL.Path, path)
	raw, okRaw := strings.CutPrefix(r.URL.RawPath, path)
	if !ok || rest != "" && rest[0] != '/' || r.URL.RawPath != "" && !okRaw {
		return r
	}
	if rest == "" {
		rest, raw = "/", ""
	}
	short := new(http.Request)
	*short = *r
	short.URL = new(url.URL)
	*short.URL = *r.URL
	short.URL.Path, short.URL.RawPath = rest, raw
	short.RequestURI = short.URL.RequestURI()
	return short
}
