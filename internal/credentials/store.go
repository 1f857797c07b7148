package credentials

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// The errors of a secret or its row. Callers use errors.Is.
var (
	// ErrInvalid: the secret lacks a part, or no reference can name its shop.
	ErrInvalid = errors.New("credentials: not a secret that can be stored")
	// ErrConflict: the place of the secret has one that this service did not write. It is
	// not overwritten.
	ErrConflict = errors.New("credentials: another writer's secret is in the place of this one")
	// ErrUnreadable: the stored secret does not open for its row.
	ErrUnreadable = errors.New("credentials: the stored secret does not open for this shop and version")
	// ErrAbsent: the secret was deleted from its store. Some stores can undelete it.
	ErrAbsent = errors.New("credentials: there is no such secret, or it is deleted")
)

// A Secret is the result of one activation.
type Secret struct {
	Shop       journal.ShopKey
	Version    int64     // from 1: the journal's number; a store with its own numbers has them in the reference
	Operation  uuid.UUID // that brought it; only a store outside of the journal stores it with the secret
	MerchantID string
	Token      secret.String
}

// A Prepared secret is stored, or will be once Row is committed.
type Prepared struct {
	Reference schemas.Reference  // pinned to the version, without a field
	Row       journal.Credential // for the journal; Sealed is nil if another store has the secret
}

// A Store stores secrets. Its methods are safe for concurrent use.
type Store interface {
	// Name returns the scheme of references, the text before `://`: one of schemas'
	// stores.
	Name() string
	// Ready reports whether a Prepare for this shop can be expected to succeed. It is
	// called before a code is sent, so it must be quick (well under a second) and check
	// the path that would be written.
	Ready(ctx context.Context, shop journal.ShopKey) error
	// Prepare stores a secret, and never replaces another one. A repeated call with the
	// same secret and operation stores it once and returns no error. ErrInvalid: it can
	// never succeed. ErrConflict: an operator has to examine the stored secret.
	Prepare(ctx context.Context, s Secret) (Prepared, error)
	// Read returns the secret of a committed row, of any version. ErrUnreadable: it can
	// never be read. Any other error is temporary.
	Read(ctx context.Context, row journal.Credential) (Secret, error)
	// Destroy destroys the secret of a row, so that nobody can read it any more. If the
	// store has the secret in the row itself, the journal destroys it. A repeated call is
	// no error. ErrConflict: the stored secret is not the row's and is not destroyed.
	Destroy(ctx context.Context, row journal.Credential) error
}

// ReferenceIn returns the secret's reference in a store, with the journal's version.
// ErrInvalid: the secret could be stored, but its reference could not be published or
// resolved.
func (s Secret) ReferenceIn(store, mount string) (schemas.Reference, error) {
	ref := schemas.Reference{Store: store, Mount: mount, Account: s.Shop.Account, Shop: s.Shop.Shop, Version: s.Version}
	switch {
	case ref.Check() != nil:
		return ref, fmt.Errorf("%w: no reference can name its account and shop", ErrInvalid)
	case s.Version < 1:
		return ref, fmt.Errorf("%w: the version is below 1", ErrInvalid)
	case s.MerchantID == "":
		return ref, fmt.Errorf("%w: the merchant id is empty", ErrInvalid)
	case s.Token.IsZero():
		return ref, fmt.Errorf("%w: the token is empty", ErrInvalid)
	}
	return ref, nil
}
