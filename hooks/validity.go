package hooks

import (
	"bytes"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

var (
	errConnected = invalid("connectedNodesIds is missing")
	errArray     = invalid("connectedNodesIds must be an array")
)

// validity names the Nodes that a Broker has to disconnect. It reads as a stream, since a Broker sends all its Nodes at
// once, and takes an entry of any kind: a strange one must not keep the others from being checked.
func (s *Server) validity(c *call) *errAnswer {
	body := c.paidFor(http.MaxBytesReader(c.w, c.r.Body, c.limit))
	var kept *bytes.Buffer
	if s.decider.cfg.Policy.NeedsBody() {
		kept = &bytes.Buffer{}
		body = io.TeeReader(body, kept)
	}
	c.out = append(c.out, `{"invalidNodesIds":[`...)
	v := validity{d: s.decider, start: c.start, name: func(node, _ string) {
		c.out = append(strictjson.AppendString(c.out, node), ',')
	}}
	failed := c.decodeConnected(body, func(raw []byte, escaped bool) { c.takeEntry(&v, raw, escaped) })
	if failed != nil {
		return failed
	}
	var raw []byte
	if kept != nil {
		raw = kept.Bytes()
	}
	c.nodes.done()
	_ = v.finish(c.r.Context(), c.nodes.all, raw) // whoever could not be asked about stays
	if v.named {
		c.out = c.out[:len(c.out)-1] // the last comma
	}
	c.out = append(c.out, `]}`...)
	s.seenNow()
	return nil
}

// decodeConnected calls entry with the raw text of each string in connectedNodesIds. Other entries cannot be Nodes and
// are passed over, however deep; so are other fields.
func (c *call) decodeConnected(body io.Reader, entry func(raw []byte, escaped bool)) *errAnswer {
	c.json.MaxDepth = int(c.limit)
	c.json.Reset(body)
	found := false
	item := func() error {
		kind, err := c.json.Kind()
		if err != nil {
			return err
		}
		if kind != '"' {
			return c.json.Skip()
		}
		raw, escaped, err := c.json.RawString()
		if err == nil {
			entry(raw, escaped)
		}
		return err
	}
	typed := true
	err := c.json.Object(func(name []byte) error {
		if string(name) != "connectedNodesIds" {
			return c.json.Skip()
		}
		found = true
		if kind, err := c.json.Kind(); err != nil {
			return err
		} else if kind != '[' {
			typed = false
			return c.json.Skip()
		}
		return c.json.Array(item)
	})
	if err == nil {
		err = c.json.End()
	}
	switch {
	case err != nil:
		return bodyError(err)
	case !typed:
		return errArray
	case !found:
		return errConnected
	}
	return nil
}

// takeEntry adds an id to the connected ones, or names it invalid: in the Broker's own spelling if it cannot be a
// Node's.
func (c *call) takeEntry(v *validity, raw []byte, escaped bool) {
	plain, whole := raw, true
	if escaped {
		plain, whole = strictjson.AppendUnquoted(nil, raw)
	}
	id := string(plain)
	if whole && nodeid.Valid(id) == nil {
		if !v.banned(id) {
			c.nodes.add(plain)
		}
		return
	}
	v.named = true
	if utf8.Valid(raw) {
		c.out = append(append(append(c.out, '"'), raw...), `",`...)
	} else {
		c.out = append(strictjson.AppendString(c.out, id), ',')
	}
}
