package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"crolang-aio": func() { os.Exit(Main(os.Args, os.Stdout, os.Stderr)) }})
}

// TestScripts runs the commands as a person would; see testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			wd, err := os.Getwd()
			if err != nil {
				return err
			}
			e.Setenv("CROLANG_AIO_BROKER_LISTEN", "127.0.0.1:0") // 8080 may be taken
			e.Setenv("UPGRADE", filepath.Join(wd, "testdata", "upgrade"))
			e.Setenv("EXAMPLE", filepath.Join(wd, "..", "..", "example.toml"))
			for i := range 5 {
				port, err := freeports.Next()
				if err != nil {
					return err
				}
				e.Setenv(fmt.Sprintf("PORT%d", i+1), fmt.Sprint(port))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"expand":  expand,
			"await":   await,
			"noleak":  noLeak,
			"example": example,
			"release": release,
			"answers": answers,
		},
	})
}

// expand replaces $NAME in a file of the script.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		b, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(b), ts.Getenv)), 0o600))
	}
}

// await polls a command until it succeeds: `await crolang-aio health`.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for range 1000 {
		if ts.Exec(args[0], args[1:]...) == nil {
			return
		}
	}
	ts.Fatalf("%s never succeeded", strings.Join(args, " "))
}

// noLeak fails where the content of the first file stands in any of the others.
func noLeak(ts *testscript.TestScript, _ bool, args []string) {
	secret := strings.TrimSpace(ts.ReadFile(args[0]))
	for _, name := range args[1:] {
		if secret == "" || strings.Contains(ts.ReadFile(name), secret) {
			ts.Fatalf("%s has the secret of %s, or that is empty", name, args[0])
		}
	}
}

// example compares standard output with the repository's example.toml.
func example(ts *testscript.TestScript, _ bool, _ []string) {
	want, err := os.ReadFile(ts.Getenv("EXAMPLE"))
	ts.Check(err)
	if ts.ReadFile("stdout") != string(want) {
		ts.Fatalf("config init and example.toml differ")
	}
}

func TestRunReturnsErrorsInsteadOfExiting(t *testing.T) {
	var out, errs strings.Builder
	err := run(context.Background(), []string{"crolang-aio", "credential"}, &out, &errs)
	if code(&errs, err) != exitUsage || out.Len() != 0 || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("%v: %q, %q", err, out.String(), errs.String())
	}
}
