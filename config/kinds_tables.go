package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"

	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// envTOML reads a variable that holds what would stand behind the "=" in the file.
func envTOML(text string) any {
	var doc map[string]any
	if err := decodeTOML("value = "+text, &doc); err != nil || len(doc) != 1 {
		return unreadable{}
	}
	return plain(doc["value"])
}

// plain makes arrays of tables lists like any other.
func plain(v any) any {
	switch v := v.(type) {
	case []map[string]any:
		list := make([]any, len(v))
		for i, t := range v {
			list[i] = plain(t)
		}
		return list
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// decodeTOML is toml.Decode into a map. The library panics at its own mistakes. Here that is an error, since others
// write what is read.
func decodeTOML(text string, into *map[string]any) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the file cannot be read as TOML")
		}
	}()
	if tooDeep := checkNesting(text); tooDeep != nil {
		return tooDeep
	}
	_, err = toml.Decode(text, into)
	return err
}

// column is a key of a table in a list.
type column struct {
	name     string
	required bool
	read     func(v any) []fault
}

func columnOf[T any](name string, required bool, k kind[T], into *T) column {
	return column{name, required, func(v any) (faults []fault) {
		*into, faults = k.parse(v)
		return faults
	}}
}

// row reads a table with these columns only.
func row(v any, columns ...column) []fault {
	t, ok := v.(map[string]any)
	if !ok {
		return []fault{{err: wrongType("a table", v)}}
	}
	var faults []fault
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
		value, ok := t[c.name]
		if !ok {
			if c.required {
				faults = append(faults, fault{err: fmt.Errorf("%s is missing", c.name)})
			}
			continue
		}
		for _, f := range c.read(value) {
			faults = append(faults, fault{at: "." + c.name + f.at, err: fmt.Errorf("%s: %w", c.name, f.err)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if !slices.Contains(names, name) {
			faults = append(faults, fault{at: "." + toml.Key{name}.String(), err: unknown("key "+toml.Key{name}.String(), nearest.Of(name, names))})
		}
	}
	return faults
}

// ruleKind is an entry of hooks.authorize.rules.
func ruleKind() kind[Rule] {
	return kind[Rule]{name: "rule", parse: func(v any) (r Rule, faults []fault) {
		node := text(notEmpty)
		faults = row(v, columnOf("from", true, node, &r.From), columnOf("to", true, node, &r.To),
			columnOf("action", true, oneOf("allow", "deny"), &r.Action))
		return r, faults
	}}
}

// regionKind is an entry of fleet.regions.
func regionKind() kind[Region] {
	return kind[Region]{name: "region", parse: func(v any) (r Region, faults []fault) {
		faults = row(v, columnOf("prefix", true, text(prefix), &r.Prefix), columnOf("region", true, text(fleetName), &r.Region))
		return r, faults
	}}
}

// serverKind is an entry of hooks.rtc.extra_ice_servers.
func serverKind() kind[ICEServer] {
	return kind[ICEServer]{name: "server", secret: true, parse: func(v any) (s ICEServer, faults []fault) {
		faults = row(v, columnOf("urls", true, list(text(iceURL)), &s.URLs),
			columnOf("username", false, text(anything), &s.Username),
			columnOf("password", false, secret(anything), &s.Password))
		if faults != nil {
			return s, faults
		}
		turn := slices.ContainsFunc(s.URLs, func(u string) bool { return strings.HasPrefix(u, "turn") })
		switch {
		case len(s.URLs) == 0:
			faults = append(faults, fault{at: ".urls", err: errors.New("urls: must not be empty")})
		case turn && (s.Username == "" || !s.Password.IsSet()):
			faults = append(faults, fault{err: errors.New("a turn: URL needs username and password")})
		}
		return s, faults
	}}
}

// tableList is a list of tables, which a variable holds as TOML.
func tableList[T any](k kind[T]) kind[[]T] {
	l := list(k)
	l.env, l.file = envTOML, envTOML
	return l
}

// groupsKind is hooks.authorize.groups: lists of globs by the name of the group.
func groupsKind() kind[map[string][]string] {
	globs := list(text(notEmpty))
	return kind[map[string][]string]{name: "table of lists of strings", env: envTOML, parse: func(v any) (map[string][]string, []fault) {
		t, ok := v.(map[string]any)
		if !ok {
			return nil, []fault{{err: wrongType(`a table such as {admins = ["alice", "bob-*"]}`, v)}}
		}
		groups := make(map[string][]string, len(t))
		var faults []fault
		for _, name := range slices.Sorted(maps.Keys(t)) {
			at := "." + toml.Key{name}.String()
			if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
				faults = append(faults, fault{at: at, sub: at, err: errors.New("is no name for a group")})
				continue
			}
			entries, wrong := globs.parse(t[name])
			groups[name] = entries
			for _, f := range wrong {
				faults = append(faults, fault{at: at + f.at, sub: at, err: f.err})
			}
		}
		return groups, faults
	}}
}
