package credentials

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// maxSealed bounds a sealed row in bytes; a token has a few hundred.
const maxSealed = 64 << 10

// Sealed is the store in the journal's database: a secret is one ciphertext in the
// credential's row.
type Sealed struct{ keys *keyset.Set }

// NewSealed creates the store over the worker's keyset.
func NewSealed(keys *keyset.Set) *Sealed { return &Sealed{keys: keys} }

var _ Store = (*Sealed)(nil)

// document is the sealed value: merchant id and token in one ciphertext, so that no token
// can be combined with another merchant id.
type document struct {
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

// Name returns "sealed".
func (*Sealed) Name() string { return schemas.StoreSealed }

// Ready fails only for a shop that no reference can name: this store can be written
// whenever the journal can.
func (*Sealed) Ready(_ context.Context, shop journal.ShopKey) error {
	ref := schemas.Reference{Store: schemas.StoreSealed, Mount: schemas.SealedMount, Account: shop.Account, Shop: shop.Shop}
	if ref.Check() != nil {
		return fmt.Errorf("%w: no reference can name its account and shop", ErrInvalid)
	}
	return nil
}

// Prepare seals the secret into a row for the journal. The secret is stored when that row
// is committed.
func (s *Sealed) Prepare(_ context.Context, in Secret) (Prepared, error) {
	ref, err := in.ReferenceIn(schemas.StoreSealed, schemas.SealedMount)
	if err != nil {
		return Prepared{}, err
	}
	text, err := json.Marshal(document{MerchantID: in.MerchantID, Token: in.Token.Reveal()})
	if err != nil {
		return Prepared{}, fmt.Errorf("%w: it is not UTF-8", ErrInvalid)
	}
	sealed, err := s.keys.Seal(text, row(in.Shop, in.Version))
	clear(text)
	if err != nil {
		return Prepared{}, fmt.Errorf("credentials: %w", err)
	}
	if len(sealed) > maxSealed {
		return Prepared{}, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxSealed)
	}
	return Prepared{Reference: ref, Row: journal.Credential{
		Shop: in.Shop, Version: in.Version, Reference: ref.String(), MerchantID: in.MerchantID, Sealed: sealed, At: time.Now().UTC(),
	}}, nil
}

// Read is Open, which needs only the row.
func (s *Sealed) Read(_ context.Context, c journal.Credential) (Secret, error) { return s.Open(c) }

// Destroy does nothing: the journal erases the row's ciphertext.
func (*Sealed) Destroy(context.Context, journal.Credential) error { return nil }

// Open returns the secret of a row of this store. ErrUnreadable: the row was sealed for
// another shop or version, or with another keyset; its merchant id or reference was
// changed; or it is damaged.
func (s *Sealed) Open(c journal.Credential) (Secret, error) {
	text, err := s.keys.Open(c.Sealed, row(c.Shop, c.Version))
	if errors.Is(err, keyset.ErrNoKey) {
		return Secret{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		return Secret{}, ErrUnreadable
	}
	defer clear(text)
	var d document
	if json.Unmarshal(text, &d) != nil || d.Token == "" || d.MerchantID != c.MerchantID {
		return Secret{}, ErrUnreadable
	}
	out := Secret{Shop: c.Shop, Version: c.Version, MerchantID: d.MerchantID, Token: secret.New(d.Token)}
	// The reference is published, so it has to name this row.
	if ref, err := out.ReferenceIn(schemas.StoreSealed, schemas.SealedMount); err != nil || ref.String() != c.Reference {
		return Secret{}, ErrUnreadable
	}
	return out, nil
}

func row(shop journal.ShopKey, version int64) string {
	return keyset.CredentialAAD(shop.Account, shop.Shop, version)
}
