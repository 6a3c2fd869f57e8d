package acme

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// largestCAFile bounds Settings.CAFile.
const largestCAFile = 1 << 20

// CheckRoots says what is wrong with a file for Settings.CAFile. The empty name is right.
func CheckRoots(file string) error {
	if file == "" {
		return nil
	}
	_, _, err := readRoots(file)
	return err
}

// readRoots reads PEM roots.
func readRoots(file string) (*x509.CertPool, []byte, error) {
	st, err := os.Stat(file)
	if err == nil && !st.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a file: give the roots of the CA's HTTPS certificate as PEM", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s cannot be read: %s", file, bare(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largestCAFile))
	if err != nil {
		return nil, nil, fmt.Errorf("%s cannot be read: %s", file, bare(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, nil, fmt.Errorf("%s holds no PEM certificate: give the roots of the CA's HTTPS certificate", file)
	}
	return pool, b, nil
}

// inPlace is a path that is not looked for in PATH.
func inPlace(program string) string {
	if filepath.Base(program) == program {
		return "." + string(filepath.Separator) + program
	}
	return program
}

// CheckCommand says what is wrong with a program for Settings.DNSCommand. The empty name is right.
func CheckCommand(program string) error {
	if program == "" {
		return nil
	}
	if st, err := os.Stat(program); err != nil {
		return fmt.Errorf("%s cannot be run: %s", program, bare(err))
	} else if st.IsDir() {
		return fmt.Errorf("%s is a folder: name a program", program)
	}
	if _, err := exec.LookPath(inPlace(program)); err != nil {
		return fmt.Errorf("%s cannot be run: let this user execute it (chmod +x)", program)
	}
	return nil
}
