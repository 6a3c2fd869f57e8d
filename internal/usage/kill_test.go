package usage

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// helperDir names the data directory of the process that TestKilledWhileWriting starts and kills.
const helperDir = "USAGE_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		countForEver(dir)
	}
	if dir := os.Getenv(fullDir); dir != "" {
		fillDisk(dir)
	}
	os.Exit(m.Run())
}

// countForEver counts one byte at a time for ever other Nodes, and prints how many there were once they are written.
func countForEver(dir string) {
	k, err := New(Config{DataDir: dir, Now: func() time.Time { return november }})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		k.Used(fmt.Sprint("n", i%997), 1, 0, time.Millisecond)
		if i%50 != 0 {
			continue
		}
		if i%500 == 0 {
			if err := k.Delete("n0"); err != nil && !errors.Is(err, ErrUnknown) {
				fmt.Println("error", err)
			}
		}
		k.write()
		os.Stdout.WriteString(strconv.FormatUint(k.Stats().Sum.Up, 10) + "\n")
	}
}

// A process that is killed in the middle of counting, writing and deleting loses nothing of what was written before.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), helperDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var last uint64
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
			if last, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if n == 20+round*7 {
				if err := cmd.Process.Kill(); err != nil { // SIGKILL
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		r := newRig(t, dir, nil)
		if got := r.Stats().Sum.Up; got < last || len(r.found) != 0 {
			t.Fatalf("round %d: %d bytes, and %d were written before; found %v", round, got, last, r.found)
		}
		r.Close()
	}
}
