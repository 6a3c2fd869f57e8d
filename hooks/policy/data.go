package policy

import (
	"errors"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// maxToken is the longest token that is looked at. A Node sends its token in a query string.
const maxToken = 16 << 10

// The reasons why no token is found in what a Node sent.
const (
	causeNoToken    = "no token"
	causeLongToken  = "token longer than 16 KiB"
	causeTwice      = "token given twice"
	causeNoText     = "token is not a string"
	causeDataFormat = "data is neither an object with a token nor a string"
)

var errTwoTokens = errors.New(causeTwice)

// tokenFrom finds the token in a request's data, which is what a Node put into its query string: an object
// {"token": "…"}, the same as JSON text in a string, an array whose first string counts, or a string that is the token.
// cause is empty if one was found.
func tokenFrom(data []byte) (token, cause string) {
	var r strictjson.Reader
	r.ResetBytes(data)
	kind, err := r.Kind()
	if err != nil {
		return "", causeNoToken
	}
	switch kind {
	case 'n':
		return "", causeNoToken
	case '{':
		token, cause = tokenInObject(&r)
	case '[':
		token, cause = tokenInArray(&r)
	case '"':
		token, cause = tokenInString(&r)
	default:
		return "", causeDataFormat
	}
	switch {
	case cause != "":
		return "", cause
	case token == "":
		return "", causeNoToken
	case len(token) > maxToken:
		return "", causeLongToken
	}
	return token, ""
}

// text reads the next string with its escapes undone.
func text(r *strictjson.Reader) (string, error) {
	raw, escaped, err := r.RawString()
	if err != nil || !escaped {
		return string(raw), err
	}
	plain, _ := strictjson.AppendUnquoted(nil, raw)
	return string(plain), nil
}

func tokenInObject(r *strictjson.Reader) (token, cause string) {
	found := false
	err := r.Object(func(name []byte) error {
		if string(name) != "token" {
			return r.Skip()
		}
		if found {
			return errTwoTokens
		}
		found = true
		var err error
		token, err = text(r)
		return err
	})
	switch {
	case err == nil:
		return token, ""
	case errors.Is(err, errTwoTokens):
		return "", causeTwice
	case errors.Is(err, strictjson.ErrType):
		return "", causeNoText
	}
	return "", causeDataFormat
}

// tokenInArray reads the first value. The rest was checked when the request was read.
func tokenInArray(r *strictjson.Reader) (token, cause string) {
	token, cause = "", causeNoToken
	first := true
	err := r.Array(func() error {
		if !first {
			return r.Skip()
		}
		first = false
		token, cause = tokenInString(r)
		if cause == causeNoText {
			return r.Skip()
		}
		return nil
	})
	if err != nil {
		return "", causeDataFormat
	}
	return token, cause
}

// tokenInString reads a string: JSON text, or the token itself.
func tokenInString(r *strictjson.Reader) (token, cause string) {
	if kind, err := r.Kind(); err != nil || kind != '"' {
		return "", causeNoText
	}
	inner, err := text(r)
	if err != nil {
		return "", causeDataFormat
	}
	var nested strictjson.Reader
	nested.ResetBytes([]byte(inner))
	if nested.Skip() != nil || nested.End() != nil {
		return inner, ""
	}
	nested.ResetBytes([]byte(inner))
	switch kind, _ := nested.Kind(); kind {
	case '{':
		return tokenInObject(&nested)
	case '"':
		token, err = text(&nested)
		if err != nil {
			return "", causeDataFormat
		}
		return token, ""
	case '[':
		return "", causeDataFormat
	case 'n':
		return "", causeNoToken
	}
	return inner, "" // a number, true or false: a token that happens to look like one
}
