package proc

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseSchedstat(t *testing.T) {
	if got, err := parseSchedstat("1234567 89 10\n"); err != nil || got != 1234567 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"", "1 2", "a 2 3", "1 2 3 4"} {
		if _, err := parseSchedstat(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestParseStatus(t *testing.T) {
	if got, err := parseStatus("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t  2048 kB\n"); err != nil || got != 2<<20 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"", "VmRSS:\t 12\n", "VmRSS:\t x kB\n"} {
		if _, err := parseStatus(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for start := time.Now(); after == before && time.Since(start) < 20*time.Second; {
		if after, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after <= before || after-before > 20*time.Second {
		t.Errorf("CPU %v, then %v", before, after)
	}
	if rss, err := RSS(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	if d, err := Thread(os.Getpid()); err != nil || d <= 0 {
		t.Errorf("the first thread: %v, %v", d, err)
	}
	for _, of := range []func(int) (time.Duration, error){CPU, Thread} {
		if _, err := of(-1); err == nil {
			t.Error("a process -1")
		}
	}
}
