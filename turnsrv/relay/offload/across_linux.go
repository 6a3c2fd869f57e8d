//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"encoding/binary"
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// crosses reports whether flows that leave by an interface may go across: it is a veth whose other end is in another network
// namespace (the kernel drops them elsewhere), and they skip nothing that somebody has put there for what it sends. It has k.mu.
func (k *Kernel) crosses(index int) bool {
	yes, ok := k.across[index]
	if !ok {
		l, err := k.router.link(index)
		yes = err == nil && l.kind == "veth" && l.away && l.queue == "noqueue" && !k.router.filtered(index)
		k.across[index] = yes
	}
	return yes
}

// filtered reports whether there are programs or filters for what an interface sends, or may be.
func (r *router) filtered(index int) bool {
	q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXEgress})
	if err != nil || len(q.Programs) > 0 {
		return true
	}
	kind, err := r.filters(index)
	return err != nil || kind == "clsact" // ingress is for what comes in alone
}

// filters is the kind of what holds an interface's filters (tc(8)); empty: there is none.
func (r *router) filters(index int) (kind string, err error) {
	const clsact, size = 0xfffffff1, 20 // TC_H_CLSACT, of struct tcmsg
	r.mu.Lock()
	defer r.mu.Unlock()
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[12:], clsact)
	// The answer is an echo. Where there was a holder once, there is nothing to echo, and an acknowledgement or EINVAL comes.
	answer, err := r.ask(unix.RTM_GETQDISC, unix.RTM_NEWQDISC, unix.NLM_F_ECHO|unix.NLM_F_ACK, b)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || err == nil && len(answer) < size {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	err = attributes(answer[size:], func(attribute uint16, data []byte) error {
		if attribute == unix.TCA_KIND {
			kind = unix.ByteSliceToString(data)
		}
		return nil
	})
	return kind, err
}
