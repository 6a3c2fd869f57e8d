package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unseen are the folders whose messages no operator meets: they answer to clients, or stand in tests and benchmarks.
var unseen = []string{
	".ci", ".git", "bench", "deploy", "dist", "docs", "tools", "testdata", "node_modules",
	"hooks/internal", "internal/docs", "internal/e2e", "internal/slowline", "internal/turnclient",
	"turnsrv/stunmsg",
}

// foldersOf are the folders with messages that an operator may meet.
func foldersOf(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(unseen, filepath.ToSlash(rel)) || slices.Contains(unseen, d.Name()) {
			return filepath.SkipDir
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// said is a message of the program, and where it stands.
type said struct{ text, at string }

// source is one package, parsed.
type source struct {
	fset   *token.FileSet
	files  []*ast.File
	consts map[string]string // texts of constants
	format map[string]int    // functions that take a format, and which of their arguments it is
}

func parse(t *testing.T, folder string) *source {
	t.Helper()
	s := &source{fset: token.NewFileSet(), consts: map[string]string{}, format: map[string]int{"fmt.Errorf": 0, "errors.New": 0}}
	files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(s.fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
	}
	for _, f := range s.files {
		ast.Inspect(f, s.declare)
	}
	return s
}

// declare notes constants, and the functions that take a format as fmt.Errorf does.
func (s *source) declare(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) {
				if text, ok := s.text(n.Values[i]); ok {
					s.consts[name.Name] = text
				}
			}
		}
	case *ast.FuncDecl:
		s.wrapper(n.Name.Name, n.Type)
		for _, p := range n.Type.Params.List { // a function that is given one: func(string, ...any)
			if f, ok := p.Type.(*ast.FuncType); ok && len(f.Params.List) == 2 {
				if _, rest := f.Params.List[1].Type.(*ast.Ellipsis); rest {
					s.format[p.Names[0].Name] = 0
					s.wrapper(p.Names[0].Name, f)
				}
			}
		}
	case *ast.AssignStmt:
		if f, ok := n.Rhs[0].(*ast.FuncLit); ok {
			if name, ok := n.Lhs[0].(*ast.Ident); ok {
				s.wrapper(name.Name, f.Type)
			}
		}
	}
	return true
}

// wrapper notes a function with a parameter that is called format.
func (s *source) wrapper(function string, f *ast.FuncType) {
	at := 0
	for _, p := range f.Params.List {
		for _, name := range p.Names {
			if name.Name == "format" {
				s.format[function] = at
			}
			at++
		}
	}
}

// text is the value of an expression of strings, as far as it is constant: … stands for the rest. It is not ok where
// nothing is.
func (s *source) text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		a, okA := s.text(e.X)
		b, okB := s.text(e.Y)
		if e.Op != token.ADD || !okA && !okB {
			return "", false
		}
		if !okA {
			a = "…"
		}
		if !okB {
			b = "…"
		}
		return a + b, true
	case *ast.Ident:
		text, ok := s.consts[e.Name]
		return text, ok
	case *ast.CallExpr: // fmt.Sprintf("…")
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return s.text(e.Args[0])
		}
	}
	return "", false
}

// messages are those of errors, of the log's warnings and errors, and of the configuration's warnings.
func (s *source) messages() (all []said) {
	note := func(at ast.Node, parts ...ast.Expr) {
		var texts []string
		for _, p := range parts {
			text, ok := s.text(p)
			if !ok {
				text = "…"
			}
			texts = append(texts, text)
		}
		if m := message(strings.Join(texts, "; ")); m != "" {
			pos := s.fset.Position(at.Pos())
			all = append(all, said{m, fmt.Sprintf("%s:%d", strings.TrimPrefix(filepath.ToSlash(pos.Filename), root+"/"), pos.Line)})
		}
	}
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if at, ok := s.says(n); ok && at < len(n.Args) {
					note(n, n.Args[at])
				}
			case *ast.CompositeLit:
				s.table(n, note)
			case *ast.AssignStmt: // remedy = "…", p.remedy = "…"
				if remedial(n.Lhs[0]) {
					note(n, n.Rhs[0])
				}
			case *ast.FuncDecl:
				if n.Name.Name != "Error" || n.Recv == nil || n.Body == nil || len(n.Body.List) != 1 {
					return true
				}
				if r, ok := n.Body.List[0].(*ast.ReturnStmt); ok && len(r.Results) == 1 {
					note(r, r.Results[0])
				}
			}
			return true
		})
	}
	return all
}

