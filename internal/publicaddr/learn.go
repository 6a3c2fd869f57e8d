package publicaddr

import (
	"net/netip"
	"slices"
)

// Seen is what the STUN servers of the configuration have said. Its zero value knows nothing.
type Seen struct {
	Mapped  netip.Addr   // the last address that most of them saw; invalid: none
	others  []netip.Addr // that some saw at the same time
	silent  []string     // those that gave no answer the last time
	because string       // of the first of them
}

// Learn returns what is known with further answers of servers. If none says anything, the last address stays.
func (s Seen) Learn(servers []string, answers []Answer) Seen {
	if len(servers) == 0 {
		return Seen{}
	}
	if len(answers) == 0 {
		return s
	}
	s.silent, s.because, s.others = nil, "", nil
	if a, ok := Majority(answers); ok {
		s.Mapped = a
	}
	for _, a := range answers {
		switch {
		case a.Err != nil:
			if s.silent = append(s.silent, a.Server); s.because == "" {
				s.because = a.Err.Error()
			}
		case a.Addr != s.Mapped && !slices.Contains(s.others, a.Addr):
			s.others = append(s.others, a.Addr)
		}
	}
	return s
}
