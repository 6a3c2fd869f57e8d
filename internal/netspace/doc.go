// Package netspace gives tests network namespaces of their own (network_namespaces(7)), which end with the test. It is for
// Linux, and mostly for root: where there are no rights for one, the test is skipped and says why.
package netspace
