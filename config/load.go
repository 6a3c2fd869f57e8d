package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// Option changes what Load does.
type Option func(*loader)

// WithEnviron takes the environment from "NAME=value" lines in place of the process's own.
func WithEnviron(environ []string) Option { return func(l *loader) { l.environ = environ } }

// WithRead has Load call read with the path of each file that it is about to read, and of each that the configuration
// names for a part to read. So whoever watches them knows them all, even if Load fails.
func WithRead(read func(path string)) Option { return func(l *loader) { l.read = read } }

// WithSources fills in, for each key that something sets, what does: the file, or a variable.
func WithSources(sources map[string]string) Option { return func(l *loader) { l.source = sources } }

// WithCheck adds a check by a part that knows more of its settings. It is called with a Config whose every value has
// the right shape. Its mistakes need Key and Err, and may have Because: Load adds the place. Entry n of a list, counted
// from 0, is KEY[n]. A mistake about a key that Load itself has found wrong is left out.
func WithCheck(check func(*Config) []*Error) Option {
	return func(l *loader) { l.checks = append(l.checks, check) }
}

// Load reads the configuration: defaults, then the file, then the environment. An empty path means no file. Its error
// names every mistake at once, one a line, each an *Error; it holds no secret. It is ErrInvalid, or, if the file cannot
// be read, what that failed with.
func Load(path string, options ...Option) (*Config, error) {
	l := &loader{file: path, environ: os.Environ(), read: func(string) {}}
	for _, o := range options {
		o(l)
	}
	var text string
	if path != "" {
		l.read(path)
		b, err := readFile(path, maxFile)
		if err != nil {
			return nil, fmt.Errorf("%s: the configuration cannot be read: %w", path, durable.Bare(err))
		}
		text = string(b)
		l.dir = filepath.Dir(path)
	}
	return l.load(text)
}

var errTooLarge = errors.New("it is too large: is it the right file?")

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	return b, err
}

// loader makes one Config, and gathers all that is wrong with it.
type loader struct {
	file    string
	dir     string // that paths are relative to
	environ []string
	checks  []func(*Config) []*Error
	read    func(path string)

	cfg      Config
	standard Config // the defaults
	keys     []Key
	lines    map[string]int    // of the file, by path
	source   map[string]string // of a key that is set: l.file, or a variable
	bad      map[string]bool   // keys with a mistake of their own
	broken   map[int]bool      // lines of the file with a value that is no TOML
	unread   bool              // the file is no TOML
	mistakes []*Error
}

func (l *loader) load(text string) (*Config, error) {
	l.keys, l.bad, l.broken = Keys(), map[string]bool{}, map[int]bool{}
	if l.source == nil {
		l.source = map[string]string{}
	}
	for _, k := range l.keys {
		k.decode(&l.cfg, standardValue(k.standard)) // right by test
	}
	l.standard = l.cfg
	l.readText(text)
	l.readEnviron()
	l.resolvePaths()
	if !l.unread { // else nobody knows what the file would set
		l.contradictions()
		l.runChecks()
	}
	if l.mistakes != nil {
		return nil, joined(l.mistakes)
	}
	for _, list := range []*[]string{&l.cfg.Turn.Listen, &l.cfg.Turn.ListenTLS} {
		all := *list
		*list = slices.DeleteFunc(slices.Clone(all), func(a string) bool { return covered(a, all) })
	}
	return &l.cfg, nil
}

// fail notes a mistake about a key, or about what at names below it. If nothing sets the key, the mistake is placed at
// the first of others, with which the key is at odds, that is set.
func (l *loader) fail(key, at string, err error, others ...string) {
	l.bad[key] = true
	e := &Error{Key: key, Err: err}
	l.place(e, key, at, others...)
	l.mistakes = append(l.mistakes, e)
}

// place fills in where a mistake is.
func (l *loader) place(e *Error, key, at string, others ...string) {
	path := key + at
	if e.Source = l.sourceOf(key); e.Source == "" {
		for _, o := range others {
			if e.Source = l.sourceOf(o); e.Source != "" {
				path = o
				break
			}
		}
	}
	if e.Source == l.file && l.file != "" {
		e.Line = l.lineOf(path)
	}
}

