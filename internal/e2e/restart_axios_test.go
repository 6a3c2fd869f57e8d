//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The same with axios on Node.js, which is what Brokers call with.
func TestRestartLosesNoCallOfAxios(t *testing.T) {
	node := program(t, "node")
	_, err := os.Stat("axios/node_modules/axios")
	peer(t, "axios (npm ci in internal/e2e/axios)", err == nil)
	s := serveWith(t, func(s *server) {
		s.sockets = []*os.File{listening(t, s.hooks)}
		s.env = []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=hooks"}
	})
	cmd := exec.CommandContext(patiently(t), node, "restart.js", "http://"+s.hooks)
	cmd.Dir, cmd.Stderr = "axios", os.Stderr
	in, out := must(cmd.StdinPipe())(t), must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "calling" {
		t.Fatalf("%q", lines.Text())
	}
	const restarts = 3
	for range restarts {
		time.Sleep(time.Second) // of calls
		s.stop(t)
		s.start(t)
	}
	time.Sleep(time.Second)
	_ = in.Close()
	var got struct {
		Calls  int      `json:"calls"`
		Failed []string `json:"failed"`
	}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &got) != nil {
		t.Fatalf("%q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d calls, %d failed", got.Calls, len(got.Failed))
	if got.Calls < restarts*100 || len(got.Failed) > 0 {
		t.Errorf("%d calls, failed: %q", got.Calls, got.Failed)
	}
	tried(t, "axios", npmVersion(t, "axios", "axios"), "calls the webhooks as Brokers do, through three restarts; no call is lost")
}
