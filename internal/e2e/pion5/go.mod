module github.com/crolang-p2p/crolang-aio/internal/e2e/pion5

go 1.26.8

require (
	github.com/pion/dtls/v3 v3.1.15
	github.com/pion/turn/v5 v5.1.3
)

require (
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/stun/v4 v4.0.1 // indirect
	github.com/pion/transport/v5 v5.1.1 // indirect
	github.com/wlynxg/anet v0.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
