package acme_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
)

// common is an [acme.Shared] in memory, for machines of one test.
type common struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]*int
	locked map[string]int // how often
	away   bool
}

func newCommon() *common {
	return &common{values: map[string][]byte{}, locks: map[string]*int{}, locked: map[string]int{}}
}

var errAway = errors.New("away")

func (c *common) do(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errAway
	}
	f()
	return nil
}

func (c *common) Get(_ context.Context, names ...string) (all [][]byte, err error) {
	err = c.do(func() {
		for _, n := range names {
			all = append(all, c.values[n])
		}
	})
	return all, err
}

func (c *common) Put(_ context.Context, name string, value []byte, _ time.Duration) error {
	return c.do(func() { c.values[name] = value })
}

func (c *common) PutNew(_ context.Context, name string, value []byte) error {
	return c.do(func() {
		if c.values[name] == nil {
			c.values[name] = value
		}
	})
}

func (c *common) Delete(_ context.Context, name string) error {
	return c.do(func() { delete(c.values, name) })
}

func (c *common) Lock(_ context.Context, name string, _ func()) (unlock func(), err error) {
	err = c.do(func() {
		if c.locks[name] != nil {
			return
		}
		mine := new(int)
		c.locks[name] = mine
		c.locked[name]++
		unlock = func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.locks[name] == mine {
				delete(c.locks, name)
			}
		}
	})
	return unlock, err
}

// set changes it as somebody does who can write Redis.
func (c *common) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *common) value(part string) (string, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, v := range c.values {
		if strings.Contains(name, part) {
			return name, v
		}
	}
	return "", nil
}

// machine is one of a fleet, at the addresses of one host.
func machine(t *testing.T, ca *acmetest.CA, shared acme.Shared, i int, change ...func(*acme.Config)) *running {
	t.Helper()
	cfg := config(t, ca, "turn.example.org")
	cfg.Challenges = []string{acme.TLSALPN01}
	cfg.HTTPListen = fmt.Sprintf("127.0.0.%d:%d", i+1, ca.HTTPPort)
	cfg.Hear, cfg.Retry, cfg.Shared = 20*time.Millisecond, time.Second, shared
	for _, f := range change {
		f(&cfg)
	}
	return start(t, cfg)
}

// allAt answers at port 443 for one machine after the other, as a name with several addresses does.
func allAt(t *testing.T, ca *acmetest.CA, all []*running) (stop func()) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	l, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ca.TLSPort), &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acme.Protocol},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			n++
			i := n % len(all)
			mu.Unlock()
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) { // the machine may be slow
				if c, ok := all[i].Answer(h.ServerName); ok {
					return c, nil
				}
			}
			t.Errorf("machine %d does not know of %q", i, h.ServerName)
			return nil, errors.New("not known")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
	return func() { _ = l.Close() }
}

// alike waits until all machines have the same certificate, other than was, and returns it.
func alike(t *testing.T, all []*running, was string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		seen := map[string]bool{}
		for _, r := range all {
			pem := ""
			if c := r.Certificates(); len(c) > 0 {
				pem = string(c[0].PEM)
			}
			seen[pem] = true
		}
		if len(seen) == 1 && !seen[""] && !seen[was] {
			for pem := range seen {
				return pem
			}
		}
		if time.Now().After(end) {
			for i, r := range all {
				t.Logf("machine %d: %+v %+v", i, r.Stats(), r.Troubles())
			}
			t.Fatalf("%d different certificates after a minute", len(seen))
		}
	}
}

// obtained counts the certificates that they got from the CA; the last one is counted after it is published.
func obtained(all []*running) (n uint64) {
	for _, r := range all {
		n += r.Stats().Obtained
	}
	return n
}

// three starts machines with one name, which the CA comes to in turn.
func three(t *testing.T, ca *acmetest.CA, shared acme.Shared) (all []*running) {
	t.Helper()
	for i := range 3 {
		all = append(all, machine(t, ca, shared, i))
	}
	allAt(t, ca, all)
	return all
}

