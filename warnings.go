package main

import "github.com/crolang-p2p/crolang-aio/internal/admin"

// warnings are what looks wrong with the set-up now, for the admin API and for doctor.
func (a *app) warnings() []admin.Warning {
	var all []admin.Warning
	for _, w := range a.cfg().Warnings() {
		all = append(all, admin.Warning{ID: "config", Detail: w, Remedy: "change the key, unless it is meant so"})
	}
	return all
}
