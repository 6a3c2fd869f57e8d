package usage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
)

// The file holds a bucket "about" with the version of the format, and a bucket "months" with one for each month: "all"
// has the month's sum, and "n" followed by a Node's id has that of the Node.
const (
	fileName    = "usage.db"
	fileVersion = "1"
	fileMode    = 0o600
	sumKey      = "all" // comes before those of Nodes
	nodePrefix  = 'n'
)

var (
	bucketAbout  = []byte("about")
	bucketMonths = []byte("months")
	keyVersion   = []byte("version")
)

var (
	errDamaged = errors.New("the file is damaged")
	errPanic   = errors.New("the library gave up on it") // with its locks held, perhaps
	errNewer   = errors.New("the file was written by a later version of this program")
)

// store is the file. It belongs to whoever holds Keeper.io.
type store struct {
	path   string
	db     *bolt.DB // nil: not open
	ledger string   // see name; empty until it was open
}

// open opens the file, and makes it if it is missing. The error is errDamaged for what no later try would repair.
func (s *store) open() error {
	if s.db != nil {
		return nil
	}
	if err := errors.Join(durable.Sweep(s.path), removed(s.path+compactSuffix)); err != nil {
		return err
	}
	err := guard(func() (err error) {
		s.db, err = bolt.Open(s.path, fileMode, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		s.db = nil
		return fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		s.db = nil
		return err
	}
	if err = s.update(func(tx *bolt.Tx) error {
		if err := begin(tx); err != nil {
			return err
		}
		return s.name(tx)
	}); err != nil {
		s.abandon(err)
	}
	return err
}

// begin makes an empty file ready, and checks that of another version.
func begin(tx *bolt.Tx) error {
	about, err := tx.CreateBucketIfNotExists(bucketAbout)
	if err != nil {
		return err
	}
	switch v := about.Get(keyVersion); string(v) {
	case fileVersion:
	case "":
		if err := about.Put(keyVersion, []byte(fileVersion)); err != nil {
			return err
		}
	default:
		return errNewer
	}
	_, err = tx.CreateBucketIfNotExists(bucketMonths)
	return err
}

// close closes the file.
func (s *store) close() error {
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	return guard(db.Close)
}

// abandon lets go of a file that cannot be used. What a panic left of it locked is not waited for.
func (s *store) abandon(why error) {
	if errors.Is(why, errPanic) {
		s.db = nil
		return
	}
	_ = s.close()
}

// setAside renames a damaged file, so that nothing of it is lost, and returns its new name.
func (s *store) setAside(now time.Time) (string, error) {
	aside := s.path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	return aside, os.Rename(s.path, aside)
}

// guard calls f, which reads or writes the file. The library takes the file's pages at their word: of a damaged file it
// panics, or reads beyond its end. Both are errDamaged here.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w, %w: %.200s", errDamaged, errPanic, strings.ReplaceAll(fmt.Sprint(cause), "\n", " "))
		}
	}()
	return f()
}

func (s *store) view(f func(tx *bolt.Tx) error) error {
	return guard(func() error { return s.db.View(f) })
}

func (s *store) update(f func(tx *bolt.Tx) error) error {
	return guard(func() error { return s.db.Update(f) })
}

// read calls f for every line of a month, that of the sum with an empty id. What cannot be read is errDamaged.
func (s *store) read(m Month, f func(l Line)) error {
	return s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMonths).Bucket([]byte(m.String()))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			r, err := decode(v)
			switch {
			case err != nil:
				return fmt.Errorf("%w: %w", errDamaged, err)
			case string(k) == sumKey:
				f(Line{Record: r})
			case len(k) > 1 && k[0] == nodePrefix:
				f(Line{string(k[1:]), r})
			default:
				return fmt.Errorf("%w: %w", errDamaged, errRecord)
			}
			return nil
		})
	})
}

// node returns a Node's records by month, without those that are not there.
func (s *store) node(node string) (all map[Month]Record, err error) {
	all = make(map[Month]Record)
	return all, s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMonths).ForEachBucket(func(name []byte) error {
			m, err := ParseMonth(string(name))
			if err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			v := tx.Bucket(bucketMonths).Bucket(name).Get(append([]byte{nodePrefix}, node...))
			if v == nil {
				return nil
			}
			r, err := decode(v)
			if err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			all[m] = r
			return nil
		})
	})
}

// months lists those of which there is anything, the first first.
func (s *store) months() (all []Month, err error) {
	return all, s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMonths).ForEachBucket(func(name []byte) error {
			m, err := ParseMonth(string(name))
			if err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			all = append(all, m)
			return nil
		})
	})
}

// maxLines are written in one transaction, which replaces every page that it touches: the pages that one gives up serve
// the next.
const maxLines = 5000

// write replaces lines of a month. With an error, some of them may be replaced.
func (s *store) write(m Month, lines []Line) error {
	// In the order of the keys the pages are filled from one end.
	slices.SortFunc(lines, func(a, b Line) int { return strings.Compare(a.Node, b.Node) })
	for part := range slices.Chunk(lines, maxLines) {
		if err := s.update(func(tx *bolt.Tx) error { return put(tx, m, part) }); err != nil {
			return err
		}
	}
	return nil
}

func put(tx *bolt.Tx, m Month, lines []Line) error {
	b, err := tx.Bucket(bucketMonths).CreateBucketIfNotExists([]byte(m.String()))
	if err != nil {
		return err
	}
	b.FillPercent = 0.8
	for _, l := range lines {
		key := []byte(sumKey)
		if l.Node != "" {
			key = append([]byte{nodePrefix}, l.Node...)
		}
		if err := b.Put(key, l.encode(nil)); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a Node's records of every month and returns how many there were.
func (s *store) remove(node string) (n int, err error) {
	key := append([]byte{nodePrefix}, node...)
	return n, s.update(func(tx *bolt.Tx) error {
		n = 0
		return tx.Bucket(bucketMonths).ForEachBucket(func(name []byte) error {
			b := tx.Bucket(bucketMonths).Bucket(name)
			if b.Get(key) == nil {
				return nil
			}
			n++
			return b.Delete(key)
		})
	})
}

// prune deletes whole months.
func (s *store) prune(gone []Month) error {
	return s.update(func(tx *bolt.Tx) error {
		for _, m := range gone {
			if err := tx.Bucket(bucketMonths).DeleteBucket([]byte(m.String())); err != nil {
				return err
			}
		}
		return nil
	})
}

const compactSuffix = ".compact"

// compact rewrites the file, so that nothing is left in it of what was deleted.
func (s *store) compact() error {
	temp := s.path + compactSuffix
	if err := removed(temp); err != nil {
		return err
	}
	err := guard(func() error {
		to, err := bolt.Open(temp, fileMode, &bolt.Options{Timeout: time.Second, NoSync: true})
		if err != nil {
			return err
		}
		return errors.Join(bolt.Compact(to, s.db, 4<<20), to.Close())
	})
	if err == nil {
		err = s.close() // before it is replaced, which some systems ask for
	}
	if err == nil {
		err = durable.Write(s.path, fileMode, func(w io.Writer) error {
			from, err := os.Open(temp)
			if err != nil {
				return err
			}
			defer from.Close()
			_, err = io.Copy(w, from)
			return err
		})
	}
	return errors.Join(err, removed(temp), s.open())
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
