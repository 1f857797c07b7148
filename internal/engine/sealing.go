package engine

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// Keys seals and opens values, and verifies the rows that commands wrote. A *keyset.Set
// that is bound to the journal implements it.
type Keys interface {
	Seal(text []byte, row string) ([]byte, error)
	Open(sealed []byte, row string) ([]byte, error)
	MACs(domain string, text []byte) ([][]byte, error)
	Verify(mac []byte, domain string, parts ...[]byte) error
}

// errNotAuthentic: a stored value can be decrypted and is not the operation's.
var errNotAuthentic = fmt.Errorf("%w: the address or code is not the one that its operation is found by", keyset.ErrOpen)

// openSubject decrypts the address or code of an operation. The operation's look-up MAC
// must match the value, and the operation's id must match the MAC, so none of the three
// can be moved alone. It stores the MACs under all look-up keys in the task.
func (e *Engine) openSubject(t *task) (secret.String, error) {
	text, err := e.cfg.Keys.Open(t.Sealed, keyset.SubjectAAD(t.Kind.String(), t.Shop.Account, t.Shop.Shop, t.SubjectMAC))
	if err != nil {
		return secret.String{}, err
	}
	subject := secret.New(string(text))
	clear(text)
	domain, look, shop := keyset.DomainAddress, schemas.NormalizeEmail(subject), t.Shop.Shop
	if t.Kind == journal.Activate {
		domain, look, shop = keyset.DomainCode, schemas.NormalizeCode(subject), ""
	}
	macs, err := e.cfg.Keys.MACs(domain, keyset.SubjectText(t.Shop.Account, look.Reveal()))
	switch {
	case err != nil:
		return secret.String{}, err
	case !keyset.SameMAC(macs, t.SubjectMAC),
		t.UUID != schemas.OperationID(t.Kind.String(), t.Shop.Account, shop, t.SubjectMAC, t.Generation):
		return secret.String{}, errNotAuthentic
	}
	t.macs = macs
	return subject, nil
}

func responseAssociatedData(shop journal.ShopKey, operation uuid.UUID, sealedFor string) string {
	return keyset.ResponseAAD(shop.Account, shop.Shop, operation.String(), sealedFor)
}

// openResponse decrypts a response that belongs to an operation of the shop.
func (e *Engine) openResponse(shop journal.ShopKey, r *journal.StoredReceipt) (invoicebox.Exchange, error) {
	if r == nil {
		return invoicebox.Exchange{}, invoicebox.ErrReceipt
	}
	return OpenResponse(e.cfg.Keys, shop, *r)
}

// OpenResponse decrypts the stored response of an operation of the shop.
func OpenResponse(keys Keys, shop journal.ShopKey, r journal.StoredReceipt) (invoicebox.Exchange, error) {
	text, err := keys.Open(r.Sealed, responseAssociatedData(shop, r.Operation, r.SealedFor))
	if err != nil {
		return invoicebox.Exchange{}, err
	}
	return invoicebox.UnmarshalReceipt(text)
}

// entered is what an operator enters, sealed together: a token cannot be combined with
// another merchant id.
type enteredSecret struct {
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

func enteredAssociatedData(i journal.Intent, shop journal.ShopKey) string {
	return keyset.EnteredTokenAAD(i.UUID.String(), i.Act, i.Operation.String(), shop.Account, shop.Shop, i.Actor)
}

// SealEntered seals merchant id and token into an intent that is complete but
// for its MAC.
func SealEntered(keys Keys, i *journal.Intent, shop journal.ShopKey, token secret.String) (err error) {
	text, err := json.Marshal(enteredSecret{MerchantID: i.MerchantID, Token: token.Reveal()})
	if err != nil {
		return errors.New("engine: merchant id and token are not UTF-8")
	}
	i.Sealed, err = keys.Seal(text, enteredAssociatedData(*i, shop))
	clear(text)
	return err
}

// An Import is what an operator imports of a shop.
type Import struct {
	Shop    string        `json:"shop"`
	Token   secret.String `json:"-"`
	Publish bool          `json:"publish"` // that the shop is active
}

// importSecret is an import, sealed as one value.
type importSecret struct {
	Import
	enteredSecret
}

// SealImport seals an import into an intent about its account that is complete but for
// its MAC.
func SealImport(keys Keys, i *journal.Intent, x Import) (err error) {
	text, err := json.Marshal(importSecret{x, enteredSecret{MerchantID: i.MerchantID, Token: x.Token.Reveal()}})
	if err != nil {
		return errors.New("engine: shop id, merchant id and token are not UTF-8")
	}
	i.Sealed, err = keys.Seal(text, enteredAssociatedData(*i, journal.ShopKey{Account: i.Account}))
	clear(text)
	return err
}

// openImport opens what SealImport sealed.
func (e *Engine) openImport(i journal.PendingIntent) (Import, error) {
	text, err := e.cfg.Keys.Open(i.Sealed, enteredAssociatedData(i.Intent, journal.ShopKey{Account: i.Account}))
	if err != nil {
		return Import{}, err
	}
	defer clear(text)
	var x importSecret
	if json.Unmarshal(text, &x) != nil || x.MerchantID != i.MerchantID || x.Shop == "" {
		return Import{}, keyset.ErrOpen
	}
	x.Import.Token = secret.New(x.enteredSecret.Token)
	return x.Import, nil
}

// openEntered opens what SealEntered sealed.
func (e *Engine) openEntered(i journal.PendingIntent) (secret.String, error) {
	text, err := e.cfg.Keys.Open(i.Sealed, enteredAssociatedData(i.Intent, i.Target.Shop))
	if err != nil {
		return secret.String{}, err
	}
	defer clear(text)
	var entered enteredSecret
	if json.Unmarshal(text, &entered) != nil || entered.MerchantID != i.MerchantID {
		return secret.String{}, keyset.ErrOpen
	}
	return secret.New(entered.Token), nil
}
