package policy

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// glob is a compiled pattern for Node ids:
//
//	?                   any one character
//	*                   any run of characters, also none
//	[abc] [a-z] [!a-z]  one of these characters, or none of them
//	{ab,c*}             one of these patterns
//	\x                  the character x itself
//
// Everything else stands for itself; no character separates parts of an id, and case counts. Matching takes time linear
// in the id for every pattern: the ids are a stranger's.
type glob struct {
	text    string
	literal string         // the only id it matches, if exact
	exact   bool           // no wildcard at all
	prefix  string         // if match is nil: literal, then anything
	match   *regexp.Regexp // nil if exact or prefix says it all
	tokens  []globToken    // nil if it has classes or alternatives
}

// globToken is a literal character or a wildcard of a plain pattern.
type globToken struct {
	wild byte // '*', '?', 0
	char rune
}

const maxGlob = 1024 // bytes of a pattern

// What may be wrong with a pattern.
var (
	errGlobEmpty   = errors.New("the pattern is empty")
	errGlobLong    = errors.New("the pattern is longer than 1024 bytes")
	errGlobNever   = errors.New("the pattern can never match a Node id")
	errGlobEscape  = errors.New(`the pattern ends in a lone \`)
	errGlobClass   = errors.New("the pattern has a [ that is empty or not closed")
	errGlobRange   = errors.New("the pattern has a range that is the wrong way round")
	errGlobBrace   = errors.New("the pattern has a { that is not closed")
	errGlobNesting = errors.New("the pattern has { } nested more than 8 deep")
)

func compileGlob(text string) (*glob, error) {
	switch {
	case text == "":
		return nil, errGlobEmpty
	case len(text) > maxGlob:
		return nil, errGlobLong
	case !utf8.ValidString(text), strings.ContainsFunc(text, unicode.IsControl):
		return nil, errGlobNever
	}
	text = nodeid.Spell(text)
	p := globParser{rest: text, plain: true}
	if err := p.sequence(0); err != nil {
		return nil, err
	}
	g := &glob{text: text}
	if p.plain {
		g.tokens = p.tokens
		return g, g.simplify(p.expr.String())
	}
	return g, g.compile(p.expr.String())
}

// simplify finds the cheapest way to match a pattern without classes and alternatives.
func (g *glob) simplify(expr string) error {
	var literal strings.Builder
	least := 0
	wild := -1
	for i, token := range g.tokens {
		switch {
		case token.wild == 0:
			least += utf8.RuneLen(token.char)
		case token.wild == '?':
			least++
		}
		if token.wild != 0 && wild < 0 {
			wild = i
		}
		if wild < 0 {
			literal.WriteRune(token.char)
		}
	}
	switch {
	case least > nodeid.MaxLen:
		return errGlobNever
	case wild < 0:
		g.exact, g.literal = true, literal.String()
	case wild == len(g.tokens)-1 && g.tokens[wild].wild == '*':
		g.prefix = literal.String()
	default:
		return g.compile(expr)
	}
	return nil
}

func (g *glob) compile(expr string) (err error) {
	g.match, err = regexp.Compile(`(?s)\A(?:` + expr + `)\z`)
	return err
}

// Match reports whether the pattern matches a valid Node id in its canonical spelling.
func (g *glob) Match(node string) bool {
	switch {
	case g.exact:
		return node == g.literal
	case g.match == nil:
		return strings.HasPrefix(node, g.prefix)
	}
	return g.match.MatchString(node)
}

// covers reports whether g surely matches all that other matches. It may miss that if one of them has classes or
// alternatives.
func (g *glob) covers(other *glob) bool {
	switch {
	case g.text == other.text, g.match == nil && !g.exact && g.prefix == "":
		return true
	case other.exact:
		return g.Match(other.literal)
	case g.tokens == nil || other.tokens == nil:
		return false
	}
	return coverTokens(g.tokens, other.tokens)
}

// coverTokens matches the pattern wide against narrow as if that were text, whose wildcards only wildcards can match.
func coverTokens(wide, narrow []globToken) bool {
	reach := make([]bool, len(narrow)+1) // narrow[:i] is covered by what of wide has been looked at
	reach[0] = true
	for _, w := range wide {
		next := make([]bool, len(narrow)+1)
		if w.wild == '*' {
			for i, open := 0, false; i <= len(narrow); i++ {
				open = open || reach[i]
				next[i] = open
			}
		} else {
			for i, n := range narrow {
				fits := n.wild == 0 && (w.wild == '?' || w.char == n.char) || n.wild == '?' && w.wild == '?'
				next[i+1] = reach[i] && fits
			}
		}
		reach = next
	}
	return reach[len(narrow)]
}

// quoteGlob returns the pattern that matches only this id. Spaces at its ends survive trimming.
func quoteGlob(id string) string {
	var b strings.Builder
	for i, r := range id {
		switch {
		case strings.ContainsRune(`\*?[]{},@`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsSpace(r) && (i == 0 || i+utf8.RuneLen(r) == len(id)):
			b.WriteString("[" + string(r) + "]")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
