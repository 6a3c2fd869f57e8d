package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// Find returns the key of that name. Its error names the one that was meant, if it can be guessed.
func Find(name string) (Key, error) {
	keys := Keys()
	if i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name }); i >= 0 {
		return keys[i], nil
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	if meant := nearest.Of(name, names); meant != "" {
		return Key{}, fmt.Errorf("there is no key %q; did you mean %s?", name, meant)
	}
	return Key{}, fmt.Errorf("there is no key %q: crolang-aio config init prints them all", name)
}

// Value is what c has for the key, as JSON would have it. A secret is shown as set or not, and never itself.
func (k Key) Value(c *Config) any {
	switch v := k.value(c).(type) {
	case time.Duration:
		return v.String()
	case slog.Level:
		return strings.ToLower(v.String())
	case fmt.Stringer:
		return v.String()
	default:
		return v
	}
}

// Text is Value as the key's variable would have it: a list's entries are separated by commas, and what has an inner
// shape is JSON.
func (k Key) Text(c *Config) (string, error) {
	switch v := k.Value(c).(type) {
	case string:
		return v, nil
	case []string:
		return strings.Join(v, ","), nil
	case []Secret:
		entries := make([]string, len(v))
		for i, s := range v {
			entries[i] = s.String()
		}
		return strings.Join(entries, ","), nil
	default:
		b, err := json.Marshal(v)
		return string(b), err
	}
}
