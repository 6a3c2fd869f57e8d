package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// maxLine is how many bytes of a line of the events are read.
const maxLine = 1 << 20

// Follow calls each with what happens to Nodes, to one alone unless node is empty, until ctx ends, each fails, or the server
// ends. It returns nil if ctx has ended, and what each returned.
func (c *Client) Follow(ctx context.Context, node string, each func(nodes.Event) error) error {
	q := url.Values{}
	if node != "" {
		q.Set("node", node)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	endless := *c.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.stranger(readAnswer(resp.StatusCode, "/api/events", []byte("{}"), nil))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	note := false
	for lines.Scan() {
		line := lines.Bytes()
		if name, found := bytes.CutPrefix(line, []byte("event: ")); found {
			note = string(name) == "note"
		}
		data, found := bytes.CutPrefix(line, []byte("data: "))
		if !found || !note {
			continue
		}
		var e nodes.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return c.stranger(ErrStranger)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("the server has ended, or closed the stream of events")
}
