package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

const (
	bansName    = "bans.json"
	bansVersion = 1
)

// banFile is bans.json in the data directory: one JSON object with a line for each ban, so that a person can read it. It is
// replaced whole (package durable), so it is never half written.
type banFile struct{ path string }

// openBanFile makes the directory if it is missing, and removes what a killed process left behind.
func openBanFile(dir string) (banFile, error) {
	f := banFile{filepath.Join(dir, bansName)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, fmt.Errorf("%w: %w; make data_dir a directory that this user may write", ErrBansFile, err)
	}
	if err := durable.Sweep(f.path); err != nil {
		return f, fmt.Errorf("%w: %w; remove it by hand", ErrBansFile, err)
	}
	return f, nil
}

// read returns the bans in the file; none if there is no file yet.
func (f banFile) read() (map[string]Ban, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return make(map[string]Ban), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w; let this user read it", ErrBansFile, err)
	}
	bans, err := parseBans(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is damaged (%w); restore it from a backup, or remove it to start without bans", ErrBansFile, f.path, err)
	}
	return bans, nil
}

// write replaces the file, see [durable.Write]. When it returns nil the new one is on the disk.
func (f banFile) write(bans map[string]Ban) error {
	return durable.Write(f.path, 0o600, func(w io.Writer) error { return encodeBans(w, bans) })
}

// encodeBans writes the file's content.
func encodeBans(w io.Writer, bans map[string]Ban) error {
	line := fmt.Appendf(nil, `{"version":%d,"bans":[`, bansVersion)
	sep := "\n"
	for _, b := range bans {
		line = append(line, sep...)
		if _, err := w.Write(line); err != nil {
			return err
		}
		var err error
		if line, err = appendBan(line[:0], b); err != nil {
			return err
		}
		sep = ",\n"
	}
	_, err := w.Write(append(line, "\n]}\n"...))
	return err
}

// appendBan appends b as package encoding/json writes it, in a quarter of the time: each ban and each lifting of one writes all
// that there are, which may be a hundred thousand.
func appendBan(dst []byte, b Ban) (_ []byte, err error) {
	text := func(name, s string) {
		dst = append(dst, name...)
		if plain(s) {
			dst = append(append(append(dst, '"'), s...), '"')
			return
		}
		quoted, e := json.Marshal(s)
		dst, err = append(dst, quoted...), errors.Join(err, e)
	}
	moment := func(name string, t time.Time) {
		dst = append(append(dst, name...), '"')
		var e error
		dst, e = t.AppendText(dst)
		dst, err = append(dst, '"'), errors.Join(err, e)
	}
	text(`{"node":`, b.Node)
	text(`,"reason":`, b.Reason)
	moment(`,"since":`, b.Since)
	if !b.Until.IsZero() {
		moment(`,"until":`, b.Until)
	}
	return append(dst, '}'), err
}

// plain reports whether a text stands in JSON as it is; in doubt it does not.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// parseBans reads a file's content. Anything that encodeBans would not have written is an error, since a ban that is lost
// lets somebody in.
func parseBans(data []byte) (map[string]Ban, error) {
	var doc struct {
		Version int   `json:"version"`
		Bans    []Ban `json:"bans"`
	}
	if !utf8.Valid(data) {
		return nil, errors.New("not text")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("it ends too early")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its end")
	}
	if doc.Version != bansVersion {
		return nil, fmt.Errorf("version %d, not %d", doc.Version, bansVersion)
	}
	if doc.Bans == nil {
		return nil, errors.New("it has no list of bans")
	}
	bans, spelt := make(map[string]Ban, len(doc.Bans)), make(map[string]bool, len(doc.Bans))
	for i, b := range doc.Bans {
		if err := nodeid.Valid(b.Node); err != nil {
			return nil, fmt.Errorf("ban %d: %w", i+1, err)
		}
		if len(b.Reason) > maxReason || strings.ContainsFunc(b.Reason, unicode.IsControl) {
			return nil, fmt.Errorf("ban %d: %w", i+1, ErrReason)
		}
		if spelt[b.Node] {
			return nil, fmt.Errorf("ban %d: its Node is banned twice", i+1)
		}
		spelt[b.Node] = true
		// A former version told spellings apart: of two bans the one that lasts longer holds.
		b.Node = nodeid.Canonical(b.Node)
		if other, ok := bans[b.Node]; !ok || !other.Until.IsZero() && (b.Until.IsZero() || b.Until.After(other.Until)) {
			bans[b.Node] = b
		}
	}
	return bans, nil
}
