//go:build !linux

package doctor

func diskFree(string) (free, total uint64, ok bool) { return 0, 0, false }

func ephemeralPorts() (low, high int, ok bool) { return 0, 0, false }

func reservedPorts() string { return "" }
