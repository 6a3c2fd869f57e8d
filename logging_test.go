package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDurationsInTheLogAreReadable(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		newLogging(&out, slog.LevelInfo, format).With("component", "certs").Warn("ends soon", "left", 36*time.Hour)
		if !strings.Contains(out.String(), "36h0m0s") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}
