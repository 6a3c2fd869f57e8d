package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// file is one of an archive.
type file struct {
	name  string // in the archive; a folder ends in a slash
	data  []byte
	mode  int64
	owner int
}

// named is how the files of a platform begin.
func (r *release) named(p platform) string { return "crolang-aio_" + r.version + "_" + p.String() }

// read is a prepared file.
func (r *release) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(r.stage, name)) }

// archive packs the program with its pages and completions.
func (r *release) archive(p platform) error {
	program, err := os.ReadFile(filepath.Join(r.folder(p), p.program()))
	if err != nil {
		return err
	}
	top := r.named(p) + "/"
	all := []file{{name: top, mode: 0o755}, {name: top + p.program(), data: program, mode: 0o755}}
	for _, f := range [][2]string{
		{"CHANGELOG.md", ""}, {"LICENSE", ""}, {"NOTICE", ""}, {"README.md", ""}, {"_crolang-aio", "completions/"}, {"crolang-aio.1", "man/"},
		{"crolang-aio.bash", "completions/"}, {"crolang-aio.fish", "completions/"}, {"example.toml", ""},
	} {
		data, err := r.read(f[0])
		if err != nil {
			return err
		}
		all = append(all, file{name: top + f[1] + f[0], data: data, mode: 0o644})
	}
	if p.os == "windows" {
		packed, err := r.zip(all)
		if err != nil {
			return err
		}
		return r.publish(r.named(p)+".zip", packed)
	}
	packed, err := r.tar(all)
	if err == nil {
		packed, err = r.gzip(packed)
	}
	if err != nil {
		return err
	}
	return r.publish(r.named(p)+".tar.gz", packed)
}

// tar packs files in their order, with the release's time.
func (r *release) tar(all []file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range all {
		h := tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: r.time, Uid: f.owner, Gid: f.owner, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// gzip compresses without a name or a time.
func (r *release) gzip(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

func (r *release) zip(all []file) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range all {
		h := zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: r.time}
		h.SetMode(os.FileMode(f.mode))
		if strings.HasSuffix(f.name, "/") {
			h.Method = zip.Store
		}
		to, err := w.CreateHeader(&h)
		if err != nil {
			return nil, err
		}
		if _, err := to.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// publish writes a file of the release.
func (r *release) publish(name string, data []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644) //nolint:gosec // it is published
}

// checksums writes SHA256SUMS, as `sha256sum --check` reads it.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, e := range entries {
		f, err := os.Open(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), e.Name())
	}
	return r.publish("SHA256SUMS", []byte(list.String()))
}
