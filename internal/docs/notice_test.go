package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	noticeRest = "---- linked in: go test ./internal/docs -run TestNotice -update ----\n"
	noticeRule = "--------------------------------------------------------------------------------\n"
)

// released are the systems that releases are made for; what is linked in differs between them.
var released = []string{"linux", "darwin", "freebsd", "windows"}

// linked is a module that the program is built from.
type linked struct{ Path, Dir string }

// linkedIn are the modules that the program has on any system that it is released for, by their paths.
func linkedIn(t *testing.T) map[string]linked {
	t.Helper()
	all := make(map[string]linked)
	for _, system := range released {
		list := exec.Command("go", "list", "-deps", "-f", `{{with .Module}}{"Path":"{{.Path}}","Dir":{{printf "%q" .Dir}}}{{end}}`, ".")
		list.Dir, list.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH=amd64")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var m linked
			if err := d.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if m.Path != module {
				all[m.Path] = m
			}
		}
	}
	return all
}

// licences are the files of a module that say under which terms it comes, the licence first.
func licences(t *testing.T, dir string) (texts []string) {
	t.Helper()
	for _, pattern := range []string{"LICEN[SC]E*", "COPYING*", "NOTICE*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if st, err := os.Stat(file); err != nil || st.IsDir() {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var clean strings.Builder
			for line := range strings.Lines(strings.Trim(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n") + "\n") {
				clean.WriteString(strings.TrimRight(line, " \t\n") + "\n")
			}
			texts = append(texts, clean.String())
		}
	}
	return texts
}

// kinds are the licences that may be linked in, by words that only they have, the longest first. What is under another has to
// be thought about.
var kinds = []struct{ name, words string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License, version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"CC0-1.0", "public domain with CC0 1.0"},
	{"BSD-3-Clause", "Redistribution and use in source and binary forms, with or without modification, are permitted provided that"},
}

func kind(text string) string {
	words := strings.Join(strings.Fields(strings.ReplaceAll(text, ">", "")), " ")
	for _, k := range kinds {
		if !strings.Contains(words, k.words) {
			continue
		}
		if k.name == "BSD-3-Clause" && !strings.Contains(words, "Neither the name") && !strings.Contains(words, "names of its contributors") {
			return "BSD-2-Clause"
		}
		return k.name
	}
	return ""
}

// NOTICE has the licence of everything that is linked in, in full, as most of them ask for.
func TestNotice(t *testing.T) {
	modules := linkedIn(t)
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules["The Go standard library"] = linked{"The Go standard library", strings.TrimSpace(string(goroot))}
	var list strings.Builder
	byText := make(map[string][]string)
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		texts := licences(t, modules[path].Dir)
		if len(texts) == 0 || kind(texts[0]) == "" {
			t.Errorf("%s has no licence that this test knows: see whether it may be linked in", path)
			continue
		}
		fmt.Fprintf(&list, "  %-13s %s\n", kind(texts[0]), path)
		for _, text := range texts {
			byText[text] = append(byText[text], path)
		}
	}
	list.WriteString("\n")
	for _, text := range slices.SortedFunc(maps.Keys(byText), func(a, b string) int {
		return strings.Compare(byText[a][0]+a, byText[b][0]+b)
	}) {
		list.WriteString(noticeRule + strings.Join(byText[text], "\n") + "\n\n" + text + "\n")
	}
	notice := read(t, "NOTICE")
	head, _, found := strings.Cut(notice, noticeRest)
	if !found {
		t.Fatalf("NOTICE has no line %q", noticeRest)
	}
	want := head + noticeRest + "\n" + list.String()
	if want == notice {
		return
	}
	if !*update {
		t.Fatal("NOTICE is not what is linked in: go test ./internal/docs -run TestNotice -update")
	}
	if err := os.WriteFile(filepath.Join(root, "NOTICE"), []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}
