package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const examplePath = "../example.toml"

// What `config init` prints is the example that stands in the project: -update writes it.
func TestExampleIsInit(t *testing.T) {
	if *update {
		if err := os.WriteFile(examplePath, []byte(Init()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != Init() {
		t.Error("example.toml is not what config init prints: run go test ./config -update")
	}
	for i, line := range strings.Split(Init(), "\n") {
		if n := len([]rune(line)); n > 140 {
			t.Errorf("line %d has %d columns", i+1, n)
		}
	}
}

func TestInitIsTheDefaults(t *testing.T) {
	fromFile, err := Load(examplePath, WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	none, err := Load("", WithEnviron(nil))
	if err != nil {
		t.Fatal(err)
	}
	fromFile.DataDir = strings.TrimPrefix(fromFile.DataDir, "../")
	if !reflect.DeepEqual(fromFile, none) {
		t.Errorf("example.toml is\n%+v\nthe defaults are\n%+v", fromFile, none)
	}
	if w := none.Warnings(); w != nil {
		t.Errorf("the defaults warn: %q", w)
	}
}

func TestKeys(t *testing.T) {
	variables := map[string]string{}
	for _, k := range Keys() {
		for _, name := range []string{k.Env, k.EnvFile} {
			if other := variables[name]; name != "" && other != "" {
				t.Errorf("%s and %s have the same variable", k.Name, other)
			}
			variables[name] = k.Name
			if isLink(name, "") {
				t.Errorf("%s would be taken for a variable of Kubernetes", name)
			}
		}
		if want := "CROLANG_AIO_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_")); k.Env != want {
			t.Errorf("%s has the variable %s", k.Name, k.Env)
		}
		if (k.EnvFile != "") != k.Secret {
			t.Errorf("%s: a secret has a variable for a file, nothing else has", k.Name)
		}
		if faults := k.decode(&Config{}, standardValue(k.standard)); faults != nil {
			t.Errorf("the default of %s: %v", k.Name, faults[0].err)
		}
		if !strings.HasSuffix(k.Doc, ".") || k.Type == "" || k.Default == "" {
			t.Errorf("%s is not documented: %+v", k.Name, k)
		}
		for _, v := range k.Values {
			if !strings.Contains(k.Doc, v) {
				t.Errorf("the documentation of %s does not tell of %s", k.Name, v)
			}
		}
	}
}

// Every example is taken in its key's place, also from a variable.
func TestExamples(t *testing.T) {
	for _, k := range Keys() {
		if k.Example == "" {
			continue
		}
		var doc map[string]any
		if err := decodeTOML("value = "+k.Example, &doc); err != nil {
			t.Errorf("%s: %s: %v", k.Name, k.Example, err)
			continue
		}
		var c Config
		if faults := k.decode(&c, plain(doc["value"])); faults != nil {
			t.Errorf("%s: %s: %v", k.Name, k.Example, faults[0].err)
		}
	}
}

func TestTablesAreTheCallers(t *testing.T) {
	Tables()[0].Keys[0].Name = "changed"
	if Keys()[0].Name != "data_dir" {
		t.Error("a caller can change the keys")
	}
}
