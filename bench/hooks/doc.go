// Package hooks measures the webhooks of the built program against the same five on Express 4, in the same run: requests
// per second of CPU time, so that neither the generator nor the number of cores counts.
//
//	(cd bench/hooks-express && npm ci)
//	go test -run '^$' -bench . ./bench/hooks
package hooks