// Three machines with one name: one asks, whichever the CA comes to answers, and all serve the same, with one account.
func TestShared(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	all := three(t, ca, shared)
	alike(t, all, "")
	until(t, "not all is counted", func() bool {
		n := uint64(0)
		for _, r := range all {
			n += r.Stats().Obtained + r.Stats().Taken
		}
		return n >= 3
	})
	if n := obtained(all); n != 1 {
		t.Errorf("%d certificates were got", n)
	}
	if _, account := shared.value("accounts/"); len(account) == 0 {
		t.Error("the account is not shared")
	}
	for i, r := range all {
		if s := r.Stats(); len(r.Troubles()) != 0 || s.Obtained+s.Taken != 1 {
			t.Errorf("machine %d: %+v, %+v", i, s, r.Troubles())
		}
	}
	if name, _ := shared.value("questions/"); name != "" {
		t.Errorf("%s outlives the question", name)
	}
}

// When it ends soon it is renewed by one of them at a time, and all follow.
func TestSharedRenewal(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{Validity: 20 * time.Second})
	shared := newCommon()
	all := three(t, ca, shared)
	first := alike(t, all, "")
	alike(t, all, first)
	turns := 0
	shared.set(func() {
		for _, n := range shared.locked {
			turns += n
		}
	})
	if n := obtained(all); n < 2 || n > uint64(turns) {
		t.Errorf("%d certificates were got in %d turns", n, turns)
	}
}

// By http-01 every machine listens while one of them is asked for.
func TestSharedHTTP(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	http01 := func(c *acme.Config) { c.Challenges = []string{acme.HTTP01} }
	all := []*running{machine(t, ca, shared, 0, http01)}
	asked := make(chan string, 10)
	other := machine(t, ca, shared, 1, http01, func(c *acme.Config) {
		c.Shared = watched{shared, func() { // its own turn never comes: it does not get the lock
			if name, _ := shared.value("questions/"); name == "" {
				return
			}
			res, err := http.Get("http://" + c.HTTPListen + "/.well-known/acme-challenge/none")
			if err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			select {
			case asked <- fmt.Sprint(err):
			default:
			}
		}}
	})
	all = append(all, other)
	alike(t, all, "")
	until(t, "it is not counted", func() bool { return obtained(all[:1]) > 0 })
	if n := obtained(all[:1]); n != 1 {
		t.Errorf("%d certificates were got", n)
	}
	heard := false
	for range len(asked) {
		heard = heard || !strings.Contains(<-asked, "refused")
	}
	if !heard {
		t.Error("the other machine does not listen")
	}
	until(t, "it listens still", func() bool { _, ok := other.Listening(); return !ok })
}

// watched never gives the lock, and calls f whenever it is asked for values.
type watched struct {
	*common

	f func()
}

func (w watched) Get(ctx context.Context, names ...string) ([][]byte, error) {
	w.f()
	return w.common.Get(ctx, names...)
}

func (watched) Lock(context.Context, string, func()) (func(), error) { return nil, nil }

// Who has the turn dies in the middle: another one gets the certificate.
func TestSharedRenewerDies(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	dead := machine(t, ca, dying{shared}, 0)
	until(t, "the first does not get its turn", func() bool { name, _ := shared.value("questions/"); return name != "" })
	dead.stop()
	var name string
	shared.set(func() { // it did not give its lock back
		for n := range shared.locked {
			name = n
		}
		shared.locks[name] = new(int)
	})
	all := []*running{machine(t, ca, shared, 1), machine(t, ca, shared, 2)}
	allAt(t, ca, all)
	shared.set(func() { delete(shared.locks, name) }) // it has run out
	alike(t, all, "")
	until(t, "it is not counted", func() bool { return obtained(all) > 0 })
	if n := obtained(all); n != 1 {
		t.Errorf("%d certificates were got", n)
	}
}

// dying is the view of a machine that tells the others nothing more once it has told them of a question.
type dying struct{ *common }

