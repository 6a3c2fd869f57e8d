package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk" // the formats
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// formats are those of packages, with where their zsh looks for completions.
var formats = []struct{ name, zsh string }{
	{"deb", "/usr/share/zsh/vendor-completions"}, {"rpm", "/usr/share/zsh/site-functions"}, {"apk", "/usr/share/zsh/site-functions"},
}

// forPackages prepares what only packages have. The units of deploy/ name the program where one installs it by hand.
func (r *release) forPackages() error {
	for _, unit := range []string{"crolang-aio.service", "crolang-aio-hooks.socket"} {
		data, err := os.ReadFile(filepath.Join(r.source, "deploy", unit))
		if err != nil {
			return err
		}
		_, text, found := strings.Cut(string(data), "\n[Unit]") // what stands before it says how to install it
		if !found {
			return fmt.Errorf("deploy/%s has no [Unit]", unit)
		}
		if err := r.prepare(unit, []byte("[Unit]"+strings.ReplaceAll(text, "/usr/local/bin/", "/usr/bin/"))); err != nil {
			return err
		}
	}
	for _, name := range []string{"crolang-aio.toml", "crolang-aio.openrc", "postinstall.sh", "preremove.sh", "postremove.sh"} {
		if err := r.copied(filepath.Join("deploy", "package", name), name); err != nil {
			return err
		}
	}
	return nil
}

// packages makes the deb, the rpm and the apk of a platform.
func (r *release) packages(p platform) error {
	text, err := os.ReadFile(filepath.Join(r.source, "deploy", "package", "nfpm.yaml"))
	if err != nil {
		return err
	}
	for _, format := range formats {
		values := map[string]string{"ARCH": p.arch + p.arm, "VERSION": r.version, "STAGE": r.stage, "BIN": r.folder(p), "ZSH": format.zsh}
		config, err := nfpm.Parse(strings.NewReader(os.Expand(string(text), func(name string) string { return values[name] })))
		if err != nil {
			return err
		}
		info, err := config.Get(format.name)
		if err != nil {
			return err
		}
		info.MTime = r.time
		for _, c := range info.Contents {
			if c.FileInfo != nil {
				c.FileInfo.MTime = r.time
			}
		}
		info = nfpm.WithDefaults(info)
		packager, err := nfpm.Get(format.name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := packager.Package(info, &b); err != nil {
			return fmt.Errorf("%s for %s: %w", format.name, p, err)
		}
		if err := r.publish(r.named(p)+"."+format.name, b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
