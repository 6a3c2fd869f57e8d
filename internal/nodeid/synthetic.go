package nodeid

import "strings"

// The ids with which this program tries itself.
const (
	Dashboard    = "dashboard-test"      // of the dashboard's test page
	DoctorPrefix = "crolang-aio-doctor-" // begins those that doctor makes up
)

// Synthetic reports whether id is one with which this program tries itself, so that no Broker stands behind it.
func Synthetic(id string) bool { return id == Dashboard || strings.HasPrefix(id, DoctorPrefix) }
