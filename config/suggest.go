package config

import (
	"fmt"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// unknown is the error for a name that does not exist, with the one that was perhaps meant.
func unknown(what, meant string) error {
	if meant == "" {
		return fmt.Errorf("unknown %s", what)
	}
	return fmt.Errorf("unknown %s; did you mean %s?", what, meant)
}

// nearestKey returns the key or table that an unknown path may stand for: the same name in another table, or one that
// is spelt much like it.
func nearestKey(path string, keys []Key, tables bool) string {
	leaf := path[strings.LastIndexByte(path, '.')+1:]
	table := strings.TrimSuffix(strings.TrimSuffix(path, leaf), ".")
	var siblings, everywhere []string
	same := ""
	for _, k := range keys {
		parent := strings.TrimSuffix(strings.TrimSuffix(k.Name, k.Leaf()), ".")
		if tables {
			everywhere = append(everywhere, parent)
			continue
		}
		everywhere = append(everywhere, k.Name)
		if parent == table {
			siblings = append(siblings, k.Name)
		}
		if k.Leaf() == leaf {
			if same != "" {
				same = "-" // in several tables: any of them may be meant
			} else {
				same = k.Name
			}
		}
	}
	if meant := nearest.Of(path, siblings); meant != "" {
		return meant
	}
	if same != "" && same != "-" {
		return same
	}
	return nearest.Of(path, everywhere)
}
