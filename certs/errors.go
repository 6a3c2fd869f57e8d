package certs

import "errors"

// What can be wrong with a pair. Every error of this package wraps one of these, and names the file and the remedy.
var (
	// ErrConfig: the Config contradicts itself.
	ErrConfig = errors.New("certificate configuration")
	// ErrName: a host that no certificate can name.
	ErrName = errors.New("not a host name or an address")
	// ErrUnreadable: a file is missing, may not be read, or holds no PEM certificate or key.
	ErrUnreadable = errors.New("unreadable certificate or key")
	// ErrMismatch: the key does not belong to the certificate, or that not to the host or to a server.
	ErrMismatch = errors.New("certificate and key do not match")
	// ErrExpired: the certificate has ended.
	ErrExpired = errors.New("certificate has expired")
	// ErrNotYetValid: the certificate begins later, or the clock is wrong.
	ErrNotYetValid = errors.New("certificate is not valid yet")
	// ErrAwaited: the CA is being asked for the first certificate.
	ErrAwaited = errors.New("the certificate has yet to come from the CA")
	// ErrRefused: the CA has not given a certificate.
	ErrRefused = errors.New("no certificate from the CA")
	// ErrStore: the self-signed pair cannot be kept: a full disk, a folder of another user.
	ErrStore = errors.New("certificate cannot be kept")
)

// problem is an error in one line: the file, what is wrong with it, and what to do about it.
type problem struct {
	kind   error // one of the sentinels
	file   string
	what   string
	remedy string
	cause  error // may be nil
}

func (p *problem) Error() string {
	return p.file + ": " + p.what + "; " + p.remedy
}

func (p *problem) Unwrap() []error {
	if p.cause == nil {
		return []error{p.kind}
	}
	return []error{p.kind, p.cause}
}
