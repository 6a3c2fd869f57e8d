//go:build !portable && (amd64 || arm64 || riscv64)

package offload

// roster is a list of flows, of which each has its turn.
type roster struct {
	flows []*flow
	at    int // whose turn it was
}

func (r *roster) add(f *flow) { r.flows = append(r.flows, f) }

// next is the flow whose turn it is, or nil.
func (r *roster) next() *flow {
	if len(r.flows) == 0 {
		return nil
	}
	if r.at++; r.at >= len(r.flows) {
		r.at = 0
	}
	return r.flows[r.at]
}

// remove takes out the flow whose turn it was.
func (r *roster) remove() {
	last := len(r.flows) - 1
	r.flows[r.at], r.flows[last] = r.flows[last], nil
	r.flows = r.flows[:last]
	r.at--
}
