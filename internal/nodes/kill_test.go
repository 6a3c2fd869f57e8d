package nodes

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// helperDir names the data directory of the process that TestKilledInTheMiddleOfBans starts and kills.
const helperDir = "NODES_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		banForEver(dir)
	}
	os.Exit(m.Run())
}

// banForEver bans Nodes from many goroutines, and prints each once it is acknowledged.
func banForEver(dir string) {
	r, err := New(Config{DataDir: dir})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	first := len(r.Bans())
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := range 1000 {
				id := fmt.Sprintf("node-%d-%d-%d", first, g, i)
				if _, err := r.Ban(id, "killed in the middle", 0); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				os.Stdout.WriteString(id + "\n") // one write: a line is whole or not there
			}
		})
	}
	wg.Wait()
	os.Exit(0)
}

// TestKilledInTheMiddleOfBans kills a process that is banning Nodes, again and again over one directory: no ban that was
// acknowledged may be missing, and the file must be readable each time.
func TestKilledInTheMiddleOfBans(t *testing.T) {
	dir := t.TempDir()
	acknowledged := []string{}
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
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
			acknowledged = append(acknowledged, lines.Text())
			if n == 200+round*37 {
				if err := cmd.Process.Kill(); err != nil { // SIGKILL
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself: too few bans for this test")
		}
		r, err := New(Config{DataDir: dir})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, id := range acknowledged {
			if !r.Banned(id) {
				t.Fatalf("round %d: the ban of %s was acknowledged and is lost", round, id)
			}
		}
		if got := len(r.Bans()); got < len(acknowledged) {
			t.Errorf("%d bans, %d acknowledged", got, len(acknowledged))
		}
	}
	t.Logf("%d bans acknowledged over 5 kills", len(acknowledged))
}

func encode(t *testing.T, bans map[string]Ban) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encodeBans(&b, bans); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
