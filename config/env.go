package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

const maxSecretFile = 64 << 10 // bytes of a file that a variable names

// linked matches the variables that Kubernetes and Docker make for a service of this name that runs beside us. No key
// can have such a name.
var linked = regexp.MustCompile(`^CROLANG_AIO(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// readEnviron reads the variables. One that belongs to no key is a mistake: most likely it is misspelt.
func (l *loader) readEnviron() {
	set := map[string]string{}
	for _, line := range l.environ {
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, envPrefix) {
			set[name] = value
		}
	}
	var names []string
	for _, k := range l.keys {
		names = append(names, k.Env)
		value, here := set[k.Env]
		if k.EnvFile != "" {
			names = append(names, k.EnvFile)
			if path, there := set[k.EnvFile]; there {
				if l.goodVariable(k, k.EnvFile, path) {
					l.readSecretFile(k, path, here)
				}
				continue
			}
		}
		if here && l.goodVariable(k, k.Env, value) {
			l.readVariable(k, k.Env, k.fromEnv, value)
		}
	}
	for name, value := range set {
		if slices.Contains(names, name) || slices.Contains(notKeys, name) || isLink(name, value) {
			continue
		}
		l.mistakes = append(l.mistakes, &Error{Source: name, Err: unknown("variable", nearest.Of(name, names))})
	}
}

// CheckVariable returns an error if a variable's value has something round it that is hardly meant: quotes, which a
// shell takes off and Docker's --env-file and Kubernetes do not, or blanks, such as the carriage return of a file with
// CRLF. The error does not show the value.
func CheckVariable(value string) error {
	switch trimmed := strings.TrimSpace(value); {
	case strings.HasSuffix(value, "\r"):
		return errors.New("has a carriage return at its end: the file that it comes from has line ends of Windows (CRLF), save it with LF")
	case trimmed != value:
		return errors.New("has blanks at its ends, which count as part of it: leave them out")
	case len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0]:
		return errors.New("has quotes round it, which count as part of it: leave them out (Docker's --env-file and Kubernetes keep them)")
	}
	return nil
}

// isLink reports whether a variable is one that Kubernetes or Docker made.
func isLink(name, value string) bool {
	if linked.MatchString(name) {
		return true
	}
	scheme, _, ok := strings.Cut(value, "://")
	return ok && strings.HasSuffix(name, "_PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}

// goodVariable notes a mistake of [CheckVariable].
func (l *loader) goodVariable(k Key, name, value string) bool {
	err := CheckVariable(value)
	if err != nil {
		l.source[k.Name] = name
		l.fail(k.Name, "", err)
	}
	return err == nil
}

// readVariable stores the text of a variable.
func (l *loader) readVariable(k Key, name string, read func(string) any, text string) {
	v := any(unreadable{})
	if utf8.ValidString(text) {
		v = read(text)
	}
	if _, wrong := v.(unreadable); wrong && k.Example != "" {
		l.source[k.Name] = name
		l.fail(k.Name, "", fmt.Errorf("must be written as in the file, such as %s", k.Example))
		return
	}
	l.store(k, name, v)
}

// readSecretFile stores the content of the file that a variable names. Its errors do not show the path: it may be the
// secret itself, put there by mistake.
func (l *loader) readSecretFile(k Key, path string, both bool) {
	l.source[k.Name] = k.EnvFile
	if both {
		l.fail(k.Name, "", fmt.Errorf("%s is set too: only one of them can be", k.Env))
		return
	}
	if path == "" {
		l.fail(k.Name, "", errors.New("is empty: it must name a file"))
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.dir, path)
	}
	l.read(path)
	b, err := readFile(path, maxSecretFile)
	if err != nil {
		l.fail(k.Name, "", fmt.Errorf("the file cannot be read: %w", durable.Bare(err)))
		return
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" && k.Default == `""` {
		l.fail(k.Name, "", errors.New("the file is empty: it must hold the secret"))
		return
	}
	l.readVariable(k, k.EnvFile, k.fromFile, text)
}

// linesOf splits at line ends, and drops empty lines.
func linesOf(text string) any {
	list := []any{}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			list = append(list, line)
		}
	}
	return list
}
