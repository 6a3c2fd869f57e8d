package turnsrv

import "math"

const (
	minConnections = 16
	maxConnections = 1 << 16
	spareFiles     = 64 // for everything but clients: listeners, logs, certificates, webhooks
	mostSpareFiles = 512
)

// clientFiles returns how many descriptors may be open before no more go to clients and relays. Otherwise whoever opens
// allocations or connections without end would take down the webhooks and the operator's commands.
func clientFiles(limit uint64) int {
	spare := min(max(limit/16, spareFiles), mostSpareFiles, limit/2)
	return int(min(limit-spare, math.MaxInt32))
}

// connectionsWithin returns how many connections a limit of open files leaves room for. Each may have a relay, whose
// socket takes a descriptor too.
func connectionsWithin(files uint64) int {
	if files <= spareFiles {
		return minConnections
	}
	return int(min(max((files-spareFiles)/2, minConnections), maxConnections))
}
