package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/nearest"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// rules is the mode of that name.
type rules struct {
	list     []rule
	fallback bool
}

type rule struct {
	from, to *matcher
	answer   Answer
}

const causeNoRule = "no rule matches, and hooks.authorize.default is deny"

func (r *rules) authorize(from, to string) Answer {
	from, to = nodeid.Canonical(from), nodeid.Canonical(to)
	for i := range r.list {
		if rule := &r.list[i]; rule.from.Match(from) && rule.to.Match(to) {
			return rule.answer
		}
	}
	if r.fallback {
		return yes()
	}
	return no(causeNoRule)
}

// compileRules checks groups and rules in every mode, so that a mistake does not wait for the day that mode is switched
// on.
func compileRules(cfg *Authorize, m *mistakes) *rules {
	const key = "hooks.authorize.rules"
	m.mode("hooks.authorize.default", &cfg.Default, ModeDeny, ModeAllow)
	groups := compileGroups(cfg.Groups, m)
	r := &rules{fallback: cfg.Default == ModeAllow}
	for i, given := range cfg.Rules {
		entry := fmt.Sprintf("%s[%d]", key, i)
		from, err := side(given.From, groups)
		if err != nil {
			m.add(entry+".from", "rule %d: from: %w", i+1, err)
		}
		to, err := side(given.To, groups)
		if err != nil {
			m.add(entry+".to", "rule %d: to: %w", i+1, err)
		}
		if given.Action != ModeAllow && given.Action != ModeDeny {
			m.add(entry+".action", "rule %d: action %q is neither allow nor deny", i+1, given.Action)
		}
		compiled := rule{from: from, to: to, answer: yes()}
		if given.Action != ModeAllow {
			compiled.answer = no(fmt.Sprintf("rule %d of hooks.authorize.rules (%s to %s)", i+1, given.From, given.To))
		}
		if from != nil && to != nil {
			for j := range r.list {
				if earlier := &r.list[j]; earlier.from != nil && earlier.to != nil && earlier.from.covers(from) && earlier.to.covers(to) {
					m.add(entry, "rule %d can never match: rule %d takes all that it would", i+1, j+1)
					break
				}
			}
		}
		r.list = append(r.list, compiled)
	}
	if cfg.Mode == ModeRules && len(cfg.Rules) == 0 {
		m.because("hooks.authorize.mode", key, `is empty, and hooks.authorize.mode is "rules": write a rule, or set the mode to allow or deny`)
	}
	return r
}

func compileGroups(groups map[string][]string, m *mistakes) map[string]*matcher {
	compiled := make(map[string]*matcher, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		key := "hooks.authorize.groups." + name
		if len(groups[name]) == 0 {
			m.add(key, "is empty: no rule with it can match")
		}
		globs := make([]*glob, 0, len(groups[name]))
		for i, text := range groups[name] {
			if strings.HasPrefix(text, "@") {
				m.add(key, `entry %d: a group cannot hold a group; write \@ for an id that begins so`, i+1)
				continue
			}
			g, err := compileGlob(text)
			if err != nil {
				m.add(key, "entry %d: %w", i+1, err)
				continue
			}
			globs = append(globs, g)
		}
		compiled[name] = newMatcher(globs)
	}
	return compiled
}

func side(text string, groups map[string]*matcher) (*matcher, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		if group := groups[name]; group != nil {
			return group, nil
		}
		if meant := nearest.Of(name, slices.Sorted(maps.Keys(groups))); meant != "" {
			return nil, fmt.Errorf("no group %q in hooks.authorize.groups; did you mean %q?", "@"+name, "@"+meant)
		}
		return nil, fmt.Errorf("no group %q in hooks.authorize.groups", "@"+name)
	}
	g, err := compileGlob(text)
	if err != nil {
		return nil, err
	}
	return newMatcher([]*glob{g}), nil
}
