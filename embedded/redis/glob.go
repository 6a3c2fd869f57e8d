package redis

// maxSteps bounds what one KEYS or SCAN may cost: some tenths of a second.
const maxSteps = 100_000_000

// glob reports whether s matches a Redis pattern: * ? [a-c] [^a-c] and \ before a character that stands for itself. What
// it costs is taken off steps; with none left the answer is false. Only the last star is ever taken back, so the cost
// is at most about the product of both lengths.
func glob(pattern, s string, steps *int) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last star, and where what it stands for ends
	for i < len(s) {
		if *steps--; *steps <= 0 {
			return false
		}
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, i
			p++
			continue
		}
		next, ok := globOne(pattern, p, s[i])
		*steps -= next - p // a class may be long
		if ok {
			p, i = next, i+1
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star+1, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globOne matches the one element of pattern at p, which is no star, and returns where the next begins.
func globOne(pattern string, p int, c byte) (next int, ok bool) {
	if p >= len(pattern) {
		return p, false
	}
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globClass matches a class whose inside begins at p. One that does not end ends with the pattern, as in Redis.
func globClass(pattern string, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		if pattern[p] == '\\' && p+1 < len(pattern) {
			p++
			found = found || pattern[p] == c
			continue
		}
		if p+2 < len(pattern) && pattern[p+1] == '-' {
			low, high := min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2])
			found = found || (c >= low && c <= high)
			p += 2
			continue
		}
		found = found || pattern[p] == c
	}
	if p < len(pattern) {
		p++ // ]
	}
	return p, found != not
}
