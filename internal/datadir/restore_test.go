package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// backupOf writes a backup of names and texts in turns.
func backupOf(t *testing.T, namesAndTexts ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, packed(t, append([]string{backupName, `{"format":1,"files":1}`}, namesAndTexts...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func list(t *testing.T, folder string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// Whatever is in the folder already, a restore writes nothing, there or where a link leads to.
func TestRestoreIntoWhatIsThere(t *testing.T) {
	file := backupOf(t, "x/evil", "text")
	for name, put := range map[string]func(x, elsewhere string) error{
		"a link to a folder":   func(x, elsewhere string) error { return os.Symlink(elsewhere, x) },
		"a link to nothing":    func(x, elsewhere string) error { return os.Symlink(filepath.Join(elsewhere, "none"), x) },
		"an empty folder":      func(x, _ string) error { return os.Mkdir(x, 0o700) },
		"a file":               func(x, _ string) error { return os.WriteFile(x, nil, 0o600) },
		"a file in the making": func(x, _ string) error { return os.WriteFile(x+".tmp", nil, 0o600) },
		"a link that is a stage": func(x, elsewhere string) error {
			return os.Symlink(elsewhere, filepath.Join(filepath.Dir(x), stageName))
		},
	} {
		to, elsewhere := t.TempDir(), t.TempDir()
		if err := put(filepath.Join(to, "x"), elsewhere); err != nil {
			t.Fatal(err)
		}
		before := list(t, to)
		if _, err := Restore(to, file); !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
		if now := list(t, to); !slices.Equal(now, before) || len(list(t, elsewhere)) != 0 {
			t.Errorf("%s: %v became %v, elsewhere %v", name, before, now, list(t, elsewhere))
		}
	}
}

// A restore that was killed, a lock and what a file system puts into its root are not in the way. A link in what was left is
// removed, and not followed.
func TestRestoreAfterOneThatWasKilled(t *testing.T) {
	to, elsewhere := t.TempDir(), t.TempDir()
	kept := filepath.Join(elsewhere, "kept")
	if err := errors.Join(os.Mkdir(filepath.Join(to, stageName), 0o700), os.Mkdir(filepath.Join(to, lostName), 0o700),
		os.WriteFile(filepath.Join(to, lockName), nil, 0o600), os.WriteFile(kept, nil, 0o600),
		os.Symlink(elsewhere, filepath.Join(to, stageName, "x")), os.WriteFile(filepath.Join(to, stageName, "half"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(to, backupOf(t, "x/one", "1", "x/y/two", "2", "three", "3")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x/one": "1", "x/y/two": "2", "three": "3"} {
		if b, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name))); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if now := list(t, to); !slices.Equal(now, []string{lockName, lostName, "three", "x"}) || !slices.Equal(list(t, elsewhere), []string{"kept"}) {
		t.Errorf("%v, elsewhere %v", now, list(t, elsewhere))
	}
}

// A restore that fails on its way leaves nothing, so that the next one is not refused.
func TestRestoreThatFails(t *testing.T) {
	to := filepath.Join(t.TempDir(), "data")
	if _, err := Restore(to, backupOf(t, "first", "1", "x", "2", "x/below", "3")); err == nil || errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if now := list(t, to); !slices.Equal(now, []string{lockName}) {
		t.Errorf("left: %v", now)
	}
	if _, err := Restore(to, backupOf(t, "first", "1")); err != nil {
		t.Error(err)
	}
}

// A move that fails takes the others back.
func TestMoveAllOrNothing(t *testing.T) {
	to := t.TempDir()
	root, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := errors.Join(root.Mkdir(stageName, 0o700), create(root, filepath.Join(stageName, "first"), nil)); err != nil {
		t.Fatal(err)
	}
	if err := move(root, []backedUp{{name: "first"}, {name: "missing"}}); err == nil {
		t.Error("no error")
	}
	if now := list(t, to); !slices.Equal(now, []string{stageName}) {
		t.Errorf("left: %v", now)
	}
}
