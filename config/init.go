package config

import "strings"

// preamble begins what Init returns.
const preamble = `# Configuration of crolang-aio, with every default. It works as it is: crolang-aio serve --config FILE
#
# Leave out what you do not change. Environment variables override this file: CROLANG_AIO_ and the key in capitals, with _
# for each dot, such as CROLANG_AIO_TURN_LIMITS_ALLOCATIONS. In a variable, separate the entries of a list with commas;
# write a list of tables, or [hooks.authorize.groups], as you would here after the =. For a secret, CROLANG_AIO_…_FILE can
# name a file that holds it.
#
# crolang-aio config check --config FILE lists every mistake.
`

// Init is a configuration with every key, its default and what it does, in TOML. It is what example.toml holds, and
// reads as the defaults.
func Init() string {
	var b strings.Builder
	b.WriteString(preamble)
	for _, t := range Tables() {
		b.WriteString("\n")
		if t.Name != "" {
			comment(&b, t.Doc)
			b.WriteString("[" + t.Name + "]\n")
		}
		for i, k := range t.Keys {
			if k.Name == t.Name { // its names are the user's
				b.WriteString("#   " + strings.Trim(k.Example, "{}") + "\n")
				continue
			}
			if i > 0 {
				b.WriteString("\n")
			}
			comment(&b, k.Doc)
			if k.Example != "" {
				b.WriteString("#   " + k.Leaf() + " = " + k.Example + "\n")
			}
			b.WriteString(k.Leaf() + " = " + k.Default + "\n")
		}
	}
	return b.String()
}

// comment writes text as comment lines of at most 120 columns.
func comment(b *strings.Builder, text string) {
	const width = 120
	line := "#"
	for _, word := range strings.Fields(text) {
		if len([]rune(line))+1+len([]rune(word)) > width {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	if line != "#" {
		b.WriteString(line + "\n")
	}
}