func remedial(to ast.Expr) bool {
	switch to := to.(type) {
	case *ast.Ident:
		return to.Name == "remedy"
	case *ast.SelectorExpr:
		return to.Sel.Name == "remedy"
	}
	return false
}

// says tells which argument of a call is a message, if one is.
func (s *source) says(call *ast.CallExpr) (int, bool) {
	name := ""
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		name = fun.Name
	case *ast.SelectorExpr:
		name = fun.Sel.Name
		if x, ok := fun.X.(*ast.Ident); ok && (x.Name == "fmt" || x.Name == "errors") {
			name = x.Name + "." + name
		}
	}
	switch {
	case name == "Warn" || name == "Error":
		return 0, true
	case name == "Stopped": // of contain.Panics
		return 1, true
	case name == "append" && len(call.Args) == 2:
		to, ok := call.Args[0].(*ast.SelectorExpr)
		return 1, ok && to.Sel.Name == "warnings"
	}
	at, ok := s.format[name]
	return at, ok
}

// table notes messages that stand in tables: a problem{kind, file, what, remedy, …} and a []struct{ …, say string }.
func (s *source) table(lit *ast.CompositeLit, note func(ast.Node, ...ast.Expr)) {
	if name, ok := lit.Type.(*ast.Ident); ok && name.Name == "problem" && len(lit.Elts) > 3 {
		what, remedy := lit.Elts[2], lit.Elts[3]
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				switch kv.Key.(*ast.Ident).Name {
				case "what":
					what = kv.Value
				case "remedy":
					remedy = kv.Value
				}
			}
		}
		note(lit, what, remedy)
	}
	list, ok := lit.Type.(*ast.ArrayType)
	if !ok {
		return
	}
	row, ok := list.Elt.(*ast.StructType)
	if !ok {
		return
	}
	at := -1
	for _, field := range row.Fields.List {
		for i, name := range field.Names {
			if name.Name == "say" {
				at = i
			}
		}
	}
	for _, e := range lit.Elts {
		if entry, ok := e.(*ast.CompositeLit); ok && at >= 0 && at < len(entry.Elts) {
			note(entry, entry.Elts[at])
		}
	}
}

