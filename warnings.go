package main

import (
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// warnings are what looks wrong with the set-up now, for the admin API and for doctor.
func (a *app) warnings() []findings.Finding {
	var all []findings.Finding
	for _, w := range a.cfg().Warnings() {
		all = append(all, findings.Finding{ID: "config", Detail: w, Remedy: "change the key, unless it is meant so"})
	}
	for _, d := range a.certs.Doubts() {
		all = append(all, findings.Finding{ID: "certificate." + d.ID, Detail: d.Detail, Remedy: d.Remedy})
	}
	return append(all, a.findings.All()...)
}
