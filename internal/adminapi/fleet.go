package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Ban is a line of GET /api/bans.
type Ban struct {
	nodes.Ban

	Unshared bool `json:"unshared,omitempty"` // the fleet's Redis does not have it yet, so that machines that are away do not know of it
}

// Spread is how far a ban has come in the fleet when it is answered.
type Spread struct {
	Machines int      `json:"machines"` // that have it in force, this one too
	Closed   int      `json:"closed"`   // allocations that the others closed
	Silent   []string `json:"silent"`   // machines that have not answered within a second; they follow
	Shared   bool     `json:"shared"`   // Redis has it; if not, that is made up for
}

// Fleet answers GET /api/fleet: the machines that share a Redis. It answers 404 where this machine is alone.
type Fleet struct {
	Name     string    `json:"name"`            // of the machine that answers
	Redis    string    `json:"redis,omitempty"` // what is wrong with it, in words
	Bans     int       `json:"bans"`            // known here
	Unshared int       `json:"unshared"`        // bans, and liftings of bans, that wait for Redis
	Machines []Machine `json:"machines"`        // this one too, by name
}

// Machine is one of the fleet, as the one that answers knows it.
type Machine struct {
	Name          string   `json:"name"`
	Region        string   `json:"region,omitempty"`
	Process       string   `json:"process"` // tells processes of one name apart
	Here          bool     `json:"here,omitempty"`
	State         string   `json:"state"` // "up", "draining", "full", "silent", "left", "strange" or "apart"
	Version       string   `json:"version"`
	HeardSeconds  float64  `json:"heard_seconds"` // since it last spoke
	SkewSeconds   float64  `json:"skew_seconds"`  // of its clock from this one's
	Takes         bool     `json:"takes"`         // the credentials that are issued here
	Differs       []string `json:"differs"`       // what it has otherwise than this machine
	URLs          []string `json:"urls"`
	Allocations   int      `json:"allocations"`
	Limit         int      `json:"limit,omitempty"` // of allocations; 0: none
	Ports         int      `json:"ports"`
	FreePorts     int      `json:"free_ports"`
	BitsPerSecond uint64   `json:"bits_per_second"` // relayed, both ways
	CPU           float64  `json:"cpu"`             // of all cores, 0 to 1
	Nodes         int      `json:"nodes"`           // connected there
	Bans          int      `json:"bans"`
}

// Unanswered is a machine of the fleet that a question was for, and that has not answered it.
type Unanswered struct {
	Machine string `json:"machine"`
	Why     string `json:"why"` // in words, such as "it has not answered within a second"
}

// Heard is how long ago the machine last spoke.
func (m Machine) Heard() time.Duration { return time.Duration(m.HeardSeconds * float64(time.Second)) }

// Fleet lists the machines; [ErrNotFound] where the server is alone.
func (c *Client) Fleet(ctx context.Context) (f Fleet, err error) {
	return f, c.call(ctx, http.MethodGet, "/api/fleet", nil, nil, &f)
}
