// Command crolang-aio is a CrolangP2P Broker, a STUN/TURN server, the webhooks of other Brokers, certificates and, for development,
// their Redis, in one process.
package main

import (
	"os"

	"github.com/crolang-p2p/crolang-aio/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdout, os.Stderr)) }
