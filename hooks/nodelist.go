package hooks

// nodeBlock is the size of the texts in which a nodeList keeps ids.
const nodeBlock = 32 << 10

// nodeList keeps ids of 1 to 256 bytes in hardly more memory than their bytes: a validity check may have millions. An
// id that is taken from it is part of a larger text, and has to be cloned to be kept.
type nodeList struct {
	blocks []string // each id after a byte that is its length less one
	open   []byte   // the block that is being filled
}

func (l *nodeList) add(id []byte) {
	if len(l.open)+1+len(id) > nodeBlock {
		l.blocks = append(l.blocks, string(l.open))
		l.open = l.open[:0]
	}
	l.open = append(append(l.open, byte(len(id)-1)), id...)
}

// done ends adding.
func (l *nodeList) done() {
	if len(l.open) > 0 {
		l.blocks = append(l.blocks, string(l.open))
		l.open = l.open[:0]
	}
}

// all goes through the ids, after done, as often as it is called.
func (l *nodeList) all(yield func(id string) bool) {
	for _, block := range l.blocks {
		for at := 0; at < len(block); {
			n := int(block[at]) + 1
			if !yield(block[at+1 : at+1+n]) {
				return
			}
			at += 1 + n
		}
	}
}

// reset forgets the ids.
func (l *nodeList) reset() {
	clear(l.blocks)
	l.blocks = l.blocks[:0]
	l.open = l.open[:0]
}
