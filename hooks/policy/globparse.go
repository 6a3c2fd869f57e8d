package policy

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// globParser writes a pattern as a regular expression, and as tokens for as long as it is plain.
type globParser struct {
	rest   string
	expr   strings.Builder
	tokens []globToken
	plain  bool
}

func (p *globParser) next() rune {
	r, size := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[size:]
	return r
}

// sequence reads up to the end, or inside braces up to a comma or the closing brace, which it leaves.
func (p *globParser) sequence(depth int) error {
	for p.rest != "" {
		if depth > 0 && (p.rest[0] == ',' || p.rest[0] == '}') {
			return nil
		}
		switch r := p.next(); r {
		case '*':
			if n := len(p.tokens); n == 0 || p.tokens[n-1].wild != '*' {
				p.expr.WriteString(".*")
				p.tokens = append(p.tokens, globToken{wild: '*'})
			}
		case '?':
			p.expr.WriteByte('.')
			p.tokens = append(p.tokens, globToken{wild: '?'})
		case '[':
			p.plain = false
			p.tokens = append(p.tokens, globToken{}) // so that a * behind it is not taken for a doubled one
			if err := p.class(); err != nil {
				return err
			}
		case '{':
			p.plain = false
			if err := p.alternatives(depth + 1); err != nil {
				return err
			}
			p.tokens = append(p.tokens, globToken{})
		case '\\':
			if p.rest == "" {
				return errGlobEscape
			}
			p.char(p.next())
		default:
			p.char(r)
		}
	}
	return nil
}

func (p *globParser) char(r rune) {
	p.expr.WriteString(regexp.QuoteMeta(string(r)))
	p.tokens = append(p.tokens, globToken{char: r})
}

// alternatives reads what follows an opening brace.
func (p *globParser) alternatives(depth int) error {
	if depth > 8 {
		return errGlobNesting
	}
	p.expr.WriteString("(?:")
	for {
		p.tokens = append(p.tokens, globToken{})
		if err := p.sequence(depth); err != nil {
			return err
		}
		if p.rest == "" {
			return errGlobBrace
		}
		if p.next() == '}' {
			p.expr.WriteByte(')')
			return nil
		}
		p.expr.WriteByte('|')
	}
}

// class reads what follows an opening bracket.
func (p *globParser) class() error {
	p.expr.WriteByte('[')
	if strings.HasPrefix(p.rest, "!") {
		p.rest = p.rest[1:]
		p.expr.WriteByte('^')
	}
	for n := 0; ; n++ {
		low, closed, err := p.classChar()
		switch {
		case err != nil:
			return err
		case closed && n == 0:
			return errGlobClass
		case closed:
			p.expr.WriteByte(']')
			return nil
		}
		p.expr.WriteString(quoteClass(low))
		if len(p.rest) < 2 || p.rest[0] != '-' || p.rest[1] == ']' {
			continue
		}
		p.rest = p.rest[1:]
		high, _, err := p.classChar()
		if err != nil {
			return err
		}
		if high < low {
			return errGlobRange
		}
		p.expr.WriteString("-" + quoteClass(high))
	}
}

// classChar reads a character of a class, or its closing bracket.
func (p *globParser) classChar() (r rune, closed bool, err error) {
	if p.rest == "" {
		return 0, false, errGlobClass
	}
	switch r = p.next(); {
	case r == ']':
		return 0, true, nil
	case r == '\\' && p.rest == "":
		return 0, false, errGlobEscape
	case r == '\\':
		return p.next(), false, nil
	}
	return r, false, nil
}

func quoteClass(r rune) string {
	if strings.ContainsRune(`\]^-[&~|`, r) {
		return `\` + string(r)
	}
	return string(r)
}
