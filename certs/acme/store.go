package acme

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/caddyserver/certmagic"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// metadata is the PEM type of what certmagic keeps of a certificate beside its chain and its key.
const metadata = "CROLANG-AIO ACME METADATA"

// The suffixes of the three keys under which certmagic keeps a certificate.
const (
	chainPart = ".crt"
	keyPart   = ".key"
	metaPart  = ".json"
)

// probeBytes are more than a certificate with all that belongs to it.
const probeBytes = 32 << 10

// store is certmagic's storage in a folder. Key, chain and metadata of a certificate are one PEM file, so that no crash and
// no full disk can leave the key of one beside the chain of another, or nothing at all. What a full disk does not take is
// kept in memory until it does.
type store struct {
	dir  string
	lock func(context.Context) error // is called before a CA is asked for a certificate; nil: nothing is. Of the goroutine that manages

	mu     sync.Mutex
	staged map[string]parts  // of certificates whose metadata has not been stored yet, by file
	unkept map[string][]byte // whole files that the disk has not taken, by file
}

// parts are those of a certificate, by suffix.
type parts map[string][]byte

func newStore(dir string) *store {
	return &store{dir: dir, staged: map[string]parts{}, unkept: map[string][]byte{}}
}

// split finds the file that a key's value is in, and which part of it that is; empty: the whole.
func (s *store) split(key string) (file, part string) {
	part = path.Ext(key)
	site := path.Dir(key)
	if strings.HasPrefix(key, "certificates/") && path.Base(site)+part == path.Base(key) && (part == chainPart || part == keyPart || part == metaPart) {
		return filepath.Join(s.dir, filepath.FromSlash(site)+".pem"), part
	}
	return filepath.Join(s.dir, filepath.FromSlash(key)), ""
}

// Store implements [certmagic.Storage]. The metadata come last, and complete a certificate.
func (s *store) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, part := s.split(key)
	if part == "" {
		return s.write(file, value)
	}
	all, ok := s.staged[file]
	if !ok {
		all = parts{}
		if b, err := s.read(file); err == nil && part == metaPart { // it alone changes
			all = unpack(b)
		}
	}
	all[part] = bytes.Clone(value)
	if part != metaPart {
		s.staged[file] = all
		return nil
	}
	delete(s.staged, file)
	b := all.pack()
	s.unkept[file] = b // until it is there
	_ = s.flush()      // Keep says so
	return nil
}

// Keep writes what the disk has not taken before. The error says why it still does not.
func (s *store) Keep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flush()
}

func (s *store) flush() (err error) {
	for _, file := range slices.Sorted(maps.Keys(s.unkept)) {
		if e := s.write(file, s.unkept[file]); e != nil {
			err = e
			continue
		}
		delete(s.unkept, file)
	}
	return err
}

func (s *store) write(file string, b []byte) error {
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = durable.WriteFile(file, b, 0o600)
	}
	if err != nil {
		return unstorable(s.dir, err)
	}
	return nil
}

func (s *store) read(file string) ([]byte, error) {
	if b, ok := s.unkept[file]; ok {
		return b, nil
	}
	return os.ReadFile(file)
}

// whole is a file with all parts of a certificate.
func (s *store) whole(file string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(file)
}

// Load implements [certmagic.Storage].
func (s *store) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, part := s.split(key)
	b, err := s.read(file)
	if part == "" {
		return b, err
	}
	if v, ok := unpack(b)[part]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist) // also if it cannot be read: another one is got then
}

// Exists implements [certmagic.Storage].
func (s *store) Exists(ctx context.Context, key string) bool {
	if _, err := s.Load(ctx, key); err == nil {
		return true
	}
	_, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(key)))
	return err == nil
}

// Delete implements [certmagic.Storage]. Of a certificate that is being stored it takes back the part.
func (s *store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, part := s.split(key)
	if all, ok := s.staged[file]; ok && part != "" {
		if delete(all, part); len(all) == 0 {
			delete(s.staged, file)
		}
		return nil
	}
	delete(s.unkept, file)
	return os.RemoveAll(file)
}

// discard removes a certificate's file that can be read and not used: certmagic would keep on trying.
func (s *store) discard(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, _ := s.split(key)
	if _, err := s.read(file); err == nil {
		delete(s.unkept, file)
		_ = os.Remove(file) // else it is written over
	}
}

// List implements [certmagic.Storage].
func (s *store) List(_ context.Context, prefix string, recursive bool) (keys []string, err error) {
	root := filepath.Join(s.dir, filepath.FromSlash(prefix))
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(s.dir, p)
		keys = append(keys, filepath.ToSlash(rel))
		if err == nil && d.IsDir() && !recursive {
			return filepath.SkipDir
		}
		return err
	})
	return keys, err
}

// Stat implements [certmagic.Storage].
func (s *store) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	file, _ := s.split(key)
	st, err := os.Stat(file)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: st.ModTime(), Size: st.Size(), IsTerminal: !st.IsDir()}, nil
}

// take keeps a whole file that comes from elsewhere.
func (s *store) take(file string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept[file] = bytes.Clone(b)
	_ = s.flush() // Keep says so
}

// issuing begins the names of locks that certmagic takes before it asks a CA for a certificate.
const issuing = "issue_cert_"

// Lock implements [certmagic.Storage]. In this process there is nobody else: data_dir is its own, and one goroutine asks the CA.
func (s *store) Lock(ctx context.Context, key string) error {
	if s.lock != nil && strings.HasPrefix(key, issuing) {
		return s.lock(ctx)
	}
	return nil
}

// Unlock implements [certmagic.Storage]. What Lock took is given back when all is shared that came of it.
func (s *store) Unlock(context.Context, string) error { return nil }

// probe finds out whether the disk takes a certificate now. A CA should not be asked for what cannot be kept.
func (s *store) probe() error {
	file := filepath.Join(s.dir, "probe")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(file, make([]byte, probeBytes)); err != nil {
		return err
	}
	return os.Remove(file)
}

// pack makes one PEM text of the parts.
func (p parts) pack() []byte {
	b := slices.Concat(bytes.TrimSpace(p[chainPart]), []byte("\n"), bytes.TrimSpace(p[keyPart]), []byte("\n"))
	return append(b, pem.EncodeToMemory(&pem.Block{Type: metadata, Bytes: p[metaPart]})...)
}

// unpack takes such a text apart. A part that is not in it is not in the answer either.
func unpack(b []byte) parts {
	p := parts{}
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return p
		}
		switch {
		case block.Type == metadata:
			p[metaPart] = block.Bytes
		case block.Type == "CERTIFICATE":
			p[chainPart] = append(p[chainPart], pem.EncodeToMemory(block)...)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			p[keyPart] = pem.EncodeToMemory(block)
		}
	}
}

// unstorable says that the folder does not take a file, and what to do about it.
func unstorable(dir string, err error) error {
	f := newFailure(CauseStore, err, "give a data_dir that can be written", "%s: what a CA gives cannot be kept here: %s", dir, bare(err))
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		f.Remedy = "free some space"
	case errors.Is(err, fs.ErrPermission):
		f.Remedy = fmt.Sprintf("give the folder to the user with id %d", os.Geteuid())
	}
	return f
}

// bare is the operating system's words, without the path that the message names already.
func bare(err error) string {
	return oneLine(durable.Bare(err).Error())
}
