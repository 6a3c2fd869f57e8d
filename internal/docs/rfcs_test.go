package docs

import (
	"maps"
	"regexp"
	"testing"
)

// docs/rfcs.md names tests that exist.
func TestRFCsPageNamesTests(t *testing.T) {
	const page = "docs/rfcs.md"
	all := map[string]bool{}
	for _, pattern := range []string{
		"turnsrv/*_test.go", "turnsrv/control/*_test.go", "turnsrv/relay/*_test.go", "turnsrv/relay/offload/*_test.go", "turnsrv/stunmsg/*_test.go",
		"turnsrv/credential/*_test.go", "internal/e2e/*_test.go", "internal/natprobe/*_test.go", "config/*_test.go",
	} {
		maps.Copy(all, testsOf(t, pattern))
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(read(t, page), -1)
	for _, m := range named {
		if !all[m[1]] {
			t.Errorf("%s names %s, which is no test", page, m[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("%s names only %d tests", page, len(named))
	}
}