var (
	verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(\.[0-9]+)?[a-zA-Z]`)
	lead = regexp.MustCompile(`^(…[:;] )+`)
	word = regexp.MustCompile(`[A-Za-z_.]{2,}`)
)

// message is a format as the page shows it: … stands for what differs. It is empty where it only leads to another
// message, or has no words of its own.
func message(format string) string {
	text := strings.ReplaceAll(verb.ReplaceAllString(format, "…"), "%%", "%")
	own := len(word.FindAllString(text, -1))
	if own == 0 || own < 3 && strings.Contains(format, "%w") || own < 2 && !strings.Contains(text, "…") {
		return ""
	}
	return strings.TrimSpace(lead.ReplaceAllString(text, ""))
}

// cell is a message as the first cell of a row.
func cell(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}

// internalOnly are messages that no configuration and no machine can bring about: a mistake in the program itself.
var internalOnly = map[string]string{
	"can't load program: …": "the program is part of the binary",
	"the driver is not known to lose nothing when a program comes or goes":      "such an interface has tcx alone, and nobody is told",
	"TCP relays need a system that can connect from a port on which it listens": "turn.tcp_relays is refused before",
	"no more connections with peers for this allocation":                        "is counted, and answered with 508",
	"there is a connection with this peer already":                              "is counted, and answered with 446",
	"the relayed transport address is given up":                                 "nobody waits for the answer any more",
	"the connection was cut":                                                    "ends a connection, and is told to nobody",
	"no route by Ethernet":                                                      "such a flow stays on the sockets",
	"the program is still at it":                                                "such a flow stays on the sockets until the next look",
	"the table has no room for this flow":                                       "such a flow stays on the sockets until the next look",
	"no port from … to … is free: end what runs there":                          "tests and benchmarks alone choose such ports",
	"20 processes choose ports for tests already: end one":                      "tests and benchmarks alone choose such ports",
	"another machine asks the CA, or has":                                       "waited for, and said to nobody",
	"asked for … values Redis answered …":                                       "no Redis does that; the fleet's finding has it",
	"vault: … bytes are more than …":                                            "a certificate is a few thousand",
	"no CA is expected to ask by tls-alpn-01":                                   "it ends a stranger's handshake, and nobody sees it",
	"run it by hand: … present _acme-challenge.NAME VALUE":                      "the remedy of messages that the page has",
	"certificates are looked at by Client.Run alone":                            "it goes to a library's logger, which is off",
	"write down the account: …":                                                 "it always can be",
	"more than a message has room for":                                          "package fleet puts it into Redis in its place",
	"not counts by Node":                                                        "package fleet counts it as malformed",
	"not news of Nodes and relays":                                              "package fleet counts it as malformed",
	"fleet: Redis, Bans, Self, Write and Dir are needed":                        "internal/app gives them",
	"fleet.regions: …, …":                                                       "the configuration has been checked before",
	"sealed with another credential secret":                                     "is counted, and the machine is named in a finding",
	"not what was sealed":                                                       "is counted, not printed",
	"no secret to seal with":                                                    "the credential secret has been settled before",
	"the client began anew from the same port":                                  "ends a connection, and is told in the why-record",
	"the client did not wait for its handshake":                                 "ends a handshake, and is counted, not printed",
	"the client was turned away":                                                "ends a connection, and is counted, not printed",
	"no PROXY header":                                                           "a connection without one is served",
	"a malformed PROXY header":                                                  "ends a connection, and is counted, not printed",
	"a JSON string is too long":                                                 "becomes: upstream's answer is too large",
	"a mistake in the program ended the handshake":                              "leads to the log's line about it",
	"the client does not read what its messages bring about":                    "likewise",
	"package dtls does not keep its cookie where it did":                        "a test fails first: the version of the library is pinned",
	"log.format: … is none: it is auto, text or json":                           "the configuration has been checked before",
	"…, see crolang-aio … --help":                                               "options are checked before the library sees them",
	"unreadable certificate or key":                                             "a kind for errors.Is; what is printed names the file and the remedy",
	"invalid configuration":                                                     "likewise",
	"the folder could not be brought to the disk":                               "the words in front of it say of what",
	"the public address stays as it was":                                        "the addresses that are found are of their families",
	"certificate and key do not match":                                          "likewise",
	"certificate has expired":                                                   "likewise",
	"certificate is not valid yet":                                              "likewise",
	"certificate cannot be kept":                                                "likewise",
	"no folder for the self-signed certificate":                                 "main always gives data_dir",
	"a duration is negative":                                                    "config refuses it first",
	"a limit is negative":                                                       "main sets none",
	"broker configuration":                                                      "leads to the ones of the Broker only",
	"protocol violated":                                                         "ends a Node's connection, and is told by a close code",
	"engine.io or socket.io protocol violated":                                  "likewise",
	"not JSON":                                                       "answered ERROR to a Node, or ends its connection",
	"no message of a Broker":                                         "passed over on a channel of Redis",
	"audit: no data directory given":                                 "the process has one",
	"the library gave up on it":                                      "stands behind the words that usage.db is damaged",
	"a record cannot be read":                                        "likewise",
	"the file is closed":                                             "nobody asks for usage after the end",
	"usage: no data directory given":                                 "main always gives data_dir",
	"history: no data directory or no totals given":                  "main always gives both",
	"redis is away":                                                  "newcomers are told to try again; what made it fail is logged",
	"redis configuration":                                            "leads to the one above only",
	"admin: no registry of Nodes given":                              "main always gives one",
	"admin: no TURN server given":                                    "main always gives one",
	"hooks: no Decider given":                                        "main always gives one",
	"admin: no status given":                                         "main always gives one",
	"admin: the number of event streams must not be negative":        "main leaves it at its default",
	"losses: Read and Found are needed, and Drops and Note together": "main always gives them",
	"nodes: no data directory given":                                 "main always gives one",
	"nodes: limits must not be negative (… nodes, … bans)":           "main leaves them at their defaults",
	"no handler":                                                     "main always gives one",
	"TLS and DTLS need a certificate":                                "main always gives one",
	"listening for the slow line to …: …":                            "of tests and benchmarks",
	"control: Keys, CheckPeer, OwnListener and Nodes are needed":     "main always gives them",
	"the TURN engine has ended":                                      "an answer to a client whose allocation ended meanwhile",
	"pion gave no answer to …":                                       "leads to the log's line about pion/turn",
	"pion refused … without a code":                                  "likewise",
	"no relay was opened for this request":                           "likewise",
	"no TCP relays":                                                  "pion never asks for one",
	"nothing to read yet":                                            "between the data plane and pion",
	"relay: a panic was stopped":                                     "turnsrv logs it in other words",
	"control: a panic was stopped":                                   "turnsrv logs it in other words",
	"a panic was stopped":                                            "between control and pion",
	"a mistake in the program ended the connection":                  "the log has the panic itself",
	"the port is not for this user":                                  "the log and why say it with its remedy",
	"too much waits to be written":                                   "ends a connection: the client does not read",
	"no relays of this address family":                               "answered to the client as 440",
	"no more memory for what is kept of this client's Node":          "answered to the client as 508, tables",
	"more than … permissions":                                        "answered to the client as 508, permissions",
	"more than … channels":                                           "answered to the client as 508, channels",
	"unknown or expired reservation token":                           "answered to the client as 508",
	"the client has a relay already":                                 "answered to the client as 437",
	"relay: no Handler is given":                                     "turnsrv always gives one",
	"relay: the port range …-… is empty":                             "config refuses it first",
	"relay: … bits per second is no limit":                           "config refuses it first",
	"relay: … is not of the address family it is configured for":     "config refuses it first",
	"relay: cannot serve a …":                                        "turnsrv gives TCP and TLS only",
	"… bytes from a client that has not authenticated":               "ends a connection, and is counted, not printed",
	"empty records only":                                             "likewise",
}

// Every message that an operator may meet stands in docs/errors.md, with its cause and its remedy; nothing else does.
func TestErrorsPageIsComplete(t *testing.T) {
	const page = "docs/errors.md"
	rows := map[string]bool{} // by first cell; true: the program has it
	for line := range strings.Lines(read(t, page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		first := strings.TrimSpace(strings.ReplaceAll(cells[0], "\x00", `\|`))
		if len(cells) != 3 || strings.TrimSpace(cells[1]) == "" || strings.TrimSpace(cells[2]) == "" {
			t.Errorf("%s: the row of %s must be: | message | cause | remedy |", page, first)
		}
		if _, twice := rows[first]; twice {
			t.Errorf("%s: %s has two rows", page, first)
		}
		rows[first] = false
	}
	n := 0
	for _, folder := range foldersOf(t) {
		for _, m := range parse(t, folder).messages() {
			n++
			if internalOnly[m.text] != "" {
				continue
			}
			if _, ok := rows[cell(m.text)]; !ok {
				t.Errorf("%s: this message has no row in %s. Add to the table it belongs to:\n"+
					"| %s | WHAT BROUGHT IT ABOUT | WHAT TO DO |\n"+
					"or, where only a mistake in the program can bring it about, to internalOnly in internal/docs/errors_test.go:\n"+
					"%q: \"WHY\",", m.at, page, cell(m.text), m.text)
			}
			rows[cell(m.text)] = true
		}
	}
	for first, has := range rows {
		if !has {
			t.Errorf("%s: the program no longer says %s: remove or mend that row", page, first)
		}
	}
	if n < 100 {
		t.Errorf("only %d messages were found, so this test says little", n)
	}
}