// sourceOf is what sets a key. For another path it is what sets the key that it is in, or the first key that is in it.
func (l *loader) sourceOf(path string) string {
	if s := l.source[path]; s != "" {
		return s
	}
	for _, k := range l.keys {
		if strings.HasPrefix(path, k.Name+".") || strings.HasPrefix(k.Name, path+".") {
			if s := l.source[k.Name]; s != "" {
				return s
			}
		}
	}
	return ""
}

// failf is fail about the whole key.
func (l *loader) failf(key, format string, args ...any) { l.fail(key, "", fmt.Errorf(format, args...)) }

// lineOf is the line of a path in the file, or of the nearest thing around it.
func (l *loader) lineOf(path string) int {
	for path != "" {
		if n := l.lines[path]; n > 0 {
			return n
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// store decodes a value that source has for a key.
func (l *loader) store(k Key, source string, v any) {
	l.source[k.Name] = source
	delete(l.bad, k.Name)
	for _, f := range k.decode(&l.cfg, v) {
		l.fail(k.Name, f.at, f.err)
		l.mistakes[len(l.mistakes)-1].Key += f.sub
	}
}

// readText reads the text of the file.
func (l *loader) readText(text string) {
	doc, text, whole := l.decode(strings.TrimPrefix(text, "\xef\xbb\xbf"))
	if !whole {
		l.unread = true
		return
	}
	l.lines = findLines(text)
	l.readTable("", doc)
}

// readTable stores what a table of the file sets.
func (l *loader) readTable(path string, table map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at, v := below(path, toml.Key{name}.String()), plain(table[name])
		if i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == at }); i >= 0 {
			if l.broken[l.lines[at]] && v == any(int64(0)) {
				l.source[at], l.bad[at] = l.file, true // said by decode
				continue
			}
			l.store(l.keys[i], l.file, v)
			continue
		}
		isTable := slices.ContainsFunc(l.keys, func(k Key) bool { return strings.HasPrefix(k.Name, at+".") })
		inner, ok := v.(map[string]any)
		switch {
		case isTable && ok:
			l.readTable(at, inner)
		case isTable:
			l.misplaced(at, wrongType("a table", v))
		case ok:
			l.misplaced(at, unknown("table", nearestKey(at, l.keys, true)))
		default:
			l.misplaced(at, unknown("key", nearestKey(at, l.keys, false)))
		}
	}
}

// misplaced notes a mistake about something in the file that is no key.
func (l *loader) misplaced(at string, err error) {
	l.mistakes = append(l.mistakes, &Error{Source: l.file, Line: l.lineOf(at), Key: at, Err: err})
}

// resolvePaths makes relative paths relative to the folder of the file.
func (l *loader) resolvePaths() {
	for _, k := range l.keys {
		if k.path == nil {
			continue
		}
		p := k.path(&l.cfg)
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(l.dir, *p)
		}
		if *p != "" && k.isFile {
			l.read(*p)
		}
	}
}

// runChecks asks the parts. What they say about a key that is known to be wrong is left out.
func (l *loader) runChecks() {
	for _, check := range l.checks {
		for _, e := range check(&l.cfg) {
			name, at := e.Key, ""
			if i := strings.IndexByte(name, '['); i >= 0 {
				name, at = name[:i], name[i:]
			}
			if l.isBad(name) || l.isBad(e.Because) {
				continue
			}
			found := &Error{Key: name, Err: e.Err}
			l.place(found, name, at, e.Because)
			l.mistakes = append(l.mistakes, found)
		}
	}
}

// isBad reports whether a key, the key that it is in, or one that is in it has a mistake of its own.
func (l *loader) isBad(path string) bool {
	for b := range l.bad {
		if path != "" && (b == path || strings.HasPrefix(b, path+".") || strings.HasPrefix(path, b+".")) {
			return true
		}
	}
	return false
}
