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

// What can be wrong with a secret or its row. Callers use errors.Is.
var (
	// ErrInvalid: the secret lacks a part, or no reference can name its shop.
	ErrInvalid = errors.New("credentials: not a secret that can be stored")
	// ErrConflict: where the secret would be stored lies one that this service did
	// not write. It is not overwritten.
	ErrConflict = errors.New("credentials: another writer's secret is in the place of this one")
	// ErrUnreadable: what is stored does not open as what it should be.
	ErrUnreadable = errors.New("credentials: the stored secret does not open for this shop and version")
	// ErrAbsent: the secret was deleted from its store. Some stores can undelete it.
	ErrAbsent = errors.New("credentials: there is no such secret, or it is deleted")
)

// A Secret is what one activation brought.
type Secret struct {
	Shop       journal.ShopKey
	Version    int64     // from 1: the journal's number; a store that counts on its own has its number in the reference
	Operation  uuid.UUID // that brought it; a store outside of the journal keeps it with the secret, the others do not
	MerchantID string
	Token      secret.String
}

// A Prepared secret is stored, or will be once Row is committed.
type Prepared struct {
	Reference schemas.Reference  // pinned to the version, without a field
	Row       journal.Credential // for the journal; Sealed is nil where another store holds the secret
}

// A Store keeps secrets. Its methods are safe for concurrent use.
type Store interface {
	// Name is the word before `://` in references: one of schemas' stores.
	Name() string
	// Ready tells whether a Prepare for this shop can be expected to succeed. It
	// is asked before a code is spent, so it has to be quick (well under a
	// second) and to look at the very path that would be written.
	Ready(ctx context.Context, shop journal.ShopKey) error
	// Prepare stores a secret, and never over another one. Doing it twice with the
	// same secret and operation is no error and stores it once. ErrInvalid when it
	// can never succeed, ErrConflict when a person has to look at what is there.
	Prepare(ctx context.Context, s Secret) (Prepared, error)
	// Read gives back what a committed row stands for, of whichever version.
	// ErrUnreadable when it can never be read; any other error may pass.
	Read(ctx context.Context, row journal.Credential) (Secret, error)
	// Destroy destroys the secret of a row, so that nobody can read it any more. A
	// secret that the store keeps in the row itself is destroyed by the journal. Doing
	// it twice is no error. ErrConflict when what is there is not the row's: it stays.
	Destroy(ctx context.Context, row journal.Credential) error
}

// ReferenceIn returns the secret's reference in a store, with the journal's version.
// The error is ErrInvalid for what could be stored but never announced or found
// again.
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
