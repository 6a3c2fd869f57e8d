package usage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// fill makes a file with some hundred Nodes in two months, and returns its bytes.
func fill(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	r := newRig(t, dir, nil)
	for i := range 600 {
		r.Used(fmt.Sprint("node-", i), 10, 0, time.Second)
		if i == 300 {
			r.set(november.AddDate(0, 1, 0))
		}
	}
	r.Close()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// use does everything with a file that may be damaged, and checks that it ends with one that is in order.
func use(t *testing.T, data []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir, nil)
	r.Used("after", 1, 0, time.Second)
	r.write()
	_, _ = r.Months()
	_, _ = r.Node("node-5")
	_, _ = r.Report(MonthOf(november) + 1)
	_ = r.Delete("node-7")
	r.set(november.AddDate(0, 1, 0))
	r.Used("after", 1, 0, time.Second)
	r.write()
	r.write() // if the damage was noticed only now
	r.Close()
	r = newRig(t, dir, nil)
	r.set(november.AddDate(0, 1, 0))
	list, err := r.Node("after")
	if err != nil || len(list) != 2 || list[0].Up != 1 || list[1].Up != 1 {
		t.Errorf("%+v %v; found %v", list, err, r.found)
	}
	r.write()
	if slices.Contains(r.ids(), "usage.unkept") {
		t.Errorf("%v", r.found)
	}
}

// A damaged file costs what was in it at most, and not even that: it is set aside. Nothing panics, nothing hangs.
func TestDamagedFile(t *testing.T) {
	whole := fill(t)
	for name, data := range map[string][]byte{
		"no such file at all": []byte("these are no pages of a database\n"), "half": whole[:len(whole)/2], "no pages": whole[:8192],
		"zeros": make([]byte, len(whole)), "zeros behind": append(bytes.Clone(whole[:16384]), make([]byte, len(whole)-16384)...),
	} {
		t.Run(name, func(t *testing.T) { use(t, data) })
	}
	t.Run("bits", func(t *testing.T) {
		for i := range 60 {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			data := bytes.Clone(whole)
			for range 1 + rnd.IntN(40) {
				data[rnd.IntN(len(data))] ^= byte(1 << rnd.IntN(8))
			}
			use(t, data)
			if t.Failed() {
				t.Fatalf("seed %d", i)
			}
		}
	})
}

func TestDamageIsSaid(t *testing.T) {
	dir := t.TempDir()
	whole := fill(t)
	if err := os.WriteFile(filepath.Join(dir, fileName), whole[:8192], 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir, nil)
	if !slices.Equal(r.ids(), []string{"usage.damaged"}) || strings.Contains(r.found[0].Detail, "\n") {
		t.Fatalf("%v", r.found)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, fileName+".damaged-*"))
	if len(aside) != 1 || !strings.Contains(r.found[0].Detail, aside[0]) {
		t.Fatalf("%v %v", aside, r.found)
	}
	if b, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(b, whole[:8192]) {
		t.Error("it is not what it was")
	}
}

// A file of a later version stays as it is, and counting goes on.
func TestLaterVersion(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, nil)
	if err := r.store.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketAbout).Put(keyVersion, []byte("99")) }); err != nil {
		t.Fatal(err)
	}
	r.Close()
	before := content(t, dir)
	r = newRig(t, dir, nil)
	r.Used("alice", 5, 0, time.Second)
	r.write()
	if _, got := r.This("alice"); got.Up != 5 || !slices.Equal(r.ids(), []string{"usage.unkept"}) || !strings.Contains(r.found[0].Detail, "later version") {
		t.Errorf("%+v %v", got, r.found)
	}
	r.Close()
	if content(t, dir) != before {
		t.Error("the file was changed")
	}
}

// While the file cannot be used everything goes on in memory; when it can again, nothing that it had is overwritten.
func TestFileComesBack(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, nil)
	r.Used("alice", 100, 0, time.Second)
	r.Close()
	name := filepath.Join(dir, fileName)
	if err := os.Rename(name, name+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	r = newRig(t, dir, nil)
	r.Used("alice", 1, 0, time.Second)
	r.Used("bob", 1, 0, time.Second)
	r.write()
	if !slices.Equal(r.ids(), []string{"usage.unkept"}) || !r.Stats().Unkept {
		t.Errorf("%v", r.found)
	}
	if _, err := r.Months(); err == nil {
		t.Error("months without a file")
	}
	if err := r.Delete("bob"); err == nil {
		t.Error("deleted without a file")
	}
	r.Used("bob", 2, 0, time.Second)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".away", name); err != nil {
		t.Fatal(err)
	}
	r.write()
	if len(r.found) != 0 {
		t.Errorf("%v", r.found)
	}
	r.Close()
	r = newRig(t, dir, nil)
	if got := r.report(t, "2026-11"); len(got.Lines) != 2 || got.Lines[0].Up != 101 || got.Lines[1].Up != 2 || got.Sum.Up != 104 {
		t.Errorf("%+v", got)
	}
}

// 100 000 Nodes with the ids that Nodes usually have fit into 50 MB: the file, and what the process takes for them.
func TestHundredThousandNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds")
	}
	const nodes, most = 100_000, 50_000_000
	dir := t.TempDir()
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	id := func(i int) string { return fmt.Sprintf("%08x-9b2d-4f6a-8c3e-%012x", uint32(i)*2654435761, i) }
	before := heap()
	r := newRig(t, dir, nil)
	for round := range 4 {
		for i := range nodes {
			if i%4 <= round { // they come little by little
				r.Opened(id(i))
				r.Used(id(i), 123_456_789, 987_654_321, 3*time.Minute)
				r.Message(id(i))
			}
		}
		began := time.Now()
		r.write()
		t.Logf("round %d: written in %s", round, time.Since(began).Round(time.Millisecond))
	}
	took := heap() - before
	st, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d Nodes: %.1f MB on the disk, %.1f MB of memory", nodes, float64(st.Size())/1e6, float64(took)/1e6)
	if st.Size()+took > most {
		t.Errorf("%d bytes on the disk and %d of memory", st.Size(), took)
	}
	runtime.KeepAlive(r)
}
