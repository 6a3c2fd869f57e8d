package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// kept is an account as it is in its file.
type kept struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"key"` // PEM
}

func (i *issuer) accountKey() string { return path.Join("accounts", i.IssuerKey()+".json") }

// account returns the account, which is made if there is none.
func (i *issuer) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	contact := contacts(i.email)
	i.commonAccount(ctx)
	if a, ok := i.knownAccount(ctx); ok {
		if slices.Equal(a.Contact, contact) {
			return a, nil
		}
		a.Contact = contact
		moved, err := client.UpdateAccount(ctx, a)
		if err == nil {
			moved.Contact = contact
			if i.shared != nil { // ours has another address than that of the others: it is the same account
				_ = i.shared.Delete(ctx, sharedAs+i.accountKey())
			}
			return moved, i.keepAccount(ctx, moved)
		}
		if f := i.failed(err, ""); f.Cause != CauseRefused {
			return a, f
		} // perhaps it is there no longer
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	a, err := client.NewAccount(ctx, acme.Account{Contact: contact, TermsOfServiceAgreed: true, PrivateKey: key})
	if err != nil {
		return acme.Account{}, i.failed(err, "")
	}
	a.Contact = contact
	return a, i.keepAccount(ctx, a)
}

func contacts(email string) []string {
	if email == "" {
		return nil
	}
	return []string{"mailto:" + email}
}

func (i *issuer) knownAccount(ctx context.Context) (acme.Account, bool) {
	b, err := i.store.Load(ctx, i.accountKey())
	if errors.Is(err, fs.ErrNotExist) {
		return acme.Account{}, false
	}
	return readAccount(b)
}

func readAccount(b []byte) (acme.Account, bool) {
	var k kept
	if json.Unmarshal(b, &k) != nil || k.Account.Location == "" || k.Account.Status != acme.StatusValid {
		return acme.Account{}, false
	}
	key, err := certmagic.PEMDecodePrivateKey([]byte(k.Key))
	if err != nil {
		return acme.Account{}, false
	}
	k.Account.PrivateKey = key
	return k.Account, true
}

func (i *issuer) keepAccount(ctx context.Context, a acme.Account) error {
	key, err := certmagic.PEMEncodePrivateKey(crypto.PrivateKey(a.PrivateKey))
	if err != nil {
		return err
	}
	b, err := json.Marshal(kept{a, string(key)})
	if err != nil {
		return fmt.Errorf("write down the account: %w", err)
	}
	if err := i.store.Store(ctx, i.accountKey(), b); err != nil || i.shared == nil {
		return err
	}
	_ = i.shared.PutNew(ctx, sharedAs+i.accountKey(), b) // else the next attempt does
	return nil
}

// commonAccount has this machine use the account that the others have, so that the CA's limits are those of one, and has them use
// ours if they have none.
func (i *issuer) commonAccount(ctx context.Context) {
	if i.shared == nil {
		return
	}
	found, err := i.shared.Get(ctx, sharedAs+i.accountKey())
	if err != nil {
		return
	}
	own, err := i.store.Load(ctx, i.accountKey())
	if theirs := found[0]; theirs != nil {
		if _, ok := readAccount(theirs); ok {
			if !bytes.Equal(own, theirs) {
				_ = i.store.Store(ctx, i.accountKey(), theirs) // probe has found that the disk takes it
			}
			return
		}
	}
	if _, ok := readAccount(own); err == nil && ok {
		_ = i.shared.Put(ctx, sharedAs+i.accountKey(), own, 0) // likewise
	}
}

func (i *issuer) forgetAccount(ctx context.Context) {
	_ = i.store.Delete(ctx, i.accountKey())
	if i.shared != nil {
		_ = i.shared.Delete(ctx, sharedAs+i.accountKey())
	}
}
