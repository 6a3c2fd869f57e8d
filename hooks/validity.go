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

// validity names the Nodes that a Broker has to disconnect: ids that we would not accept, banned ones, and those that
// the policy refuses. It reads as a stream, since a Broker sends all its Nodes at once, and takes whatever an id looks
// like: a strange entry must not keep the others from being checked.
func (s *Server) validity(c *call) (refused bool, _ *errAnswer) {
	body := io.Reader(http.MaxBytesReader(c.w, c.r.Body, c.limit))
	var kept *bytes.Buffer
	if s.cfg.Policy.NeedsBody() {
		kept = &bytes.Buffer{}
		body = io.TeeReader(body, kept)
	}
	c.out = append(c.out, `{"invalidNodesIds":[`...)
	empty := len(c.out)
	if failed := c.decodeConnected(body, s.checkEntry); failed != nil {
		return false, failed
	}
	if len(c.nodes) > 0 {
		var raw []byte
		if kept != nil {
			raw = kept.Bytes()
		}
		s.askInvalid(c, raw)
		s.cfg.Registry.Validated(c.nodes)
	}
	named := len(c.out) > empty
	if named {
		c.out = c.out[:len(c.out)-1] // the last comma
	}
	c.out = append(c.out, `]}`...)
	return named, nil
}

// decodeConnected calls entry with the raw text of each string in connectedNodesIds. Other entries cannot be Nodes and
// are passed over, however deep; so are other fields.
func (c *call) decodeConnected(body io.Reader, entry func(c *call, raw []byte, escaped bool)) *errAnswer {
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
			entry(c, raw, escaped)
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

// checkEntry adds an id to the connected ones, or names it invalid, in the Broker's own spelling.
func (s *Server) checkEntry(c *call, raw []byte, escaped bool) {
	plain, whole := raw, true
	if escaped {
		plain, whole = strictjson.AppendUnquoted(nil, raw)
	}
	id := string(plain)
	if !whole || nodeid.Valid(id) != nil {
		if utf8.Valid(raw) {
			c.out = append(append(append(c.out, '"'), raw...), `",`...)
		} else {
			c.out = append(strictjson.AppendString(c.out, id), ',')
		}
		return
	}
	if cause, banned := s.banned(id); banned {
		s.nameInvalid(c, id, cause)
		return
	}
	c.nodes = append(c.nodes, id)
}

func (s *Server) nameInvalid(c *call, node, cause string) {
	c.out = append(strictjson.AppendString(c.out, node), ',')
	s.cfg.Registry.NamedInvalid(node, "named invalid to the Broker: "+cause)
}

// askInvalid lets the policy name some of c.nodes and takes those out.
func (s *Server) askInvalid(c *call, body []byte) {
	var gone map[string]bool
	s.cfg.Policy.Invalid(c.r.Context(), c.nodes, body, func(node, cause string) {
		if gone == nil {
			gone = map[string]bool{}
		}
		if !gone[node] {
			gone[node] = true
			s.nameInvalid(c, node, cause)
		}
	})
	if gone == nil {
		return
	}
	kept := c.nodes[:0]
	for _, node := range c.nodes {
		if !gone[node] {
			kept = append(kept, node)
		}
	}
	clear(c.nodes[len(kept):])
	c.nodes = kept
}
