package credentials

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Stores combines the stores of one worker. New secrets go to the store of their account.
// A stored one is read from the store that its reference names, so a worker still reads
// earlier secrets after a change of the setting.
type Stores struct {
	standard Store
	accounts map[string]Store
	readers  map[string]Store // by the scheme of references
}

var _ Store = (*Stores)(nil)

// NewStores combines stores. Standard gets the secrets of all accounts without a store of
// their own in accounts. Readers are the stores by the scheme of the references that they
// read.
func NewStores(standard Store, accounts, readers map[string]Store) *Stores {
	return &Stores{standard: standard, accounts: accounts, readers: readers}
}

func (s *Stores) of(account string) Store {
	if own, ok := s.accounts[account]; ok {
		return own
	}
	return s.standard
}

// Name returns the name of the store of accounts without one of their own.
func (s *Stores) Name() string { return s.standard.Name() }

// Ready calls Ready of the store of the shop's account.
func (s *Stores) Ready(ctx context.Context, shop journal.ShopKey) error {
	return s.of(shop.Account).Ready(ctx, shop)
}

// Prepare stores a secret in the store of its account.
func (s *Stores) Prepare(ctx context.Context, in Secret) (Prepared, error) {
	return s.of(in.Shop.Account).Prepare(ctx, in)
}

// Read reads from the store that the row's reference names. A store that is not configured
// is a temporary error, not ErrUnreadable.
func (s *Stores) Read(ctx context.Context, row journal.Credential) (Secret, error) {
	store, err := s.holder(row)
	if err != nil {
		return Secret{}, err
	}
	return store.Read(ctx, row)
}

// Destroy destroys a secret in the store that the row's reference names.
func (s *Stores) Destroy(ctx context.Context, row journal.Credential) error {
	store, err := s.holder(row)
	if err != nil {
		return err
	}
	return store.Destroy(ctx, row)
}

// holder returns the store that a row's reference names.
func (s *Stores) holder(row journal.Credential) (Store, error) {
	ref, err := schemas.ParseReference(row.Reference)
	if err != nil {
		return nil, ErrUnreadable
	}
	store, ok := s.readers[ref.Store]
	if !ok {
		return nil, fmt.Errorf("credentials: the secret is in the store %q, which is not configured", ref.Store)
	}
	return store, nil
}
