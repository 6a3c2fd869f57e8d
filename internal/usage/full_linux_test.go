package usage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullDir names the small disk of the process that TestFullDisk starts.
const fullDir = "USAGE_TEST_FULL_DIR"

// fillDisk counts on a disk that fills up and gets room again, and prints what was found each time.
func fillDisk(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	r := &rig{}
	k, err := New(Config{DataDir: dir, Now: func() time.Time { return november }, Found: r.note})
	if err != nil {
		fail(err)
	}
	k.Used("before", 1, 0, time.Second)
	k.write()
	fmt.Println("empty:", r.ids())
	name := filepath.Join(dir, "fill")
	f, err := os.Create(name)
	if err != nil {
		fail(err)
	}
	for n := 0; err == nil && n < 1<<20; n += 1024 { // no more, lest this ever be a real disk
		_, err = f.Write(make([]byte, 1024))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		fail(err)
	}
	for i := range 2000 {
		k.Used(fmt.Sprint("n", i), 1, 0, time.Second)
	}
	for range 3 {
		k.write()
	}
	fmt.Println("full:", r.ids(), strings.Contains(r.found[0].Detail, "no space left"))
	_, before := k.This("before")
	fmt.Println("counted:", k.Stats().Sum.Up, before.Up)
	if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
		fail(err)
	}
	k.write()
	fmt.Println("room:", r.ids())
	k.Close()
	k, err = New(Config{DataDir: dir, Now: func() time.Time { return november }, Found: r.note})
	if err != nil {
		fail(err)
	}
	fmt.Println("again:", k.Stats().Sum.Up, k.Stats().Nodes, r.ids())
	os.Exit(0)
}

// On a full disk counting goes on and a finding says so; with room again it is written.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	own := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	cmd := exec.Command("/bin/sh", "-c", `mount -t tmpfs -o size=256k none "$1" && exec "$2"`, "sh", dir, os.Args[0])
	cmd.Env = append(os.Environ(), fullDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid()),
	}
	probe := exec.Command("true")
	probe.SysProcAttr = cmd.SysProcAttr
	if err := probe.Run(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	out, err := cmd.CombinedOutput()
	want := "empty: []\nfull: [usage.unkept] true\ncounted: 2001 1\nroom: []\nagain: 2001 2001 []\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}
