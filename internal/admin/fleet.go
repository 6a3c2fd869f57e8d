package admin

import (
	"net/http"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Fleet is the machines that share a Redis with this one. An operator's bans go through it, so that they hold on all.
type Fleet interface {
	// Ban and Unban are those of the registry of Nodes, and then those of all machines. They wait for those a second at most.
	Ban(node, reason string, lasting time.Duration) (nodes.Banned, adminapi.Spread, error)
	Unban(node string) error
	// Unshared reports whether a ban is known to this machine's part of the fleet alone.
	Unshared(b nodes.Ban) bool
	// State lists the machines.
	State() adminapi.Fleet
	// Name is what this machine is called.
	Name() string
	// Ask puts a question to every other machine, where [Admin.Answer] answers it. It takes a second at most.
	Ask(kind string, question []byte) []Told
	// ConnectedAt names the other machines at whose Broker a Node is, as they last said.
	ConnectedAt(node string) []string
}

// banNode bans a Node, on all machines where there are more.
func (a *Admin) banNode(node, reason string, lasting time.Duration) (adminapi.BanAnswer, error) {
	var done nodes.Banned
	var spread *adminapi.Spread
	var err error
	if a.cfg.Fleet == nil {
		done, err = a.cfg.Nodes.Ban(node, reason, lasting)
	} else {
		spread = &adminapi.Spread{}
		if done, *spread, err = a.cfg.Fleet.Ban(node, reason, lasting); err == nil {
			done.Closed += spread.Closed
			spread.Silent = append([]string{}, spread.Silent...)
		}
	}
	if err != nil {
		return adminapi.BanAnswer{}, err
	}
	return adminapi.BanAnswer{Node: node, Closed: done.Closed, Cut: done.Cut, Kept: done.Kept, Replaced: done.Replaced, Fleet: spread}, nil
}

func (a *Admin) unbanNode(node string) error {
	if a.cfg.Fleet == nil {
		return a.cfg.Nodes.Unban(node)
	}
	return a.cfg.Fleet.Unban(node)
}

// fleet answers GET /api/fleet.
func (a *Admin) fleet(_ *call, _ none) (adminapi.Fleet, error) {
	if a.cfg.Fleet == nil {
		return adminapi.Fleet{}, problem(http.StatusNotFound, "this machine is alone: fleet.redis_url is not set")
	}
	return a.cfg.Fleet.State(), nil
}
