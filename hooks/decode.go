package hooks

import (
	"bytes"
	"errors"
	"io"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// maxFields bounds the fields of a request, known or not.
const maxFields = 64

// read appends all of body to c.body. The buffer grows with what has come, not with what was announced.
func (c *call) read(body io.Reader) error {
	for {
		if len(c.body) == cap(c.body) {
			c.body = append(c.body, 0)[:len(c.body)]
		}
		n, err := body.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// object reads c.body as one object with no name twice. field reads the value of each name.
func (c *call) object(field func(name []byte) error) *errAnswer {
	c.json.MaxDepth = 64
	c.json.ResetBytes(c.body)
	err := c.json.Object(func(name []byte) error {
		for _, seen := range c.names {
			if bytes.Equal(seen, name) {
				return errTwice
			}
		}
		if len(c.names) == maxFields {
			return errFields
		}
		c.names = append(c.names, name)
		return field(name)
	})
	if err == nil {
		err = c.json.End()
	}
	var refused *errAnswer
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, strictjson.ErrType):
		return errObject
	}
	return bodyError(err)
}

// Error makes an errAnswer one that can pass through a decoder.
func (e *errAnswer) Error() string { return e.text }

var (
	errTwice   = invalid(strictjson.ErrTwice.Error())
	errFields  = invalid("more than 64 fields")
	errObject  = invalid("the body must be a JSON object")
	errString  = invalid("a Node id must be a string")
	errDiffer  = invalid("id and nodeId differ")
	errMissing = invalid("the Node id is missing: id or nodeId")
	errPair    = invalid("from and to are needed")
)

// nodeID reads a value as a Node id.
func (c *call) nodeID() (string, error) {
	text, whole, err := c.text()
	if err != nil {
		return "", err
	}
	if !whole {
		return "", invalid(nodeid.ErrUTF8.Error())
	}
	if err := nodeid.Valid(text); err != nil {
		return "", invalid(err.Error())
	}
	return text, nil
}

// text reads a value as a string. whole is false if it holds half of a surrogate pair.
func (c *call) text() (text string, whole bool, err error) {
	if kind, err := c.json.Kind(); err != nil {
		return "", false, err
	} else if kind != '"' {
		return "", false, errString
	}
	raw, escaped, err := c.json.RawString()
	if err != nil {
		return "", false, err
	}
	if !escaped {
		return string(raw), true, nil
	}
	plain, whole := strictjson.AppendUnquoted(nil, raw)
	return string(plain), whole, nil
}

// decodeNode reads {"id" or "nodeId": …, "data": …}. data is the raw JSON in c.body, nil if there is none.
func (c *call) decodeNode() (node string, data []byte, _ *errAnswer) {
	if failed := c.readBody(); failed != nil {
		return "", nil, failed
	}
	failed := c.object(func(name []byte) error {
		switch string(name) {
		case "id", "nodeId":
			id, err := c.nodeID()
			switch {
			case err != nil:
				return err
			case node != "" && node != id:
				return errDiffer
			}
			node = id
			return nil
		case "data":
			if _, err := c.json.Kind(); err != nil { // past the white space
				return err
			}
			start := c.json.Offset()
			if err := c.json.Skip(); err != nil {
				return err
			}
			data = c.body[start:c.json.Offset()]
			return nil
		}
		return c.json.Skip()
	})
	if failed == nil && node == "" {
		failed = errMissing
	}
	return node, data, failed
}

// decodePair reads {"from": …, "to": …}.
func (c *call) decodePair() (from, to string, _ *errAnswer) {
	if failed := c.readBody(); failed != nil {
		return "", "", failed
	}
	failed := c.object(func(name []byte) (err error) {
		switch string(name) {
		case "from":
			from, err = c.nodeID()
			return err
		case "to":
			to, err = c.nodeID()
			return err
		}
		return c.json.Skip()
	})
	if failed == nil && (from == "" || to == "") {
		failed = errPair
	}
	return from, to, failed
}

// decodeMessage reads {"senderId": …, "receiverId": …} of a body that was read already. The ids may be any text.
func (c *call) decodeMessage() (from, to string, _ *errAnswer) {
	failed := c.object(func(name []byte) (err error) {
		switch string(name) {
		case "senderId":
			from, _, err = c.text()
			return err
		case "receiverId":
			to, _, err = c.text()
			return err
		}
		return c.json.Skip()
	})
	if failed == nil && (from == "" || to == "") {
		failed = errPair
	}
	return from, to, failed
}
