package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// release lays what a release had written into the script's folder: `release 0.1`. was/ has its data_dir once more, and
// $USERNAME the name of a credential that it issued.
func release(ts *testscript.TestScript, _ bool, args []string) {
	from := filepath.Join(ts.Getenv("UPGRADE"), args[0])
	lay := func(to, dir string) {
		ts.Check(os.MkdirAll(ts.MkAbs(to), 0o700))
		files, err := os.ReadDir(filepath.Join(from, dir))
		ts.Check(err)
		for _, f := range files {
			if f.IsDir() {
				continue
			}
			b, err := os.ReadFile(filepath.Join(from, dir, f.Name()))
			ts.Check(err)
			ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(to), f.Name()), b, 0o600))
		}
	}
	lay(".", ".")
	lay("data", "data")
	lay("was", "data")
	lay("api", "api")
	ts.Setenv("USERNAME", strings.TrimSpace(ts.ReadFile("username")))

	// Who was connected is worth something for some minutes: as if the release had ended just now.
	var present map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("data/connected.json")), &present))
	present["at"] = time.Now().UTC()
	b, err := json.Marshal(present)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("data/connected.json"), b, 0o600))
}

// answers fails if the running server's API leaves out a key that the release's answer had, or has another type for it:
// `answers nodes`.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	var was, is any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("api/"+args[0]+".json")), &was))
	req, err := http.NewRequest(http.MethodGet, "http://"+ts.Getenv("CROLANG_AIO_ADMIN_LISTEN")+"/api/"+args[0], nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile("was/admin.token")))
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	ts.Check(json.NewDecoder(resp.Body).Decode(&is))
	if lost := missing(args[0], was, is); lost != "" {
		ts.Fatalf("the answer of /api/%s has changed: %s", args[0], lost)
	}
}

// missing is the first place at which is has not what was has; of lists the first entries are compared.
func missing(at string, was, is any) string {
	switch was := was.(type) {
	case map[string]any:
		now, ok := is.(map[string]any)
		if !ok {
			return at + " was an object"
		}
		for key, v := range was {
			if _, there := now[key]; !there {
				return at + "." + key + " is missing"
			}
			if lost := missing(at+"."+key, v, now[key]); lost != "" {
				return lost
			}
		}
	case []any:
		now, ok := is.([]any)
		if !ok {
			return at + " was a list"
		}
		if len(was) > 0 && len(now) > 0 {
			return missing(at+"[0]", was[0], now[0])
		}
	case string:
		if _, ok := is.(string); !ok {
			return at + " was a string"
		}
	case float64:
		if _, ok := is.(float64); !ok {
			return at + " was a number"
		}
	case bool:
		if _, ok := is.(bool); !ok {
			return at + " was true or false"
		}
	}
	return ""
}
