package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageName is what `docker load` calls the image, with the version behind a colon.
const imageName = "crolang-aio"

// inImage are the platforms of the image.
var inImage = []platform{{os: "linux", arch: "amd64"}, {os: "linux", arch: "arm64"}, {os: "linux", arch: "arm", arm: "7"}}

// image makes one tarball of the image for its platforms: an OCI layout, whose index has all of them, which is at the same
// time what `docker save` wrote before there was OCI. `docker load` takes either, and so do podman and skopeo.
func (r *release) image() error {
	settings, err := r.dockerfile()
	if err != nil {
		return err
	}
	blobs := map[string][]byte{}
	var saved []map[string]any
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range inImage {
		if !slices.Contains(r.wanted, p) {
			continue
		}
		img, err := r.imageOf(p, settings)
		if err != nil {
			return err
		}
		entry, err := keep(blobs, img)
		if err != nil {
			return err
		}
		entry["RepoTags"] = []string{imageName + ":" + r.version + "-" + p.arch + p.arm}
		saved = append(saved, entry)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: v1Platform(p)}})
	}
	if len(saved) == 0 {
		return nil
	}
	raw, err := index.RawManifest()
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	blobs[digest.Hex] = raw
	top := map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIImageIndex,
		"manifests": []any{map[string]any{
			"mediaType": types.OCIImageIndex, "digest": digest.String(), "size": len(raw),
			"annotations": map[string]string{"io.containerd.image.name": "docker.io/library/" + imageName + ":" + r.version, "org.opencontainers.image.ref.name": r.version},
		}},
	}
	packed, err := r.layout(blobs, top, saved)
	if err != nil {
		return err
	}
	return r.publish("crolang-aio_"+r.version+"_image.tar", packed)
}

// layout packs blobs, an OCI index and what `docker save` writes.
func (r *release) layout(blobs map[string][]byte, index, saved any) ([]byte, error) {
	all := []file{
		{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`), mode: 0o644},
		{name: "blobs/", mode: 0o755}, {name: "blobs/sha256/", mode: 0o755},
	}
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		all = append(all, file{name: "blobs/sha256/" + name, data: blobs[name], mode: 0o644})
	}
	for name, value := range map[string]any{"index.json": index, "manifest.json": saved} {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		all = append(all, file{name: name, data: data, mode: 0o644})
	}
	slices.SortStableFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return r.tar(all)
}

// keep adds what an image consists of to blobs, and returns its line for `docker load`.
func keep(blobs map[string][]byte, img v1.Image) (map[string]any, error) {
	at := func(h v1.Hash) string { return "blobs/sha256/" + h.Hex }
	manifest, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	name, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	blobs[digest.Hex], blobs[name.Hex] = manifest, config
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		from, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(from)
		from.Close()
		if err != nil {
			return nil, err
		}
		blobs[digest.Hex] = data
		paths = append(paths, at(digest))
	}
	return map[string]any{"Config": at(name), "Layers": paths}, nil
}

func v1Platform(p platform) *v1.Platform {
	out := &v1.Platform{OS: p.os, Architecture: p.arch}
	if p.arm != "" {
		out.Variant = "v" + p.arm
	}
	return out
}

// imageOf is the image of one platform: one layer, with what the Dockerfile puts into it.
func (r *release) imageOf(p platform, settings v1.Config) (v1.Image, error) {
	root, err := r.rootfs(p)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(root)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	made := v1.Time{Time: r.time}
	base, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), &v1.ConfigFile{
		OS: p.os, Architecture: p.arch, Variant: v1Platform(p).Variant, Created: made, Config: settings, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: made, CreatedBy: "tools/release"}})
}

// rootfs is the layer: the program, the roots that it verifies others by, its licences, and a folder for its data.
func (r *release) rootfs(p platform) ([]byte, error) {
	program, err := os.ReadFile(filepath.Join(r.folder(p), p.program()))
	if err != nil {
		return nil, err
	}
	licence, err := r.read("LICENSE")
	if err != nil {
		return nil, err
	}
	notice, err := r.read("NOTICE")
	if err != nil {
		return nil, err
	}
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // a file of roots cannot say for what it holds
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	const user = 65532 // as in the Dockerfile, which a test compares
	return r.tar([]file{
		{name: "LICENSE", data: licence, mode: 0o644}, {name: "NOTICE", data: notice, mode: 0o644},
		{name: "data/", mode: 0o700, owner: user},
		{name: "etc/", mode: 0o755}, {name: "etc/ssl/", mode: 0o755}, {name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", data: roots.Bytes(), mode: 0o644},
		{name: "usr/", mode: 0o755}, {name: "usr/local/", mode: 0o755}, {name: "usr/local/bin/", mode: 0o755},
		{name: "usr/local/bin/crolang-aio", data: program, mode: 0o755},
	})
}

var (
	healthcheck = regexp.MustCompile(`^--interval=(\S+) --timeout=(\S+) --start-period=(\S+) CMD (\[.*\])$`)
	instruction = regexp.MustCompile(`(?m)^([A-Z]+) +(.*)$`)
)

// dockerfile reads the image's settings from the last stage of the Dockerfile, so that there is one place for them.
func (r *release) dockerfile() (c v1.Config, err error) {
	text, err := os.ReadFile(filepath.Join(r.source, "Dockerfile"))
	if err != nil {
		return c, err
	}
	_, last, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		return c, fmt.Errorf("the Dockerfile has no stage from scratch")
	}
	for _, m := range instruction.FindAllStringSubmatch(last, -1) {
		switch value := m[2]; m[1] {
		case "COPY":
		case "USER":
			c.User = value
		case "ENV":
			c.Env = append(c.Env, strings.Fields(value)...)
		case "VOLUME":
			c.Volumes = map[string]struct{}{value: {}}
		case "EXPOSE":
			c.ExposedPorts = map[string]struct{}{}
			for _, port := range strings.Fields(value) {
				c.ExposedPorts[port] = struct{}{}
			}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(value), &c.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(value), &c.Cmd)
		case "HEALTHCHECK":
			c.Healthcheck, err = healthOf(value)
		default:
			err = fmt.Errorf("tools/release does not know it")
		}
		if err != nil {
			return c, fmt.Errorf("the Dockerfile's %s: %w", m[1], err)
		}
	}
	c.Labels = map[string]string{
		"org.opencontainers.image.title": "crolang-aio", "org.opencontainers.image.version": r.version, "org.opencontainers.image.revision": r.commit,
		"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.source": "https://github.com/crolang-p2p/crolang-aio",
	}
	return c, nil
}

func healthOf(value string) (*v1.HealthConfig, error) {
	m := healthcheck.FindStringSubmatch(value)
	if m == nil {
		return nil, fmt.Errorf("%q is not --interval --timeout --start-period CMD", value)
	}
	var spans [3]time.Duration
	for i := range spans {
		var err error
		if spans[i], err = time.ParseDuration(m[i+1]); err != nil {
			return nil, err
		}
	}
	h := &v1.HealthConfig{Test: []string{"CMD"}, Interval: spans[0], Timeout: spans[1], StartPeriod: spans[2]}
	var command []string
	err := json.Unmarshal([]byte(m[4]), &command)
	h.Test = append(h.Test, command...)
	return h, err
}
