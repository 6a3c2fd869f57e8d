package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// envPrefix begins the name of every variable.
const envPrefix = "CROLANG_AIO_"

// notKeys are variables with the prefix that belong to no key: those of the command line, and one of the tests, which
// hand on their environment to the program.
var notKeys = []string{envPrefix + "CONFIG", envPrefix + "REQUIRE_PEERS", envPrefix + "DOCTOR_PASSWORD"}

// Table is a table of the configuration, with its keys in the order of the documentation.
type Table struct {
	Name string // such as "turn.limits"; empty for what stands before all tables
	Doc  string // a sentence or two; may be empty
	Keys []Key
}

// Key is one setting. All that people are shown of it comes from here.
type Key struct {
	Name    string   // such as "turn.limits.allocations"
	Type    string   // in a word or two
	Default string   // as TOML
	Doc     string   // what it does, its units, its values: sentences
	Example string   // a value as TOML; may be empty
	Env     string   // the variable
	EnvFile string   // the variable that names a file with the value; empty if there is none
	Values  []string // of an enumeration; nil elsewhere
	Secret  bool
	Restart bool // a running process keeps the value that it was started with

	standard any                            // Default as a value
	decode   func(c *Config, v any) []fault // stores what is right
	fromEnv  func(text string) any          // a variable's text as a value
	fromFile func(text string) any          // that of a file which a variable names
	path     func(c *Config) *string        // nil but for paths
	isFile   bool                           // a path of a file that is read
	same     func(a, b *Config) bool
	copy     func(to, from *Config)
	count    func(c *Config) (n int64, ok bool) // the value of a number
	value    func(c *Config) any
	text     func(c *Config) string // the value, but for what is secret in it
}

// Leaf is the last part of Name: what stands before the "=" in the file.
func (k Key) Leaf() string { return k.Name[strings.LastIndexByte(k.Name, '.')+1:] }

// Keys lists every key, in the order of the documentation.
func Keys() []Key {
	var all []Key
	for _, t := range Tables() {
		all = append(all, t.Keys...)
	}
	return all
}

// Counts returns the numbers in the table of this name, such as "turn.limits", by the names of their keys. Texts,
// durations and the like are left out.
func (c *Config) Counts(table string) map[string]int64 {
	counts := map[string]int64{}
	for _, k := range Keys() {
		if n, ok := k.count(c); ok && strings.HasPrefix(k.Name, table+".") {
			counts[k.Name] = n
		}
	}
	return counts
}

// Text is the values of the keys whose names begin with prefix, by which two configurations can be compared. What is secret
// is masked.
func (c *Config) Text(prefix string) string {
	var b strings.Builder
	for _, k := range Keys() {
		if strings.HasPrefix(k.Name, prefix) {
			b.WriteString(k.Name + " = " + k.text(c) + "\n")
		}
	}
	return b.String()
}

// define makes a Key. standard is its default as a TOML value; at returns where the value is kept.
func define[T any](name string, standard any, k kind[T], at func(*Config) *T, doc string) Key {
	key := Key{
		Name: name, Type: k.name, Default: render(standard), Doc: doc, Values: k.values, Secret: k.secret,
		Env:      envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_")),
		standard: standard, fromEnv: k.env, fromFile: k.file,
	}
	if key.Secret {
		key.EnvFile = key.Env + "_FILE"
	}
	key.text = func(c *Config) string { return fmt.Sprint(*at(c)) }
	key.same = func(a, b *Config) bool { return reflect.DeepEqual(*at(a), *at(b)) }
	key.copy = func(to, from *Config) { *at(to) = *at(from) }
	key.value = func(c *Config) any { return *at(c) }
	key.count = func(c *Config) (int64, bool) {
		switch n := any(*at(c)).(type) {
		case int:
			return int64(n), true
		case int64:
			return n, true
		}
		return 0, false
	}
	key.decode = func(c *Config, v any) []fault {
		t, faults := k.parse(v)
		if faults == nil || k.partly {
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

// defineFile makes a Key for the path of a file that is read. It may be empty.
func defineFile(name string, at func(*Config) *string, doc string) Key {
	key := definePath(name, "", anything, at, doc)
	key.isFile = true
	return key
}

// example adds a value to show.
func (k Key) example(v string) Key {
	k.Example = v
	return k
}

// restart marks a key that a running process cannot change.
func (k Key) restart() Key {
	k.Restart = true
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

// standardValue converts a default to what the TOML library would give.
func standardValue(v any) any {
	if n, ok := v.(int); ok {
		return int64(n)
	}
	return v
}
