//go:build unix

package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const known = "6b6e6f776e6b6e6f776e6b6e6f776e6b6e6f776e6b6e6f776e6b6e6f776e6b6e" // to somebody else

// planted is a folder with a secret in it.
func planted(t *testing.T, mode os.FileMode) (path, file string) {
	t.Helper()
	path = t.TempDir()
	file = filepath.Join(path, CredentialSecret)
	if err := os.WriteFile(file, []byte(known+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path, file
}

// giveAway makes a file another user's, which only root can.
func giveAway(t *testing.T, path string) {
	t.Helper()
	if err := os.Chown(path, 4711, 4711); err != nil {
		t.Skip("only root can give a file away")
	}
}

func TestRootDoesNotTakeAnothersFolder(t *testing.T) {
	path, _ := planted(t, 0o644)
	giveAway(t, path)
	d, err := Open(path)
	if err == nil {
		_ = d.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "belongs to the user with id 4711") || strings.Contains(err.Error(), "\n") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Lstat(filepath.Join(path, "lock")); err == nil {
		t.Error("something was made in it")
	}
}

func TestSecretOfAnotherUserIsNotTaken(t *testing.T) {
	path, file := planted(t, 0o600)
	giveAway(t, file)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s, _, err := d.Secret(CredentialSecret); err == nil || s != "" || !strings.Contains(err.Error(), "delete it to have a new one made") {
		t.Errorf("%v", err)
	}
	if _, made, err := d.Secret(HooksToken); err != nil || !made {
		t.Errorf("another one: %v", err)
	}
}

func TestOpenSecrets(t *testing.T) {
	for _, c := range []struct {
		mode, after os.FileMode
		refused     bool
	}{
		{0o600, 0o600, false}, {0o660, 0o660, false}, // the group of a volume
		{0o644, 0o600, false}, {0o666, 0o666, true}, {0o602, 0o602, true},
	} {
		path, file := planted(t, c.mode)
		d, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := d.Secret(CredentialSecret)
		if (err != nil) != c.refused || err == nil && s != known || err != nil && !strings.Contains(err.Error(), "written by every user") {
			t.Errorf("%o: %v", c.mode, err)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != c.after {
			t.Errorf("%o is %v now, %v", c.mode, st.Mode(), err)
		}
		if was := len(d.Closed()) == 1; was != (c.mode != c.after) {
			t.Errorf("%o: closed %v", c.mode, d.Closed())
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Whoever may write to the folder must not have this process make or touch a file elsewhere.
func TestLockIsNoLink(t *testing.T) {
	path := t.TempDir()
	there, elsewhere := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "elsewhere")
	if err := os.WriteFile(there, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(there, long, long); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{there, elsewhere} {
		lock := filepath.Join(path, "lock")
		if err := os.Symlink(target, lock); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(path); err == nil || !strings.Contains(err.Error(), "is a link") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, %v", d, err)
		}
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(there); err != nil || time.Since(st.ModTime()) < time.Minute || st.Mode().Perm() != 0o644 {
		t.Errorf("what it led to is %v of %v, %v", st.Mode(), st.ModTime(), err)
	}
	if _, err := os.Lstat(elsewhere); err == nil {
		t.Error("what it led to was made")
	}
	// Nor is a link that takes the lock's place later.
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	lock := filepath.Join(path, "lock")
	if err := os.Rename(lock, lock+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(there, lock); err != nil {
		t.Fatal(err)
	}
	d.Touch()
	if st, err := os.Stat(there); err != nil || time.Since(st.ModTime()) < time.Minute {
		t.Error("a link was followed by Touch")
	}
}
