package fleet

// maxMissed is how many messages are kept until what was missed before them has come.
const maxMissed = 64

// follow is how far what one other machine says in numbered messages is known. Redis has all of it up to some message, for who has
// missed one. Whoever has a follow locks it.
type follow[T any] struct {
	seq    uint64       // of the last message
	missed bool         // others before those in later were missed
	later  []message[T] // what came after that
}

type message[T any] struct {
	seq  uint64
	said T
}

// take notes a message, and reports whether it is a new one.
func (w *follow[T]) take(seq uint64, said T) bool {
	if seq <= w.seq {
		return false
	}
	w.missed = w.missed || seq != w.seq+1
	if w.seq = seq; w.missed {
		if len(w.later) == maxMissed {
			w.later = w.later[1:]
		}
		w.later = append(w.later, message[T]{seq, said})
	}
	return true
}

// behind reports whether what stands in Redis, up to a message, is needed and is enough.
func (w *follow[T]) behind(upTo uint64) bool {
	return upTo > w.seq || w.missed && w.fills(upTo)
}

// fills reports whether nothing is missing between a message and those that are kept.
func (w *follow[T]) fills(upTo uint64) bool { return len(w.later) > 0 && upTo+1 >= w.later[0].seq }

// since returns what is kept of what was said after a message.
func (w *follow[T]) since(seq uint64) (said []T) {
	for _, m := range w.later {
		if m.seq > seq {
			said = append(said, m.said)
		}
	}
	return said
}

// catchUp notes that all up to a message is known, and returns what was said after it. It is not ok, and changes nothing, if that is
// older than what was missed.
func (w *follow[T]) catchUp(upTo uint64) (said []T, ok bool) {
	if len(w.later) > 0 && !w.fills(upTo) {
		return nil, false
	}
	said = w.since(upTo)
	w.missed, w.later, w.seq = false, nil, max(w.seq, upTo)
	return said, true
}

// following returns the follow of a machine, which it makes if there is none.
func following[W any](all map[string]*W, boot string) *W {
	w := all[boot]
	if w == nil {
		w = new(W)
		all[boot] = w
	}
	return w
}
