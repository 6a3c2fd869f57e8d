package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// envPrefix begins the name of every variable.
const envPrefix = "CROLANG_AIO_"

// notKeys are the variables with the prefix that are no keys: the command line's own, and one of the tests, which run
// the program with the environment that they were given.
var notKeys = []string{envPrefix + "CONFIG", envPrefix + "REQUIRE_PEERS", envPrefix + "DOCTOR_PASSWORD"}

// notBuilt are values that the documentation has and the program has not yet. There are none at present.
var notBuilt = map[string][]string{}

// Table is a table of the configuration, with its keys in the order of the documentation.
type Table struct {
	Name string // such as "turn.limits"; empty for what stands before all tables
	Doc  string // a sentence or two; may be empty
	Keys []Key
}

// Key is one setting. All that is shown of it to people comes from here.
type Key struct {
	Name     string   // such as "turn.limits.allocations"
	Type     string   // in a word or two
	Default  string   // as TOML
	Doc      string   // what it does, its units, its values: sentences
	Example  string   // a value as TOML; may be empty
	Env      string   // the variable
	EnvFile  string   // the variable that names a file with the value; empty where there is none
	Values   []string // of an enumeration; nil elsewhere
	NotBuilt []string // those of Values that are refused for now
	Secret   bool

	standard any                            // Default as a value
	decode   func(c *Config, v any) []fault // stores what is right
	fromEnv  func(text string) any          // a variable's text as a value
	fromFile func(text string) any          // that of a file which a variable names
	path     func(c *Config) *string        // nil but for paths
	same     func(a, b *Config) bool
}

// Leaf is the last part of Name: what stands before the "=" in the file.
func (k Key) Leaf() string { return k.Name[strings.LastIndexByte(k.Name, '.')+1:] }

// built are the values of an enumeration that are not refused.
func (k Key) built() []string {
	return slices.DeleteFunc(slices.Clone(k.Values), func(v string) bool { return slices.Contains(k.NotBuilt, v) })
}

// wholeTable tells whether the key is a table itself, whose names are the user's.
func (k Key) wholeTable() bool { return k.Default == "{}" }

// Keys lists every key, in the order of the documentation.
func Keys() []Key {
	var all []Key
	for _, t := range Tables() {
		all = append(all, t.Keys...)
	}
	return all
}

// Changed names the keys whose values differ between a and b, in the order of the file.
func Changed(a, b *Config) []string {
	var names []string
	for _, k := range Keys() {
		if !k.same(a, b) {
			names = append(names, k.Name)
		}
	}
	return names
}

// define makes a Key. standard is its default as a TOML value, and at where the value is kept.
func define[T any](name string, standard any, k kind[T], at func(*Config) *T, doc string) Key {
	key := Key{
		Name: name, Type: k.name, Default: render(standard), Doc: doc, Values: k.values, Secret: k.secret,
		Env:      envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_")),
		standard: standard, fromEnv: k.env, fromFile: k.file,
	}
	if key.Secret {
		key.EnvFile = key.Env + "_FILE"
	}
	for _, v := range k.values {
		if slices.Contains(notBuilt[name], v) {
			key.NotBuilt = append(key.NotBuilt, v)
		}
	}
	key.same = func(a, b *Config) bool { return reflect.DeepEqual(*at(a), *at(b)) }
	key.decode = func(c *Config, v any) []fault {
		if s, ok := v.(string); ok && key.NotBuilt != nil {
			if slices.Contains(key.NotBuilt, s) {
				return []fault{{err: fmt.Errorf("%q is not built yet, only %s", s, strings.Join(key.built(), ", "))}}
			}
			if !slices.Contains(key.Values, s) {
				return []fault{{err: noneOf(s, key.built())}}
			}
		}
		t, faults := k.parse(v)
		if faults == nil {
			*at(c) = t
		}
		return faults
	}
	return key
}

// definePath makes a Key for a path, which is relative to the folder of the file.
func definePath(name, standard string, check func(string) error, at func(*Config) *string, doc string) Key {
	key := define(name, any(standard), text(check), at, doc)
	key.Type, key.path = "path", at
	return key
}

// example adds a value to show.
func (k Key) example(v string) Key {
	k.Example = v
	return k
}

// none is the default of a list.
func none() any { return []any{} }

// render writes a value as TOML.
func render(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v) // the defaults are plain ASCII, where Go and TOML agree
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		entries := make([]string, len(v))
		for i := range v {
			entries[i] = render(v[i])
		}
		return "[" + strings.Join(entries, ", ") + "]"
	}
	return "{}"
}

// standardValue is a default as the TOML library would give it.
func standardValue(v any) any {
	if n, ok := v.(int); ok {
		return int64(n)
	}
	return v
}