func (dying) Delete(context.Context, string) error { return nil }

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// An emptied Redis is filled again; rubbish and an older certificate are not taken, and replaced.
func TestSharedIsRepaired(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	before := newCommon()
	first := machine(t, ca, before, 0)
	hang := allAt(t, ca, []*running{first})
	first.await(t, "a certificate", first.has(1))
	hang()
	old := leaf(t, first.Certificates()[0])
	until(t, "it is not shared", func() bool { _, v := before.value("certificates/"); return v != nil })
	name, older := before.value("certificates/")
	first.stop()

	shared := newCommon()
	all := []*running{machine(t, ca, shared, 0), machine(t, ca, shared, 1)}
	allAt(t, ca, all)
	good := alike(t, all, "")
	if !leaf(t, all[0].Certificates()[0]).NotBefore.After(old.NotBefore) {
		t.Fatal("the certificates are of the same second, so that this test says nothing")
	}
	until(t, "it is not shared", func() bool { _, v := shared.value("certificates/"); return v != nil })
	_, whole := shared.value("certificates/")
	for what, put := range map[string][]byte{"nothing": nil, "rubbish": []byte("-----BEGIN rubbish"), "an older one": older} {
		shared.set(func() { shared.values[name] = put })
		until(t, what+" is not replaced", func() bool { _, now := shared.value("certificates/"); return bytes.Equal(now, whole) })
		for i, r := range all {
			if c := r.Certificates(); len(c) != 1 || string(c[0].PEM) != good {
				t.Errorf("%s: machine %d takes it", what, i)
			}
		}
	}
}

// Without a certificate, and without Redis, a machine says what it waits for, and asks by itself in the end. Who has a certificate
// goes on serving it.
func TestSharedAway(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	shared.away = true
	r := machine(t, ca, shared, 0, func(c *acme.Config) { c.Retry = 50 * time.Millisecond })
	allAt(t, ca, []*running{r})
	r.await(t, "it says what it waits for", func() bool {
		all := r.Troubles()
		return len(all) == 1 && strings.Contains(all[0].Error(), "the other machines may have one, and cannot be asked")
	})
	alone := alike(t, []*running{r}, "")
	r.await(t, "nothing is wrong", func() bool { return len(r.Troubles()) == 0 })
	shared.set(func() { shared.away = false })
	until(t, "it is not shared", func() bool { _, v := shared.value("certificates/"); return v != nil && obtained([]*running{r}) == 1 })
	other := machine(t, ca, shared, 1)
	if alike(t, []*running{r, other}, "") != alone || obtained([]*running{r, other}) != 1 {
		t.Error("what it got alone is not shared")
	}
	shared.set(func() { shared.away = true })
	other.stop()
	again := machine(t, ca, shared, 1, func(c *acme.Config) { c.Dir = other.cfg.Dir })
	if c := again.Certificates(); len(c) != 1 || string(c[0].PEM) != alone {
		t.Error("it does not serve what it has")
	}
}

// A lock that is never given back, as somebody who can write Redis can make one, does not keep certificates from being renewed.
func TestSharedLockIsHeldForGood(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	r := machine(t, ca, watched{shared, func() {}}, 0, func(c *acme.Config) { c.Retry = 5 * time.Millisecond })
	allAt(t, ca, []*running{r})
	r.await(t, "a certificate", r.has(1))
}

// What the CA has refused to one machine the others do not ask for before it is time.
func TestSharedLimits(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	shared := newCommon()
	slow := func(c *acme.Config) { c.Retry = 500 * time.Millisecond }
	one := machine(t, ca, shared, 0, slow) // nobody listens at the port: the CA refuses
	one.await(t, "a failure", func() bool { return len(one.Troubles()) == 1 })
	two := machine(t, ca, shared, 1, slow)
	two.await(t, "the failure is not known to the other", func() bool { return len(two.Troubles()) == 1 })
	if f := two.Troubles()[0]; f.Cause != acme.CauseUnproven || time.Until(f.Next) < time.Second || two.Stats().Failed[acme.CauseUnproven] != 0 {
		t.Errorf("%+v, %+v", f, two.Stats())
	}
	allAt(t, ca, []*running{one, two})
	alike(t, []*running{one, two}, "")
	until(t, "it is not counted", func() bool { return obtained([]*running{one, two}) > 0 && len(one.Troubles())+len(two.Troubles()) == 0 })
	if len(one.Troubles())+len(two.Troubles()) != 0 || obtained([]*running{one, two}) != 1 {
		t.Errorf("%+v %+v", one.Troubles(), two.Troubles())
	}
}
