package policy

// matcher is a set of globs. Those that match a single id are looked up, so that long lists of Nodes cost nothing.
type matcher struct {
	exact map[string]struct{}
	globs []*glob // the others
	all   []*glob // in order
}

func newMatcher(globs []*glob) *matcher {
	m := &matcher{exact: map[string]struct{}{}, all: globs}
	for _, g := range globs {
		if g.exact {
			m.exact[g.literal] = struct{}{}
		} else {
			m.globs = append(m.globs, g)
		}
	}
	return m
}

// Match reports whether any of the globs matches.
func (m *matcher) Match(node string) bool {
	if _, ok := m.exact[node]; ok {
		return true
	}
	for _, g := range m.globs {
		if g.Match(node) {
			return true
		}
	}
	return false
}

// covers reports whether every id that other matches is surely matched by m.
func (m *matcher) covers(other *matcher) bool {
	for _, narrow := range other.all {
		if !m.coversGlob(narrow) {
			return false
		}
	}
	return true
}

func (m *matcher) coversGlob(narrow *glob) bool {
	if narrow.exact {
		return m.Match(narrow.literal)
	}
	for _, wide := range m.globs {
		if wide.covers(narrow) {
			return true
		}
	}
	return false
}
