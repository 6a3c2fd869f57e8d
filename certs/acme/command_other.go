//go:build !unix

package acme

import "os/exec"

func withChildren(*exec.Cmd) {}

func killChildren(*exec.Cmd) {}
